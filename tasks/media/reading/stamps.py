"""When each frame is shown, where a source does not say so or says what cannot be: repaired by a rule, or refused.

Frames leave a decoder in the order in which they are shown, whatever their timestamps say: the order is not in doubt.
Timestamps are taken as they are if they rise. If they do not,

    none at all     frames are evenly spaced, at the rate that the stream or a person says
    out of order    all different, each near its place: the frames get the same timestamps in rising order (AVI notes
                    when frames are decoded, which for B-frames is another order)
    missing, equal or astray
                    spread evenly between the nearest that can be true: the most that rise together

Where more than a reordering's worth in a row would have to be made up, the time itself is in doubt, as where two
recordings were joined: then nothing is repaired.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

# Stands for a frame without a timestamp, as FFmpeg has it (AV_NOPTS_VALUE).
NEVER = -(1 << 63)
# Frames that H.264 and H.265 may decode before one that is shown earlier.
REORDERED = 16

Ticks = npt.NDArray[np.int64]


class DoubtfulTimes(ValueError):
    """The timestamps of a source do not say when its frames are shown; `frame` is the first that shows it."""

    def __init__(self, frame: int) -> None:
        super().__init__(f"frame {frame}")
        self.frame = frame


def evenly(frames: int, rate: Fraction, time_base: Fraction) -> Ticks:
    """Timestamps of frames at `rate` a second, from zero on, each rounded by itself so that they do not drift."""
    return np.array([round(number / rate / time_base) for number in range(frames)], np.int64)


def times_of(said: Ticks, rate: Fraction | None, time_base: Fraction) -> Ticks | None:
    """When frames are shown.

    Args:
        said: their timestamps in the order shown, NEVER where there is none.
        rate: frames a second of the stream, if it says so.
        time_base: seconds a tick.

    Returns:
        Rising timestamps; None if there is neither any timestamp nor a rate.

    Raises:
        DoubtfulTimes: see above.
    """
    if (said != NEVER).any():
        return repaired(said)
    return evenly(len(said), rate, time_base) if rate else None


def repaired(said: Ticks) -> Ticks:
    """Rising timestamps for frames in the order shown.

    Args:
        said: as the decoder gave them, NEVER where it gave none; at least one is there.

    Raises:
        DoubtfulTimes: see above.
    """
    there = said != NEVER
    amiss = np.flatnonzero(~(there & np.append(True, said[1:] > said[:-1])))
    if not len(amiss):
        return said
    known = np.flatnonzero(there)
    ordered = np.argsort(said[known], kind="stable")
    stamps = said.copy()
    moved = np.abs(ordered - np.arange(len(known)))
    if (moved <= REORDERED).all() and (np.diff(said[known][ordered]) > 0).all():
        stamps[known] = said[known][ordered]
    trusted = known[_longest_rise(stamps[known].tolist())]
    found = stamps.copy()
    step = _usual_step(stamps[trusted], trusted)
    for before, after in pairwise([-1, *trusted.tolist(), len(said)]):
        count = after - before - 1
        if count:
            _spread(found, before, after, step)
        if count > REORDERED:
            raise DoubtfulTimes(int(amiss[0]))
    if (np.diff(found) <= 0).any():
        raise DoubtfulTimes(int(amiss[0]))  # not as many ticks as frames
    return found


def _spread(found: Ticks, before: int, after: int, step: int) -> None:
    """Fill frames (before, after), of which only one need be there."""
    numbers = np.arange(before + 1, after)
    if before < 0:
        found[numbers] = found[after] - (after - numbers) * step
    elif after == len(found):
        found[numbers] = found[before] + (numbers - before) * step
    else:
        whole = int(found[after]) - int(found[before])
        found[numbers] = [found[before] + round(Fraction(whole * int(n - before), after - before)) for n in numbers]


def _usual_step(stamps: Ticks, frames: npt.NDArray[np.intp]) -> int:
    steps = np.diff(stamps) / np.diff(frames)
    return max(1, round(float(np.median(steps)))) if len(steps) else 1


def _longest_rise(stamps: Sequence[int]) -> list[int]:
    """Places of the most numbers that strictly rise, of equal ones the first (patience sorting)."""
    tails: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for place, stamp in enumerate(stamps):
        length = bisect_left(tails, stamp)
        if length < len(tails) and tails[length] == stamp:
            before.append(-1)
            continue
        before.append(places[length - 1] if length else -1)
        tails[length:length + 1], places[length:length + 1] = [stamp], [place]  # fmt: skip
    found = []
    place = places[-1] if places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]
