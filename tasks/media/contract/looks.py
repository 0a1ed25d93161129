"""What a picture looks like from afar: its mean colours over a coarse grid of cells. Judges nothing.

Small enough to keep a few frames of, and blind to what upscaling adds: detail, grain, sharpness. A cell covers the same
part of the picture in a source and in its master, whatever their sizes, layouts and matrices.

Shape suffixes: 3 channels, H rows, W columns, h and w rows and columns of cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tasks.media.picture.colour import Colour, luma_weights, swing
from tasks.media.picture.halves import as_shown
from tasks.media.picture.pixels import Layout, Plane, Planes
from vsr_model.classical import resize

Look = npt.NDArray[np.float32]

_ROWS, _COLUMNS = 36, 64
# Every cell is whole samples of each plane, and of two at least: where chroma sits matters less then.
_STEP = 8


def cell_of(height: int, width: int) -> int:
    """Side of a cell, in pixels of a source of this size: such that there are about 36 by 64 of them."""
    return max(_STEP, min(height // _ROWS, width // _COLUMNS) // _STEP * _STEP)


def in_squares(planes: Planes, layout: Layout, height: int, width: int) -> tuple[Planes, Layout, int]:
    """A master's planes, squares of which are the pixels of a source of `height` x `width`; their layout; and the sides
    of the squares.

    A master that is no whole number of times as large is reduced to the source's size, and its squares are pixels.
    """
    rows, columns = planes[0].shape
    side = rows // height
    if (rows, columns) == (side * height, side * width):
        return planes, layout, side
    planes, layout = _shown(planes, layout)
    shapes = layout.plane_shapes(height, width)
    return tuple(_resized(plane, *shape) for plane, shape in zip(planes, shapes, strict=False)), layout, 1


def _resized(plane: Plane, height: int, width: int) -> Plane:
    values = torch.from_numpy(plane.astype(np.float32))[None, None]
    top = np.iinfo(plane.dtype).max
    resized: Plane = resize(values, height, width)[0, 0].round_().clamp_(0, top).numpy().astype(plane.dtype)  # type: ignore[assignment]
    return resized


def look(planes: Planes, layout: Layout, colour: Colour, cell: int) -> Look:
    """The mean Y'CbCr (BT.709) of every whole cell of a picture.

    Args:
        planes: of the picture.
        layout: of the planes.
        colour: what their codes mean.
        cell: side of a cell in pixels of this picture.

    Returns:
        [3, h, w] in steps of 8-bit full range: luma 0..255, chroma -127.5..127.5.
    """
    height, width = planes[0].shape
    rows, columns = height // cell, width // cell
    planes, layout = _shown(planes, layout)
    luma_gain, chroma_gain, black, neutral = swing(layout, colour)
    if layout.family == "rgb":
        red, green, blue = (_means(plane, cell, cell, rows, columns) / luma_gain for plane in planes[:3])
        return _ycbcr(red, green, blue)
    luma = (_means(planes[0], cell, cell, rows, columns) - black) / luma_gain
    if layout.family == "gray":
        return _ycbcr(luma, luma, luma)
    down, across = cell >> layout.chroma_y, cell >> layout.chroma_x
    cb, cr = ((_means(plane, down, across, rows, columns) - neutral) / chroma_gain for plane in planes[1:3])
    kr, kb = luma_weights(colour)
    red, blue = luma + 2.0 * (1.0 - kr) * cr, luma + 2.0 * (1.0 - kb) * cb
    return _ycbcr(red, (luma - kr * red - kb * blue) / (1.0 - kr - kb), blue)


def reduced_luma(planes: Planes, layout: Layout, colour: Colour, factor: int) -> Look:
    """[H, W] luma (green of R'G'B'), 0..255, averaged over squares of `factor` pixels."""
    planes, layout = _shown(planes, layout)
    plane = planes[1] if layout.family == "rgb" else planes[0]
    luma_gain, _, black, _ = swing(layout, colour)
    rows, columns = plane.shape[0] // factor, plane.shape[1] // factor
    means = _means(plane, factor, factor, rows, columns)
    return ((means - black) * (255.0 / luma_gain)).astype(np.float32)


def _means(plane: Plane, down: int, across: int, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Means of `rows` by `columns` rectangles of `down` by `across` samples."""
    used = plane[: rows * down, : columns * across]
    # Down first: whole rows add up fast, and leave little for the other direction.
    sums = used.reshape(rows, down, columns * across).sum(axis=1, dtype=np.uint32)
    if across <= 4:
        total = sum(sums[:, start::across].astype(np.uint64) for start in range(across))
    else:
        total = sums.reshape(rows, columns, across).sum(axis=2, dtype=np.uint64)
    means: npt.NDArray[np.float64] = total / float(down * across)
    return means


def _ycbcr(
    red: npt.NDArray[np.float64], green: npt.NDArray[np.float64], blue: npt.NDArray[np.float64]
) -> Look:  # fmt: skip
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return np.stack([luma, (blue - luma) / 1.8556, (red - luma) / 1.5748]).astype(np.float32) * np.float32(255.0)


def _shown(planes: Planes, layout: Layout) -> tuple[Planes, Layout]:
    """The same, of light what a display would show of it."""
    if layout.family != "light":
        return planes, layout
    return tuple(as_shown(plane) for plane in planes[:3]), Layout("rgb", 16)  # type: ignore[arg-type]
