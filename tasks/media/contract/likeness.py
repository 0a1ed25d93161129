"""Every frame of a master held against every frame of its source, from afar (`looks`), in one pass. Judges nothing.

What is measured tells a frame from its neighbours, a hue from the source's, a step at a border from what the picture
does anyway; what of it is a fault says `tasks.judge`.

Shape suffixes: 3 channels, h and w rows and columns of cells, H rows, W columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import av
import numpy as np
import numpy.typing as npt

from tasks.media.contract.looks import Look, cell_of, in_squares, look, reduced_luma
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout, Planes, layout_of, to_planes

# Bumped when the same two videos would be measured otherwise.
LIKENESS_VERSION = 1
# A frame is held against the source's frame of its own number and those up to so many before and after.
REACH = 2
# A seam between tiles stays where it is: it is sought in a sample of the frames, and must be in most of a few of those.
_SEAM_EVERY, _SEAM_SAMPLES = 4, 4
_CONTRAST = (0.8, 1.25)
_SEAM_ROWS = 16  # lines over which a seam's step is averaged: noise is not a seam
_SEAM_BANDS = 24  # of so many lines that are looked at, at least, where there are as many
_SEAM_EDGE, _SEAM_EVEN = 3.0, 60  # an edge of the source: so many codes, and steeper than that percentage of pixels
_SEAM_AROUND, _SEAM_RINGS = 8, 2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """One row a frame; differences are root mean squares over cells, in steps of 8-bit full range, NaN where unknown.

    Attributes:
        apart: [N, 5] luma of the master's frame against the source's frames n-2 .. n+2, once level and contrast are
            made the same: in a fade a picture a little too light is not one of another moment.
        source_step, master_step: luma of a frame against the one before it.
        flicker: what changed in the difference of master and source since the frame before.
        jump: how far that difference, luma and chroma, moved from the two frames before to this one and the next.
        source_luma, master_luma: means.
        cb, cr: mean of master less source.
        along, across, colour: of chroma as vectors, mean over cells: source times master (dot and cross product), and
            the source's square.
        seam: highest mean step along one line of pixels that neither source nor neighbourhood has, in most of some
            frames up to this one; NaN but for every sixteenth.
        seam_at: where: the column, or minus the row, of the source before which it lies; likewise.
    """

    apart: Floats
    source_step: Floats
    master_step: Floats
    flicker: Floats
    jump: Floats
    source_luma: Floats
    master_luma: Floats
    cb: Floats
    cr: Floats
    along: Floats
    across: Floats
    colour: Floats
    seam: Floats
    seam_at: Floats

    def __len__(self) -> int:
        return len(self.flicker)


class Comparison:
    """Takes a master's frames one after the other, and fetches the source's itself."""

    def __init__(self, source: Iterator[Planes], layout: Layout, colour: Colour, master: Colour) -> None:
        """Begin.

        Args:
            source: its pictures, in order.
            layout, colour: of the source's planes.
            master: colour of the master.
        """
        self._source, self._layout, self._colour = source, layout, colour
        self._master = master
        self._looks: dict[int, tuple[Look, Look]] = {}
        self._steps: list[tuple[Floats, Floats]] = []
        self._seams: dict[int, tuple[float, float]] = {}
        self._taken = 0
        self._rows = array("f")  # two hours of them are some 12 MB so
        self._measured = 0

    def add(self, frame: av.VideoFrame) -> None:
        """The master's next frame. One that the source has no frame for is left out."""
        planes = next(self._source, None)
        if planes is None:
            return
        layout = layout_of(frame.format.name, "master")
        made = to_planes(frame, layout)
        height, width = planes[0].shape
        cell = cell_of(height, width)
        ours = look(planes, self._layout, self._colour, cell)
        colour = replace(self._master, full_range=layout.family == "rgb" or self._master.full_range)
        if not ours.size:
            return  # a picture too small to be seen from afar
        made, layout, side = in_squares(made, layout, height, width)
        self._looks[self._taken] = ours, look(made, layout, colour, cell * side)
        if self._taken % _SEAM_EVERY == 0:
            before = reduced_luma(planes, self._layout, self._colour, 1)
            after = reduced_luma(made, layout, colour, side)
            self._steps.append((_steps(before, after), _steps(before.T, after.T)))
            if len(self._steps) == _SEAM_SAMPLES:
                self._seams[self._taken] = _seam(self._steps)
                self._steps.clear()
        self._taken += 1
        if self._taken > REACH:
            self._measure(self._taken - 1 - REACH)

    def finish(self) -> Likeness:
        """What was found, for all frames that were taken."""
        for number in range(self._measured, self._taken):
            self._measure(number)
        rows = np.array(self._rows, np.float32).reshape(self._taken, len(fields(Likeness)) + 2 * REACH)
        columns = (rows[:, : 2 * REACH + 1], *rows[:, 2 * REACH + 1 :].T.copy())
        return Likeness(**{each.name: column for each, column in zip(fields(Likeness), columns, strict=True)})

    def _measure(self, number: int) -> None:
        source, master = self._looks[number]
        around = [self._looks.get(number + far) for far in range(-REACH, REACH + 1)]
        apart = [_apart(master[0], pair[0][0]) if pair else np.nan for pair in around]
        steps = (np.nan,) * 3
        if number:
            source_before, master_before = self._looks[number - 1]
            changed = (master - source) - (master_before - source_before)
            steps = _rms(source[0] - source_before[0]), _rms(master[0] - master_before[0]), _rms(changed[0])
        x, y, u, v = source[1], source[2], master[1], master[2]
        means = source[0].mean(), master[0].mean(), (u - x).mean(), (v - y).mean()
        chroma = (x * u + y * v).mean(), (x * v - y * u).mean(), (x * x + y * y).mean()
        seam = self._seams.pop(number, (np.nan, np.nan))
        self._rows.extend((*apart, *steps, self._jump(number), *map(float, (*means, *chroma)), *seam))
        self._measured += 1
        self._looks.pop(number - REACH, None)

    def _jump(self, number: int) -> float:
        pairs = [self._looks.get(number + far) for far in (-2, -1, 0, 1)]
        before, after = ([master - source for source, master in filter(None, side)] for side in (pairs[:2], pairs[2:]))
        return _rms(np.mean(after, axis=0) - np.mean(before, axis=0)) if before and after else np.nan


