"""What in a master's likeness to its source is a fault, and in which shard. Knows numbers only, no pictures.

The limits are far from what networks do to clean sources (`docs/checks.md` has both), and below what a person sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tasks.media.contract.likeness import REACH, Likeness
from tasks.records import Fault, Shard

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# All in steps of 8-bit full range, root mean square over cells, unless they are ratios.
_NEARER, _NEARER_BY = 0.6, 0.3  # to another of the source's frames than to its own, so much and by so much
_ALL_NEARER, _ALL_NEARER_BY = 0.8, 0.1  # the same of a whole shard
_MOVES, _MOVES_MUCH = 0.3, 1.0  # a source that does
_HARDLY, _NOT_AT_ALL = 0.35, 0.05  # a master that does, as a share of its source
_DARK, _DARKER = 0.3, 2.0  # a black frame's luma as a share of the source's, and how much less it is
UNLIKE = 14.0  # from its own frame
_COLOURFUL = 1.0  # chroma of which a hue can be told
_HUE, _HUE_OF_ONE = 1.8, 4.0  # degrees: of a shard, and of one frame against the others
_SATURATION = 0.12  # of the source's
_LEVEL = 3.0  # mean luma or chroma
_JUMP, _JUMP_AROUND = 0.35, 48
FLICKER = 4.0
_SEAM, _SEAM_SHARE = 2.0, 0.5
_SHOWN = 3


def faults(likeness: Likeness, shards: Sequence[Shard], cuts: Sequence[int]) -> list[Fault]:
    """Everything that is wrong, shard by shard.

    Args:
        likeness: of as many frames as the shards have together, or fewer if the master is short of some.
        shards: of the title, in order.
        cuts: frames at which a shot begins.
    """
    found: list[Fault] = []
    opening = np.zeros(len(likeness), np.bool_)
    opening[[cut for cut in (0, *cuts) if cut < len(likeness)]] = True
    order = _out_of_order(likeness)
    usual = _usual_jumps(likeness, shards, opening)
    for shard in shards:
        part = slice(shard.start, min(shard.stop, len(likeness)))
        if part.start >= part.stop:
            continue
        found += _frames(likeness, part, order, opening)
        found += _colours(likeness, part)
        found += _steadiness(likeness, part, opening)
        found += _seams(likeness, part)
        if shard.index and not opening[shard.start]:
            found += _border(likeness, shard.start, usual)
    return found


def _out_of_order(likeness: Likeness) -> Bools:
    """Frames that look more like one of the source's neighbouring frames than like their own."""
    own, other = _own_and_nearest(likeness.apart)
    wrong: Bools = (other < _NEARER * own) & (own - other > _NEARER_BY)
    return wrong


def _own_and_nearest(apart: Floats) -> tuple[Floats, Floats]:
    others = np.delete(apart, REACH, axis=1)
    return apart[:, REACH], np.where(np.isnan(others), np.inf, others).min(axis=1)


def _frames(likeness: Likeness, part: slice, order: Bools, opening: Bools) -> Iterator[Fault]:
    """Frames that are black, of another place in time, or not of this source at all."""
    own = likeness.apart[part, REACH]
    light, ours = likeness.source_luma[part], likeness.master_luma[part]
    black = (ours < _DARK * light) & (light - ours > _DARKER)
    frozen = _frozen(likeness, part, opening) & ~black
    unlike = (own > UNLIKE) & ~black
    moved = order[part] & ~frozen & ~black
    for name, where, seen in (
        ("black", black, "black, and the source's are not"),
        ("frozen", frozen, "the same as the frame before, and the source moves"),
        ("unlike the source", unlike & ~moved & ~frozen, "by {own:.1f} of 255"),
        ("out of order", moved, "nearer to another of the source's frames than to their own"),
    ):
        yield from _named(name, where, part.start, seen.format(own=float(own[where].max()) if where.any() else 0.0))
    if not moved.any():
        yield from _shifted(likeness, part)


def _frozen(likeness: Likeness, part: slice, opening: Bools) -> Bools:
    """Frames that move much less than the source's, by what the shard's do: a network may take noise out of all."""
    source, master = likeness.source_step[part], likeness.master_step[part]
    with np.errstate(invalid="ignore"):
        moves = (source > _MOVES) & ~opening[part]
    if not moves.any():
        return moves
    share = np.divide(master, source, out=np.ones_like(master), where=moves)
    usual = float(np.median(share[moves]))
    limit = _HARDLY * min(1.0, usual)
    if usual < _NOT_AT_ALL and float(np.median(source[moves])) > _MOVES_MUCH:
        limit = _HARDLY  # all of it stands still
    frozen: Bools = moves & (share < limit)
    return frozen


