"""What of a title is damaged, told from its frame table: frames that were made up in part, frames that are missing.

Nothing is made up here: a damaged frame is taken as the decoder shows it, and where frames are missing the one before
is shown for longer. How much of that a title may have is the profile's business (`limits.damaged`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from tasks.media.reading.stamps import REORDERED

if TYPE_CHECKING:
    from tasks.media.reading.timeline import Timeline

# What is known of a frame, as bits: its own data is damaged; what lay before it could not be decoded.
CONCEALED, AFTER_LOSS = 1, 2
_MOST_PLACES = 10  # that are named


@dataclass(frozen=True)
class Damage:
    """What is damaged.

    Attributes:
        concealed: frames made up in part.
        missing: frames that are not there, as many as the time without any has room for, at least one a place.
        places: where what is, in words, in the order shown; seconds from the title's beginning.
    """

    concealed: int
    missing: int
    places: tuple[str, ...]

    @property
    def frames(self) -> int:
        """How many frames are not as they were."""
        return self.concealed + self.missing

    def __str__(self) -> str:
        more = len(self.places) - _MOST_PLACES
        return "; ".join(self.places[:_MOST_PLACES]) + (f"; and in {more} more places" if more > 0 else "")


def damage_of(timeline: Timeline, time_base: Fraction) -> Damage:
    """What of a title is damaged; `time_base` is of its frame table."""
    concealed = np.flatnonzero(timeline.damage & CONCEALED).tolist()
    lost = _lost_before(timeline)
    places = [(number, f"{number} (after as many as {count} that are missing)") for number, count in lost.items()]
    places += [
        (first, f"{first} (made up in part)" if first == last else f"{first} to {last} (made up in part)")
        for first, last in _runs(concealed)
    ]
    seconds = (timeline.pts - timeline.pts[0]) * float(time_base)
    words = tuple(f"at {seconds[number]:.2f} s, frame {said}" for number, said in sorted(places, key=lambda p: p[0]))
    return Damage(len(concealed), sum(lost.values()), words)


def _lost_before(timeline: Timeline) -> dict[int, int]:
    """How many frames are missing before others, by the time they left; one at least for packets that gave no frame."""
    pts, steps = timeline.pts, np.diff(timeline.pts)
    usual = max(1, round(float(np.median(steps)))) if len(steps) else 1
    lost = {}
    # Frames that were decoded before what is lost may be shown after a frame that was cut short by the loss.
    near = np.flatnonzero(timeline.damage)[:, None] + np.arange(REORDERED + 1)
    for number in np.unique(near[near < len(pts)]).tolist():
        least = 1 if timeline.damage[number] & AFTER_LOSS else 0
        late = 0
        if number:
            late = int(pts[number] - pts[number - 1]) - (int(timeline.duration[number - 1]) or usual)
        if count := max(least, round(late / usual)):
            lost[number] = count
    return lost


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]