def _apart(master_hw: Look, source_hw: Look) -> float:
    """What is left of their difference once the source has the master's mean, and up to a quarter of its contrast."""
    master, source = master_hw - master_hw.mean(), source_hw - source_hw.mean()
    power = float(np.square(source).mean())
    contrast = float(np.clip((master * source).mean() / power, *_CONTRAST)) if power > 0 else 1.0
    return _rms(master - contrast * source)


def _rms(values: Look) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _seam(found: list[tuple[Floats, Floats]]) -> tuple[float, float]:
    """The most seam-like line of some frames: how high its step is in most of them, and where."""
    columns, rows = (_in_most(np.stack(steps)) for steps in zip(*found, strict=True))
    column, row = int(columns.argmax()), int(rows.argmax())
    if columns[column] >= rows[row]:
        return float(columns[column]), float(column)
    return float(rows[row]), float(-row)


def _in_most(steps: Floats) -> Floats:
    """A low middle of what is known of each line; nothing where that is too little."""
    known = ~np.isnan(steps)
    enough = known.sum(axis=0) > _SEAM_SAMPLES // 2
    found: Floats = np.zeros(steps.shape[1], np.float32)
    if enough.any():
        found[enough] = np.nanpercentile(steps[:, enough], 40, axis=0)
    return found


def _steps(source_HW: Look, master_HW: Look) -> Floats:
    """For each column how much more steps there from one pixel to the next than around it, where the source is even.

    NaN where it hardly is.
    """
    width, bands = source_HW.shape[1], source_HW.shape[0] // _SEAM_ROWS
    found: Floats = np.full(max(width, 1), np.nan, np.float32)
    if not bands or width <= 4 * _SEAM_AROUND:
        return found
    shape = (bands, _SEAM_ROWS, width)
    source, master = (
        whole[: bands * _SEAM_ROWS].reshape(shape)[:: max(1, bands // _SEAM_BANDS)] for whole in (source_HW, master_HW)
    )
    slope = np.abs(np.diff(source, axis=2))
    edge = slope >= max(_SEAM_EDGE, float(np.percentile(slope, _SEAM_EVEN)))
    even = ~edge
    for far in range(1, _SEAM_RINGS + 1):  # beside an edge networks differ from the source too
        even[..., far:] &= ~edge[..., :-far]
        even[..., :-far] &= ~edge[..., far:]
    step = np.diff(master - source, axis=2) * even
    counted = even.sum(axis=1)
    mean = np.abs(step.sum(axis=1)) / np.maximum(counted, 1)
    sure = counted >= _SEAM_ROWS // 4
    seen = (mean * sure).sum(axis=0) / np.maximum(sure.sum(axis=0), 1)
    padded = np.pad(seen, _SEAM_AROUND, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _SEAM_AROUND + 1)
    found[1:] = np.where(sure.sum(axis=0) < max(2, len(sure) // 5), np.nan, seen - np.percentile(around, 75, axis=1))
    found[:3] = found[-2:] = np.nan  # where a network sees the picture's own edge
    return found