def _shifted(likeness: Likeness, part: slice) -> Iterator[Fault]:
    """A whole shard that is some frames late or early, in a picture that moves too little for one frame to tell."""
    apart = likeness.apart[part]
    sure = apart[~np.isnan(apart).any(axis=1)].mean(axis=0) if len(apart) > 2 * REACH else np.zeros(0)
    if len(sure):
        nearest = int(sure.argmin())
        if sure[nearest] < _ALL_NEARER * sure[REACH] and sure[REACH] - sure[nearest] > _ALL_NEARER_BY:
            late = nearest - REACH
            said = f"{abs(late)} {'later' if late > 0 else 'earlier'}"
            yield Fault("out of order", part.start, part.stop, f"all of it is nearer to the source's frames {said}")


def _colours(likeness: Likeness, part: slice) -> Iterator[Fault]:
    """Hue, saturation and level of a shard as a whole, and of each frame."""
    along, across = likeness.along[part], likeness.across[part]
    colour = likeness.colour[part]
    if math.sqrt(colour.mean()) > _COLOURFUL:
        hue = math.degrees(math.atan2(across.sum(), along.sum()))
        gain = math.hypot(across.sum(), along.sum()) / colour.sum()
        if abs(hue) > _HUE:
            yield Fault("hue", part.start, part.stop, f"turned by {hue:.1f} degrees")
        else:
            of_each = np.degrees(np.arctan2(across, along))
            turned = (np.abs(of_each - hue) > _HUE_OF_ONE) & (np.sqrt(colour) > 2 * _COLOURFUL)
            yield from _named("hue", turned, part.start, "turned against the other frames")
        if abs(gain - 1.0) > _SATURATION:
            yield Fault("saturation", part.start, part.stop, f"{gain:.2f} of the source's")
    levels = {
        "luma": likeness.master_luma[part] - likeness.source_luma[part], "Cb": likeness.cb[part],
        "Cr": likeness.cr[part],
    }  # fmt: skip
    for name, level in levels.items():
        if abs(level.mean()) > _LEVEL:
            yield Fault("level", part.start, part.stop, f"{name} {level.mean():+.1f} of 255")


def _steadiness(likeness: Likeness, part: slice, opening: Bools) -> Iterator[Fault]:
    # What the master's steps have over the source's: one that takes flicker out has none.
    over = (np.square(likeness.master_step[part]) - np.square(likeness.source_step[part]))[~opening[part]]
    over = over[~np.isnan(over)]
    flicker = math.sqrt(max(0.0, float(np.median(over)))) if len(over) else 0.0
    if flicker > FLICKER:
        yield Fault("flicker", part.start, part.stop, f"{flicker:.1f} of 255 from frame to frame")


def _usual_jumps(likeness: Likeness, shards: Sequence[Shard], opening: Bools) -> Floats:
    """The jumps that the picture makes by itself; NaN near borders of shards and new shots."""
    usual = likeness.jump.copy()
    for reach, places in (((-2, 2), [s.start for s in shards]), ((-1, 2), np.flatnonzero(opening).tolist())):
        for place in places:
            usual[max(0, place + reach[0]) : place + reach[1] + 1] = np.nan
    return usual


def _border(likeness: Likeness, border: int, usual: Floats) -> Iterator[Fault]:
    """A step from one shard to the next that the picture does not make by itself."""
    near = usual[max(0, border - _JUMP_AROUND) : border + _JUMP_AROUND]
    near = near[~np.isnan(near)]
    jump = float(likeness.jump[border])
    middle, high = np.percentile(near, (50, 95)).tolist() if len(near) else (_JUMP, 2 * _JUMP)
    # Twice as high as it ever is; where it hardly changes, that much higher.
    if jump > max(_JUMP, min(2 * high, high + 3 * (high - middle) + _JUMP)):
        seen = f"the picture jumps by {jump:.2f} of 255 where this shard begins, elsewhere by {high:.2f} at most"
        yield Fault("border", border, border + 1, seen)


def _seams(likeness: Likeness, part: slice) -> Iterator[Fault]:
    """A line that stands in the same place in most of a shard."""
    height, where = likeness.seam[part], likeness.seam_at[part]
    sampled = ~np.isnan(height)
    places, counts = np.unique(where[sampled & (height > _SEAM)], return_counts=True)
    for place, count in zip(places, counts, strict=True):
        if count >= _SEAM_SHARE * sampled.sum():
            mean = float(height[sampled & (where == place)].mean())
            line = f"column {int(place)}" if place > 0 else f"row {int(-place)}"
            yield Fault("seam", part.start, part.stop, f"a step of {mean:.1f} of 255 at {line} of the source")


def _named(name: str, where: Bools, start: int, seen: str) -> Iterator[Fault]:
    """One fault for each stretch of frames, or one for all of them if there are many."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    stretches = [(int(a) + start, int(b) + start) for a, b in edges.reshape(-1, 2)]
    if len(stretches) > _SHOWN:
        yield Fault(name, stretches[0][0], stretches[-1][1], f"{int(where.sum())} frames there: {seen}")
        return
    for first, stop in stretches:
        yield Fault(name, first, stop, seen)
