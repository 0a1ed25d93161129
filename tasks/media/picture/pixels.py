"""How pixels are laid out in memory, and decoded frames as planes.

A *layout* says family, chroma subsampling and depth; FFmpeg's many packed and vendor formats are first brought to
their lossless planar twin. No colour arithmetic here (see `colour`).

Planes are numpy arrays, one a component in the order Y, U, V or R, G, B (a single one for gray), alpha last if there
is any; uint8 up to 8 bits and uint16 above, each [rows, columns] of that component.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt

from tasks.errors import UnsupportedSource
from tasks.media.picture.halves import places

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Planes = tuple[Plane, ...]
# "light": scene-linear RGB in half floats, as the places that they have among all of them (`halves`).
Family = Literal["yuv", "rgb", "gray", "light"]
_OF_RGB = ("rgb", "light")

_FLOATS: dict[str, np.dtype[Any]] = {
    f"gbr{alpha}pf{bits}le": np.dtype(f"<f{bits // 8}") for alpha in ("", "a") for bits in (16, 32)
}
# Gray and alpha in turn, which becomes RGB: no planar format has both.
_GRAY_AND_ALPHA: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind) for name, kind in (("ya8", "u1"), ("ya16le", "<u2"), ("ya16be", ">u2"))
}
_SUBSAMPLING = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "411": (2, 0), "440": (0, 1), "410": (2, 2)}


@dataclass(frozen=True)
class Layout:
    """Family, depth in bits, log2 of the horizontal and vertical chroma subsampling, and whether there is alpha."""

    family: Family
    depth: int
    chroma_x: int = 0
    chroma_y: int = 0
    alpha: bool = False

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name of the planar format, e.g. `yuv420p10le`."""
        suffix, alpha = "" if self.depth == 8 else f"{self.depth}le", "a" * self.alpha
        if self.family == "gray":
            return f"gray{suffix}"
        if self.family in _OF_RGB:
            return f"gbr{alpha}p{suffix}"
        sampling = next(name for name, shift in _SUBSAMPLING.items() if shift == (self.chroma_x, self.chroma_y))
        return f"yuv{alpha}{sampling}p{suffix}"

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """What a sample is stored as."""
        return np.uint8 if self.depth == 8 else np.uint16

    def plane_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """[rows, columns] of each plane of a `height` x `width` picture."""
        if self.family == "gray":
            return ((height, width),)
        chroma = (-(-height >> self.chroma_y), -(-width >> self.chroma_x))
        return ((height, width), chroma, chroma, (height, width))[: 3 + self.alpha]


def layout_of(pix_fmt: str, label: str) -> Layout:
    """The lossless planar layout of any FFmpeg pixel format.

    Raises:
        UnsupportedSource: the format is a hardware, Bayer or XYZ format, or floating point and not RGB.
    """
    if pix_fmt in _FLOATS:
        return Layout("light", 16, alpha=pix_fmt.startswith("gbra"))
    fmt = av.VideoFormat(pix_fmt)
    depth = max((component.bits for component in fmt.components), default=0)
    if pix_fmt in {"pal8", "monob", "monow"}:
        return Layout("rgb", 8)
    if pix_fmt in _GRAY_AND_ALPHA:
        return Layout("rgb", depth, alpha=True)
    alpha = any(component.is_alpha for component in fmt.components)
    if not 1 <= depth <= 16 or re.search(r"f16|f32|bayer|xyz", pix_fmt):
        raise UnsupportedSource(f"{label}: pixel format {pix_fmt} is not handled; convert it to planar YUV or RGB.")
    if fmt.is_rgb:
        return Layout("rgb", max(depth, 8), alpha=alpha)
    if len(fmt.components) == 1:
        return Layout("gray", depth)
    shift = (_log2_of_shrink(fmt.chroma_width), _log2_of_shrink(fmt.chroma_height))
    if shift not in _SUBSAMPLING.values():
        raise UnsupportedSource(f"{label}: chroma subsampling of {pix_fmt} is not handled; convert it to 4:2:2.")
    return Layout("yuv", depth, *shift, alpha)


