"""Square pixels: a picture that is finished, enlarged along one side so that its pixels are as wide as high.

Planes are enlarged one by one, each by where its samples lie; what their codes mean stays as it is. Bars stay exactly
black, and alpha is enlarged as colours are.

Shape suffixes: T frames, 1 channel, H rows, W columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import pad

from tasks.media.picture.alpha import enlarged_light
from tasks.media.picture.bars import Bars, cut_off, put_back
from tasks.media.picture.colour import Colour, planes_of, sited, to_rgb, without_overshoot
from tasks.media.picture.halves import display_of, places_of, places_of_values, values_of
from tasks.media.picture.hdr import is_hdr
from tasks.media.picture.pixels import Layout, Plane, Planes
from vsr_model.classical import resize

# Bumped when the same picture would be enlarged to another.
SQUARE_VERSION = 1
_CPU = torch.device("cpu")


def square(
    planes: Planes, layout: Layout, colour: Colour, size: tuple[int, int], bars: Bars, enlarged_bars: Bars
) -> Planes:
    """Enlarge a picture.

    Args:
        planes: of the picture.
        layout, colour: of the planes.
        size: rows and columns wanted; one of them the picture's, the other a multiple of what shares chroma.
        bars: of exact black around the picture, in its own pixels.
        enlarged_bars: the same in pixels of the result.
    """
    inside = cut_off(planes, layout, bars)
    shapes = layout.plane_shapes(*enlarged_bars.within(*size))
    colours = 1 if layout.family == "gray" else 3
    codes = [
        _enlarged(plane, shape, layout, colour, is_chroma=layout.family == "yuv" and number in {1, 2})
        for number, (plane, shape) in enumerate(zip(inside[:colours], shapes, strict=False))
    ]
    codes += [_enlarged_alpha(plane, shapes[3], layout, colour) for plane in inside[3:]]
    if is_hdr(colour):
        codes[:3] = without_overshoot(codes[:3], to_rgb([inside], layout, colour, _CPU), layout, colour)
    (made,) = planes_of(codes)
    return put_back(made, layout, colour, enlarged_bars)


def _enlarged(plane: Plane, shape: tuple[int, int], layout: Layout, colour: Colour, is_chroma: bool) -> torch.Tensor:
    """[1, H, W] codes: uint8, or int16 with the bits of uint16; without dither, as what there was is still there."""
    whole = torch.from_numpy(plane.astype(np.int32))
    values_T1HW = (display_of(whole) if layout.family == "light" else whole.float())[None, None]
    if is_chroma:
        on_x, on_y = sited(colour.siting)
        parts = (2 << layout.chroma_y * on_y, 2 << layout.chroma_x * on_x)
        large_THW = resize(values_T1HW, *shape, "lanczos", parts)[:, 0]
    else:
        large_THW = resize(_filled_up(values_T1HW, shape, layout), *shape, "lanczos")[:, 0]
    if is_hdr(colour):  # codes are absolute light, and Lanczos overshoots
        large_THW = large_THW.clamp_(values_T1HW.min(), values_T1HW.max())
    if layout.family == "light":
        return places_of(large_THW)
    codes_THW = large_THW.round_().clamp_(0.0, float((1 << layout.depth) - 1)).to(torch.int32)
    return codes_THW.to(torch.uint8 if layout.depth == 8 else torch.int16)


def _enlarged_alpha(plane: Plane, shape: tuple[int, int], layout: Layout, colour: Colour) -> torch.Tensor:
    """The same, of alpha."""
    if layout.family != "light":
        return _enlarged(plane, shape, layout, colour, is_chroma=False)
    alpha_T1HW = values_of(torch.from_numpy(plane.astype(np.int32)))[None, None]
    return places_of_values(enlarged_light(alpha_T1HW, *shape)[:, 0])


def _filled_up(plane_T1HW: torch.Tensor, shape: tuple[int, int], layout: Layout) -> torch.Tensor:
    """A plane whose odd side is to grow, with the line that its last samples of chroma are of too: both grow alike."""
    steps = (1 << layout.chroma_y, 1 << layout.chroma_x)
    sides = zip(plane_T1HW.shape[2:], shape, steps, strict=True)
    down, across = (-side % step if side != wanted else 0 for side, wanted, step in sides)
    return pad(plane_T1HW, (0, across, 0, down), "replicate")
