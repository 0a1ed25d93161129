"""Cadence: whether a title's frames are pictures or pairs of fields, and of what kind, part by part.

A frame can be as combed as it is with its own fields (`own`), with the field before its top one, or with the field
before its bottom one (`fields`). Each kind of cadence has a pattern of which of the three are clean: pictures only with
their own, video fields with either neighbour in time, and film in video by a pattern of five. The parts are the most
likely sequence of patterns, where a change of pattern must be worth it (Viterbi's algorithm).

Knows nothing of what is done about it (see `recipe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.media.cadence.fields import Fields
from tasks.media.reading.timeline import BOTTOM_FIRST, PROGRESSIVE, TOP_FIRST, Timeline

# progressive    frames are pictures
# psf            the same, coded as pairs of fields (progressive segmented frames, 2:2)
# soft telecine  the same, every other one shown for three fields instead of two by flags
# top, bottom    fields of different moments, the top or the bottom one first
# telecine       film in video: every other picture is three fields instead of two, in the fields themselves (3:2)
# shifted        pictures whose two fields are in neighbouring frames (2:2, off by a field)
Kind = Literal["progressive", "psf", "soft telecine", "top", "bottom", "telecine", "shifted"]
Cadence = Literal[Kind, "mixed"]

# Rows below which no interlaced format exists: in tiny pictures the detector sees combs that are none.
_LOWEST_INTERLACED = 240
# FFmpeg's AVFieldOrder: top (bottom) field coded and shown first, then coded one way and shown the other.
_TOP_ORDERS, _BOTTOM_ORDERS = {2, 5}, {3, 4}
# Frames of clear evidence that a change of cadence must be worth, at a shot change and elsewhere.
_CHANGE_AT_CUT, _CHANGE = 2.0, 4.0
_CUT_SCORE = 10.0
# Evidence is clear if the ways to weave a frame differ by such a share of its samples, and of the worst of them.
_CLEAR, _CLEAR_SHARE = 0.0008, 0.2
# A title that does not say that it is interlaced: what speaks against that, and how much dearer a change is.
_UNSAID = 2.0
# How combed a frame of two pictures is at least, where 1 is that of pictures further apart.
_SURELY_COMBED = 0.5
# Frames in a row that are shown for two and for three fields in turn.
_SOFT_RUN = 8

# Own fields, top with the bottom before, bottom with the top before: 0 clean, 1 combed.
_WHOLE, _ORPHAN, _VIDEO = (0, 1, 1), (1, 0, 1), (0, 0, 1)
_TELECINE = (_WHOLE, _WHOLE, _ORPHAN, _ORPHAN, _VIDEO)


@dataclass(frozen=True)
class Part:
    """Frames [start, stop) of one cadence.

    Attributes:
        top_first: which field comes first; true for pictures.
        phase: of telecine, the number of a frame that is the first of five (modulo 5).
    """

    start: int
    stop: int
    kind: Kind
    top_first: bool = True
    phase: int = 0

    def words(self) -> str:
        """For a person."""
        order = f", {'top' if self.top_first else 'bottom'} field first" if self.kind in {"telecine", "shifted"} else ""
        return f"[{self.start},{self.stop}) {self.kind}{order}"


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against each cadence, counted in frames.

    Attributes:
        frames: of the title.
        flagged: coded as interlaced.
        combed, clean: look it, do not.
        top_first: which field comes first, by what the frames look like or else by what the file says.
        uneven: shown for two and three fields in turn.
        irregular: shown for another time than most.
        duplicates: equal to the one before, by checksum.
        repeat_flags: flagged to show a field again; -1 if the codec's flags are not read.
    """

    frames: int
    flagged: int
    combed: int
    clean: int
    top_first: bool
    uneven: int = 0
    irregular: int = 0
    duplicates: int = 0
    repeat_flags: int = -1

    @property
    def presumed_interlaced(self) -> bool:
        """The file says so, and nothing speaks against it."""
        return self.flagged > self.frames // 2 and self.clean <= self.combed

    def suspect(self, height: int) -> bool:
        """Whether the fields of a title of `height` rows are worth a closer look."""
        return self.flagged > 0 or (height >= _LOWEST_INTERLACED and self.combed >= max(4, self.frames // 100))

    def words(self) -> str:
        """For a person."""
        order = "top" if self.top_first else "bottom"
        return f"{order} field first; {self.combed} of {self.frames} frames look combed, {self.flagged} are flagged"


def gather(timeline: Timeline, field_order: int, repeat_flags: int = -1) -> Evidence:
    """The evidence of a title; `field_order` is FFmpeg's number of what its stream says."""
    looks = np.bincount(timeline.fields, minlength=4)
    top, bottom = int(looks[TOP_FIRST]), int(looks[BOTTOM_FIRST])
    said_top = field_order in _TOP_ORDERS or field_order not in _BOTTOM_ORDERS
    # The odd frame is misread; only where they are nearly even does the file's word count.
    top_first = said_top if max(top, bottom) < 3 * min(top, bottom) or top == bottom else top > bottom
    soft = _soft(timeline)
    same = (np.diff(timeline.checksum.astype(np.int64)) == 0) & (timeline.scene[1:] == 0)
    return Evidence(
        frames=len(timeline),
        flagged=int(timeline.flagged.sum()),
        combed=top + bottom,
        clean=int(looks[PROGRESSIVE]),
        top_first=top_first,
        uneven=int(soft.sum()),
        irregular=_irregular(timeline, soft),
        duplicates=int(same.sum()),
        repeat_flags=repeat_flags,
    )


def classify(
    timeline: Timeline, evidence: Evidence, fields: Fields | None, film_only: bool = False
) -> tuple[Part, ...]:
    """The parts of a title, in order, together every frame exactly once.

    Args:
        timeline: of the title.
        evidence: of the same.
        fields: of the same; None if nothing makes one suspect that frames are no pictures.
        film_only: it is known that there is no video in it.
    """
    found = (
        [Part(0, len(timeline), "progressive")]
        if fields is None
        else _most_likely(timeline, evidence, fields, film_only)
    )
    soft = _soft(timeline)
    parts: list[Part] = []
    for part in found:
        if part.kind == "progressive":
            parts += _whole_pictures(part, timeline, soft)
        else:
            parts.append(part)
    return tuple(parts)


def cadence_of(parts: tuple[Part, ...]) -> Cadence:
    """One word for all parts."""
    kinds = {part.kind for part in parts}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def clarity(fields: Fields) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How the three ways to weave each frame compare, [N, 3] from 0 (the cleanest) to 1, and how clearly, [N]."""
    ways = np.stack([fields.own, fields.top, fields.bottom], 1).astype(np.float64)
    worst, best = ways.max(1), ways.min(1)
    spread = worst - best
    clear = np.minimum(1, spread / _CLEAR) * np.minimum(1, spread / np.maximum(_CLEAR_SHARE * worst, 1e-12))
    return (ways - best[:, None]) / np.maximum(spread, 1e-12)[:, None], clear


def _most_likely(timeline: Timeline, evidence: Evidence, fields: Fields, film_only: bool) -> list[Part]:
    patterns = _patterns()
    ways, clear = clarity(fields)
    cut = timeline.scene > _CUT_SCORE
    clear = np.where(cut, 0.0, clear)  # a field of another shot tells nothing
    number = np.arange(len(timeline))
    cost = np.empty((len(timeline), len(patterns)))
    for column, (pattern, steps) in enumerate(patterns):
        expected = np.array(steps, np.float64)[(number - pattern.phase) % len(steps)]
        apart = np.abs(ways - expected)
        apart[:, 0] = np.where(expected[:, 0] > 0, np.maximum(0, _SURELY_COMBED - ways[:, 0]), ways[:, 0])
        cost[:, column] = clear * apart.sum(1)
    cost[0] += [_at_first(pattern, evidence, film_only) for pattern, _ in patterns]
    if film_only:
        cost[:, [pattern.kind in {"top", "bottom"} for pattern, _ in patterns]] = np.inf
    said = evidence.flagged > evidence.frames // 2
    changes = np.where(cut, _CHANGE_AT_CUT, _CHANGE) * (1 if said else _UNSAID)
    path = _cheapest(cost, changes)
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    found = []
    for start, stop in pairwise(edges):
        pattern, _ = patterns[path[start]]
        found.append(Part(start, stop, pattern.kind, pattern.top_first, pattern.phase))
    return found


def _patterns() -> list[tuple[Part, tuple[tuple[int, int, int], ...]]]:
    found: list[tuple[Part, tuple[tuple[int, int, int], ...]]] = [(Part(0, 0, "progressive"), (_WHOLE,))]
    for top_first in (True, False):

        def turned(
            steps: tuple[tuple[int, int, int], ...], as_is: bool = top_first
        ) -> tuple[tuple[int, int, int], ...]:
            return steps if as_is else tuple((own, bottom, top) for own, top, bottom in steps)

        video: Kind = "top" if top_first else "bottom"
        found.append((Part(0, 0, video, top_first), turned((_VIDEO,))))
        found.append((Part(0, 0, "shifted", top_first), turned((_ORPHAN,))))
        found += [(Part(0, 0, "telecine", top_first, phase), turned(_TELECINE)) for phase in range(5)]
    return found


def _at_first(pattern: Part, evidence: Evidence, film_only: bool) -> float:
    """What speaks against a cadence before any field is looked at."""
    if pattern.kind == "progressive":
        return 0.5 if evidence.presumed_interlaced and not film_only else 0.0
    said = 0.0 if evidence.flagged > evidence.frames // 2 else _UNSAID
    likely = 0.0 if pattern.kind in {"top", "bottom"} and evidence.presumed_interlaced else 0.75
    return said + likely + (0.0 if pattern.top_first == evidence.top_first else 0.25)


def _cheapest(cost: npt.NDArray[np.float64], changes: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The sequence of columns with the lowest sum of costs, where a change from row to row costs too."""
    frames, patterns = cost.shape
    came = np.empty((frames, patterns), np.intp)
    stay = np.arange(patterns)
    total = cost[0].copy()
    for row in range(1, frames):
        best = int(total.argmin())
        changed = total[best] + changes[row]
        came[row] = np.where(total < changed, stay, best)
        total = np.minimum(total, changed) + cost[row]
    path = np.empty(frames, np.intp)
    path[-1] = total.argmin()
    for row in range(frames - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def _whole_pictures(part: Part, timeline: Timeline, soft: npt.NDArray[np.bool_]) -> list[Part]:
    """A progressive part by how it is coded and shown."""
    inside = soft[part.start : part.stop]
    edges = [part.start, *(np.flatnonzero(np.diff(inside)) + 1 + part.start).tolist(), part.stop]
    found = []
    for start, stop in pairwise(edges):
        flagged = timeline.flagged[start:stop].sum() * 2 > stop - start
        kind: Kind = "soft telecine" if soft[start] else "psf" if flagged else "progressive"
        found.append(Part(start, stop, kind))
    return found


def _soft(timeline: Timeline) -> npt.NDArray[np.bool_]:
    """Frames that are shown for two and for three fields in turn, of runs long enough to be no accident."""
    soft = np.zeros(len(timeline), np.bool_)
    shown = np.diff(timeline.pts)
    if len(shown) < _SOFT_RUN:
        return soft
    one, other = shown[:-1], shown[1:]
    # Two to three, to the tick that a container rounds to.
    uneven = np.abs(3 * np.minimum(one, other) - 2 * np.maximum(one, other)) <= 5
    uneven &= one + other > 25
    edges = np.flatnonzero(np.diff(np.concatenate([[False], uneven, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        if stop - start >= _SOFT_RUN - 2:
            soft[start : stop + 2] = True
    return soft


def _irregular(timeline: Timeline, soft: npt.NDArray[np.bool_]) -> int:
    """Frames that are not shown for as long as most, by more than the rounding of a tick; soft telecine is regular."""
    shown = np.diff(timeline.pts)[~soft[:-1]]
    if not len(shown):
        return 0
    usual = np.median(shown)
    return int((np.abs(shown - usual) > np.maximum(1.5, 0.02 * usual)).sum())
