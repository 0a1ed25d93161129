"""Black bars: how wide a title's are, the picture without them, and the picture with them again, exactly black.

A line counts as black if no sample of it is further from black than coding noise. What is black at an edge of every
frame that is not black all over is a bar; titles whose shots differ in shape have the bars that all shots share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout, Plane, Planes

# Bumped when other bars would be found, or they would be cut off or restored otherwise.
BARS_VERSION = 1
_NOISE = 3  # of 256 codes
_THINNEST = 4  # lines: less than that is the soft edge of a picture
_LEAST_PICTURE = 1 / 3  # of either side


@dataclass(frozen=True)
class Bars:
    """Black lines at each edge of a picture, in source pixels; multiples of the chroma's steps."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return bool(self.top or self.bottom or self.left or self.right)

    def within(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the picture between them."""
        return height - self.top - self.bottom, width - self.left - self.right


def black_lines(planes: Planes, layout: Layout, full_range: bool) -> tuple[int, int, int, int]:
    """How many lines are black at the top, bottom, left and right of a frame; all of them if it is black all over."""
    if layout.family == "light" or layout.alpha:
        return 0, 0, 0, 0  # of what is rendered or keyed, black is picture
    height, width = planes[0].shape
    rows = _black(planes, layout, full_range, 1)
    if rows.all():
        return height, height, width, width
    top, bottom = int(rows.argmin()), int(rows[::-1].argmin())
    between = []
    for number, plane in enumerate(planes):
        y, _ = _shifts(number, layout)
        between.append(plane[top >> y : -(-(height - bottom) >> y)])
    columns = _black(tuple(between), layout, full_range, 0)
    return top, bottom, int(columns.argmin()), int(columns[::-1].argmin())


def _black(planes: Planes, layout: Layout, full_range: bool, along: int) -> npt.NDArray[np.bool_]:
    """Which rows (`along` 1) or columns (0) are black."""
    step = 1 << (layout.depth - 8) if layout.depth > 8 else 1
    black, neutral = 0 if full_range or layout.family == "rgb" else 16 * step, 1 << (layout.depth - 1)
    edges = planes[0][:: max(1, len(planes[0]) - 1)] if along else planes[0][:, :: max(1, planes[0].shape[1] - 1)]
    found = np.zeros(planes[0].shape[1 - along], np.bool_)
    if not (edges.max(axis=along) <= black + _NOISE * step).any():
        return found  # as most pictures have none
    found[:] = True
    for number, plane in enumerate(planes):
        code = neutral if number and layout.family == "yuv" else black
        highest, lowest = plane.max(axis=along).astype(int), plane.min(axis=along).astype(int)
        flat = (highest <= code + _NOISE * step) & (lowest >= code - _NOISE * step)
        found &= np.repeat(flat, 1 << _shifts(number, layout)[1 - along])[: len(found)]
    return found


def bars_of(lines_N4: npt.NDArray[np.int32], height: int, width: int, layout: Layout) -> Bars:
    """The bars of a title from `black_lines` of each of its frames; none where they would leave hardly a picture."""
    seen_N4 = lines_N4[lines_N4[:, 0] < height]
    if not len(seen_N4):
        return Bars()
    step_y, step_x = max(2, 1 << layout.chroma_y), max(2, 1 << layout.chroma_x)
    top, bottom, left, right = (int(value) for value in seen_N4.min(axis=0))
    bars = Bars(
        _whole(top, 0, step_y), _whole(bottom, height, step_y), _whole(left, 0, step_x), _whole(right, width, step_x)
    )
    rows, columns = bars.within(height, width)
    return bars if rows >= height * _LEAST_PICTURE and columns >= width * _LEAST_PICTURE else Bars()


def _whole(lines: int, side: int, step: int) -> int:
    """The lines, fewer if need be, so that the picture begins or ends at a multiple of `step`."""
    fewer = lines - (lines - side) % step if lines else 0
    return fewer if fewer >= _THINNEST else 0


def cut_off(planes: Planes, layout: Layout, bars: Bars) -> Planes:
    """The picture between the bars."""
    if not bars:
        return planes
    height, width = planes[0].shape
    cut: list[Plane] = []
    for number, plane in enumerate(planes):
        y, x = _shifts(number, layout)
        down = slice(bars.top >> y, -(-(height - bars.bottom) >> y))
        cut.append(plane[down, bars.left >> x : -(-(width - bars.right) >> x)])
    return tuple(cut)


def put_back(planes: Planes, layout: Layout, colour: Colour, bars: Bars) -> Planes:
    """The picture with bars of exact black around it; `bars` in its own pixels."""
    if not bars:
        return planes
    height, width = planes[0].shape[0] + bars.top + bars.bottom, planes[0].shape[1] + bars.left + bars.right
    black = 0 if colour.full_range or layout.family == "rgb" else 16 << (layout.depth - 8)
    made: list[Plane] = []
    for number, (plane, shape) in enumerate(zip(planes, layout.plane_shapes(height, width), strict=True)):
        y, x = _shifts(number, layout)
        is_chroma = number > 0 and layout.family == "yuv"
        whole: Plane = np.full(shape, 1 << (layout.depth - 1) if is_chroma else black, layout.dtype)  # type: ignore[assignment]
        whole[bars.top >> y :, bars.left >> x :][: plane.shape[0], : plane.shape[1]] = plane
        made.append(whole)
    return tuple(made)


def _shifts(number: int, layout: Layout) -> tuple[int, int]:
    """log2 of how much smaller a plane is, down and across."""
    return (layout.chroma_y, layout.chroma_x) if number in {1, 2} and layout.family == "yuv" else (0, 0)