def _log2_of_shrink(chroma_size: Callable[[int], int]) -> int:
    return 8 - (chroma_size(1 << 8).bit_length() - 1)


def to_planes(frame: av.VideoFrame, layout: Layout) -> Planes:
    """Copy a decoded frame out of FFmpeg's memory as planes of `layout` (no change of value)."""
    if frame.format.name in _FLOATS:
        kind = _FLOATS[frame.format.name]
        floats = [
            np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes
        ]
        return _rgb_order(tuple(places(plane) for plane in floats))
    if frame.format.name in _GRAY_AND_ALPHA:
        samples = np.frombuffer(memoryview(frame.planes[0]), _GRAY_AND_ALPHA[frame.format.name])
        pairs = samples.reshape(frame.height, -1)[:, : 2 * frame.width]
        gray, alpha = (pairs[:, first::2].astype(layout.dtype) for first in (0, 1))
        return (gray, gray, gray, alpha)  # type: ignore[return-value]
    if frame.format.name != layout.pix_fmt and not _same_memory(frame.format.name, layout.pix_fmt):
        if layout == Layout("rgb", 8):
            # FFmpeg brings 15 and 16 bits a pixel straight to planes with a white of 248: by way of 24 bits it is 255.
            frame = frame.reformat(format="rgb24", threads=1)
        # On several threads swscale's last rows differ from run to run where the height is odd.
        frame = frame.reformat(format=layout.pix_fmt, threads=1)
    shapes = layout.plane_shapes(frame.height, frame.width)
    planes = tuple(_view(frame, i, layout, shape).copy() for i, shape in enumerate(shapes))
    return _rgb_order(planes) if layout.family in _OF_RGB else planes


def planes_of_frame(frame: av.VideoFrame, layout: Layout) -> Planes:
    """The planes of a frame that is of `layout` already, as they lie in its memory: to be used before it is gone."""
    shapes = layout.plane_shapes(frame.height, frame.width)
    planes = tuple(_view(frame, i, layout, shape) for i, shape in enumerate(shapes))
    return _rgb_order(planes) if layout.family in _OF_RGB else planes


def to_frame(planes: Planes, layout: Layout) -> av.VideoFrame:
    """A frame for an encoder, from planes of `layout`."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, layout.pix_fmt)
    fill(frame, planes, layout)
    return frame


def fill(frame: av.VideoFrame, planes: Planes, layout: Layout) -> None:
    """Write planes of `layout` over the samples of a frame of that format and size."""
    ordered = _gbr_order(planes) if layout.family in _OF_RGB else planes
    for i, plane in enumerate(ordered):
        _view(frame, i, layout, (plane.shape[0], plane.shape[1]))[:] = plane


def checksum(planes: Planes) -> int:
    """A quick identity of a picture: CRC-32 of every eighth row of the first plane, and of alpha.

    Enough to tell a frame from its neighbours and from one decoded with references missing, at a fraction of the cost
    of reading every byte.
    """
    first = zlib.crc32(planes[0][::8].tobytes())
    return zlib.crc32(planes[3][::8].tobytes(), first) if len(planes) > 3 else first


def _view(frame: av.VideoFrame, index: int, layout: Layout, shape: tuple[int, int]) -> Plane:
    plane = frame.planes[index]
    flat: Plane = np.frombuffer(plane, dtype=layout.dtype)  # type: ignore[call-overload]
    stride = plane.line_size // flat.itemsize
    return flat[: shape[0] * stride].reshape(shape[0], stride)[:, : shape[1]]


def _same_memory(name: str, planar: str) -> bool:
    return name.replace("yuvj", "yuv") == planar


def _rgb_order(planes: Planes) -> Planes:
    green, blue, red, *alpha = planes
    return (red, green, blue, *alpha)


def _gbr_order(planes: Planes) -> Planes:
    red, green, blue, *alpha = planes
    return (green, blue, red, *alpha)
