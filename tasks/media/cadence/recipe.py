"""Recipes: which fields of which frames each picture of a master is made of, and when it is shown.

A recipe is decided for a whole title, from its parts, before anything is made; each picture depends on the frames it
names and, where a field is missing, on one more at either side, and on nothing else. Parts of a title that are made
apart are therefore, to the bit, the whole.

Times are exact: what falls between two ticks of the source gets finer ticks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.media.cadence.cadence import Part, clarity
from tasks.media.cadence.fields import Fields
from tasks.media.reading.timeline import Timeline

# Bumped when the same frames would become other pictures.
RECIPE_VERSION = 1
# How a picture is made: of both fields as they are; or of the first or second one in time, the other interpolated.
WOVEN, FIRST_OF_TOP, SECOND_OF_TOP, FIRST_OF_BOTTOM, SECOND_OF_BOTTOM = range(5)
# Frame of the top field, frame of the bottom field, how; nothing at all where frames are pictures as they are.
Recipe = tuple[tuple[int, int, int], ...]
Treatment = Literal["pass", "deinterlace", "fields", "inverse telecine", "weave", "deduplicate"]
CONTEXT = 1
# Film in video: the frame of five whose picture is the one before's, and those that need the field before.
_AGAIN, _REWOVEN = 2, (2, 3)
# Share of the way from the cleanest to the most combed weave beyond which a picture is interpolated instead.
_COMBED = 0.5
_PARTS_OF_A_TICK = 4
# Share by which a title's number of pictures may differ from what a steady cadence would make.
_NEARLY = Fraction(1, 20)


@dataclass(frozen=True)
class Pictures:
    """What a title's pictures are made of; one row a picture in the order shown, all arrays of the same length.

    Attributes:
        top, bottom: int64, frame whose top and whose bottom field it holds.
        how: uint8, WOVEN or one of the others.
        base: int64, the last frame it holds a field of; never falls.
        shown: rows of the source's frame table with the pictures' own times, in ticks of `time_base`.
        time_base: seconds a tick; the source's or a half or a quarter of it.
        treatments: what was done to some part of the title.
    """

    top: npt.NDArray[np.int64]
    bottom: npt.NDArray[np.int64]
    how: npt.NDArray[np.uint8]
    base: npt.NDArray[np.int64]
    shown: Timeline
    time_base: Fraction
    treatments: tuple[Treatment, ...]

    def __len__(self) -> int:
        return len(self.top)

    def recipe(self, start: int, stop: int) -> Recipe:
        """Of pictures [start, stop); empty if those are the frames of the same numbers."""
        rows = slice(start, stop)
        as_they_are = (self.top[rows] == np.arange(start, stop)) & (self.bottom[rows] == self.top[rows])
        if (as_they_are & (self.how[rows] == WOVEN)).all():
            return ()
        columns = (self.top[rows].tolist(), self.bottom[rows].tolist(), self.how[rows].tolist())
        return tuple(zip(*columns, strict=True))

    def frames(self, start: int, stop: int, count: int) -> tuple[int, int]:
        """Frames [first, last) of a title of `count` frames that pictures [start, stop) need."""
        rows = slice(start, stop)
        around = np.where(self.how[rows] == WOVEN, 0, CONTEXT)
        first = np.minimum(self.top[rows], self.bottom[rows]) - around
        last = np.maximum(self.top[rows], self.bottom[rows]) + around
        return max(0, int(first.min())), min(count, int(last.max()) + 1)

    def rate(self, source: Fraction, frames: int) -> Fraction:
        """Pictures a second, on average, of a title of `frames` frames that come at a rate of `source`."""
        return rate_of_pictures(source, len(self), frames)

    def numbers(self, frames: Iterable[int]) -> tuple[int, ...]:
        """The first pictures that hold nothing before each of these frames, in order, each once; the title's first one
        left out."""
        first = np.maximum.accumulate(np.minimum(self.top, self.bottom))
        found = {int(np.searchsorted(first, frame)) for frame in frames}
        return tuple(sorted(number for number in found if 0 < number < len(self)))


def rate_of_pictures(source: Fraction, pictures: int, frames: int) -> Fraction:
    """Pictures a second, on average, where so many are made of a number of frames that come at a rate of `source`."""
    ratio = Fraction(pictures, frames)
    usual = min((Fraction(1), Fraction(4, 5), Fraction(2)), key=lambda each: abs(each - ratio))
    return source * (usual if abs(usual - ratio) < usual * _NEARLY else ratio)


@dataclass(frozen=True)
class Choice:
    """What is wanted.

    Attributes:
        double: each field of video becomes a picture, not each frame.
        deduplicate: frames that repeat are left out.
    """

    double: bool = False
    deduplicate: bool = False


def pictures_of(
    parts: tuple[Part, ...], timeline: Timeline, time_base: Fraction, fields: Fields | None, choice: Choice
) -> Pictures:
    """Decide on every picture of a title.

    Args:
        parts: all of it.
        timeline: its frame table.
        time_base: seconds a tick of it.
        fields: of its frames, where any were looked at.
        choice: what is wanted.
    """
    book = _Book(timeline, fields)
    for part in parts:
        if part.kind in {"top", "bottom"}:
            book.video(part, choice.double)
        elif part.kind == "telecine":
            book.film(part)
        elif part.kind == "shifted":
            book.shifted(part)
        else:
            book.whole(part, choice.deduplicate)
    return book.pictures(time_base)


class _Book:
    """The rows as they come; times in quarters of a tick."""

    def __init__(self, timeline: Timeline, fields: Fields | None) -> None:
        self._timeline, self._fields = timeline, fields
        self._ways = clarity(fields) if fields is not None else None
        last = int(timeline.duration[-1]) or (int(timeline.pts[-1] - timeline.pts[-2]) if len(timeline) > 1 else 1)
        self._starts = [*(timeline.pts * _PARTS_OF_A_TICK).tolist()]
        self._starts.append(self._starts[-1] + last * _PARTS_OF_A_TICK)
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._done: set[Treatment] = set()

    def whole(self, part: Part, deduplicate: bool) -> None:
        """Frames as they are."""
        for frame in range(part.start, part.stop):
            # A frame that repeats stays if nothing else would say what it carries.
            again = frame and self._fields is not None and self._fields.repeats[frame]
            if deduplicate and again and not self._timeline.captions[frame]:
                self._done.add("deduplicate")
                continue
            self._add(frame, frame, WOVEN)
            self._done.add("pass")

    def video(self, part: Part, double: bool) -> None:
        """Every frame, or every field, becomes a picture."""
        self._done.add("fields" if double else "deinterlace")
        first, second = _interpolated(part.top_first)
        for frame in range(part.start, part.stop):
            self._add(frame, frame, first)
            if double:
                self._add(frame, frame, second, (self._starts[frame] + self._starts[frame + 1]) // 2)

    def shifted(self, part: Part) -> None:
        """Each first field with the second one of the frame before."""
        self._done.add("weave")
        for frame in range(part.start, part.stop):
            self._weave(frame, part)

    def film(self, part: Part) -> None:
        """Four pictures of five frames, evenly spread over the time of five where these are all there."""
        self._done.add("inverse telecine")
        # Closed captions go with frames: where there are any, the picture that is shown twice is kept twice.
        drop = not self._timeline.captions[part.start : part.stop].any()
        for frame in range(part.start, part.stop):
            step = (frame - part.phase) % 5
            if step == _AGAIN and drop and frame > part.start:
                continue
            when = self._spread(frame - step, part, step) if drop else None
            if step in _REWOVEN:
                self._weave(frame, part, when)
            else:
                self._add(frame, frame, WOVEN, when)

    def _spread(self, first: int, part: Part, step: int) -> int | None:
        """When the picture of a step is shown, if the five frames from `first` on are of the part and regular."""
        if first < part.start or first + 5 > part.stop:
            return None
        starts = self._starts[first : first + 6]
        lengths = np.diff(starts)
        if lengths.max() > 1.5 * lengths.min():
            return None
        place = step - (step > _AGAIN)
        return int(starts[0] + place * (starts[5] - starts[0]) // 4)

    def _weave(self, frame: int, part: Part, when: int | None = None) -> None:
        """A frame's first field in time with the second one of the frame before; interpolated if that is combed."""
        way = 1 if part.top_first else 2
        combed = False
        if self._ways is not None:
            ways, clear = self._ways
            combed = bool(clear[frame] > _COMBED and ways[frame, way] > _COMBED)
        if not frame or combed:
            self._add(frame, frame, _interpolated(part.top_first)[0], when)
        elif part.top_first:
            self._add(frame, frame - 1, WOVEN, when)
        else:
            self._add(frame - 1, frame, WOVEN, when)

    def _add(self, top: int, bottom: int, how: int, when: int | None = None) -> None:
        base = max(top, bottom)
        self._rows.append((top, bottom, how, base, self._starts[base] if when is None else when))

    def pictures(self, time_base: Fraction) -> Pictures:
        """All that was noted."""
        table = np.array(self._rows, np.int64).reshape(-1, 5)
        base, times = table[:, 3], table[:, 4]
        lengths = np.diff(np.append(times, self._starts[-1]))
        # The coarsest ticks that all times are whole numbers of.
        finer = next(n for n in (1, 2, 4) if not (times % (_PARTS_OF_A_TICK // n)).any())
        if np.array_equal(times, self._starts[:-1]):
            lengths = self._timeline.duration * _PARTS_OF_A_TICK  # unknown ones stay unknown
        ticks = _PARTS_OF_A_TICK // finer
        rows = {name: getattr(self._timeline, name)[base] for name in Timeline.__dataclass_fields__}
        rows["captions"] = rows["captions"] & np.append(True, np.diff(base) > 0)  # once, where a frame is shown twice
        shown = replace(Timeline(**rows), pts=times // ticks, duration=lengths // ticks)
        return Pictures(
            top=table[:, 0],
            bottom=table[:, 1],
            how=table[:, 2].astype(np.uint8),
            base=base,
            shown=shown,
            time_base=time_base / finer,
            treatments=tuple(sorted(self._done)),
        )


def _interpolated(top_first: bool) -> tuple[int, int]:
    return (FIRST_OF_TOP, SECOND_OF_TOP) if top_first else (FIRST_OF_BOTTOM, SECOND_OF_BOTTOM)
