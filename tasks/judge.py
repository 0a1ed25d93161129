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
_AROUND = 4  # frames before and after one that are a stretch with it
_COLOURFUL, _SURELY = 1.0, 2.0  # chroma of which a hue can be told: of a shard, and of less than one
_HUE, _HUE_OF_ONE = 1.8, 4.0  # degrees: of a shard or a stretch, and of one frame against the others
_SATURATION = 0.12  # of the source's: of a shard or a stretch
_LASTS = 3  # frames on end in which colours drift: what drifts up to a shard's end is over in that many, mirrored
_LEVEL = 3.0  # mean luma or chroma of a frame
_JUMP, _JUMP_AROUND = 0.35, 48
FLICKER, _FLASH = 2.0, 2.0  # of a stretch, and of one frame's two steps beyond that
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
    opening = _opening(likeness, cuts)
    order = _out_of_order(likeness)
    steady = steadiness(likeness, shards, cuts)
    flashes = _flashes(_unsteady(likeness, cuts), steady)
    usual = _usual_jumps(likeness, shards, opening)
    for shard in shards:
        part = slice(shard.start, min(shard.stop, len(likeness)))
        if part.start >= part.stop:
            continue
        found += _frames(likeness, part, order, flashes, opening)
        found += _colours(likeness, part)
        found += _steadiness(steady, part)
        found += _seams(likeness, part)
        if shard.index and not opening[shard.start]:
            found += _border(likeness, shard.start, usual)
    return found


def steadiness(likeness: Likeness, shards: Sequence[Shard], cuts: Sequence[int]) -> Floats:
    """By how much a picture changes more from frame to frame than its source, in the middle of the frames around each.

    Arguments as for `faults`.

    Returns:
        [N] in steps of 8-bit full range, to be held against `FLICKER`; NaN where a shot begins.
    """
    unsteady, found = _unsteady(likeness, cuts), np.full(len(likeness), np.nan, np.float32)
    for shard in shards:
        known = shard.start + np.flatnonzero(~np.isnan(unsteady[shard.start : shard.stop]))
        found[known] = _usual(unsteady[known])
    return found


def _unsteady(likeness: Likeness, cuts: Sequence[int]) -> Floats:
    """What a step of the master has over the source's; at most by what it differs: sharper motion is no flicker."""
    over = np.square(likeness.master_step) - np.square(likeness.source_step)
    found: Floats = np.minimum(likeness.flicker, np.sqrt(np.maximum(over, 0.0)))
    found[_opening(likeness, cuts)] = np.nan
    return found


def _usual(values: Floats) -> Floats:
    """The middle of each value and those around it, which are mirrored at the ends."""
    if not len(values):
        return values
    padded = np.pad(values, _AROUND, mode="symmetric")
    middle: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1), axis=1)
    return middle


def _opening(likeness: Likeness, cuts: Sequence[int]) -> Bools:
    """Frames that begin a shot."""
    opening = np.zeros(len(likeness), np.bool_)
    opening[[cut for cut in (0, *cuts) if cut < len(likeness)]] = True
    return opening


def _out_of_order(likeness: Likeness) -> Bools:
    """Frames that look more like one of the source's neighbouring frames than like their own."""
    own, other = _own_and_nearest(likeness.apart)
    wrong: Bools = (other < _NEARER * own) & (own - other > _NEARER_BY)
    return wrong


def _own_and_nearest(apart: Floats) -> tuple[Floats, Floats]:
    others = np.delete(apart, REACH, axis=1)
    return apart[:, REACH], np.where(np.isnan(others), np.inf, others).min(axis=1)


def _flashes(unsteady: Floats, steady: Floats) -> Bools:
    """Single frames that are off, all of them or a part, by two steps that the source does not make: there and back."""
    flashes: Bools = np.minimum(unsteady, np.append(unsteady[1:], np.nan)) > steady + _FLASH
    return flashes


def _frames(likeness: Likeness, part: slice, order: Bools, flashes: Bools, opening: Bools) -> Iterator[Fault]:
    """Frames that are black, of another place in time, of other light, or not of this source at all."""
    own = likeness.apart[part, REACH]
    light, ours = likeness.source_luma[part], likeness.master_luma[part]
    black = (ours < _DARK * light) & (light - ours > _DARKER)
    frozen = _frozen(likeness, part, opening) & ~black
    unlike = (own > UNLIKE) & ~black
    moved = order[part] & ~frozen & ~black
    unlike &= ~moved & ~frozen
    flash = flashes[part] & ~(black | frozen | unlike | moved)
    for name, where, seen in (
        ("black", black, "black, and the source's are not"),
        ("frozen", frozen, "the same as the frame before, and the source moves"),
        ("unlike the source", unlike, "by {own:.1f} of 255"),
        ("out of order", moved, "nearer to another of the source's frames than to their own"),
        ("flash", flash, "unlike the frames before and after, and the source's is not"),
    ):
        yield from _named(name, where, part.start, seen.format(own=float(own[where].max()) if where.any() else 0.0))
    yield from _levels(likeness, part, black | frozen | unlike | moved | flash)
    if not moved.any():
        yield from _shifted(likeness, part)


def _levels(likeness: Likeness, part: slice, named: Bools) -> Iterator[Fault]:
    """Frames, but for those that have a name already, that are lighter, darker or tinted as a whole."""
    levels = {
        "luma": likeness.master_luma[part] - likeness.source_luma[part], "Cb": likeness.cb[part],
        "Cr": likeness.cr[part],
    }  # fmt: skip
    for name, level in levels.items():
        off = (np.abs(level) > _LEVEL) & ~named
        worst = level[off][np.abs(level[off]).argmax()] if off.any() else 0.0
        yield from _named("level", off, part.start, f"{name} {worst:+.1f} of 255")


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
    """Hue and saturation of a shard as a whole, of stretches in which they drift, and hue of each frame."""
    along, across, colour = likeness.along[part], likeness.across[part], likeness.colour[part]
    if math.sqrt(colour.mean()) <= _COLOURFUL:
        return
    surely = np.sqrt(colour) > _SURELY
    hue = math.degrees(math.atan2(across.sum(), along.sum()))
    hues = np.degrees(np.arctan2(across, along))
    drift = np.abs(_usual(hues))
    if abs(hue) > _HUE:
        yield Fault("hue", part.start, part.stop, f"turned by {hue:.1f} degrees")
    elif (turned := _lasting(surely & (drift > _HUE))).any():
        yield from _named("hue", turned, part.start, f"turned by up to {drift[turned].max():.1f} degrees")
    else:
        turned = surely & (np.abs(hues - hue) > _HUE_OF_ONE)
        yield from _named("hue", turned, part.start, "turned against the other frames")
    gain = math.hypot(across.sum(), along.sum()) / colour.sum()
    gains = _usual(np.divide(np.hypot(across, along), colour, out=np.ones_like(colour), where=surely))
    if abs(gain - 1.0) > _SATURATION:
        yield Fault("saturation", part.start, part.stop, f"{gain:.2f} of the source's")
    elif (off := _lasting(np.abs(gains - 1.0) > _SATURATION)).any():
        worst = gains[off][np.abs(gains[off] - 1.0).argmax()]
        yield from _named("saturation", off, part.start, f"{worst:.2f} of the source's where it is worst")


def _lasting(where: Bools) -> Bools:
    """Without what is over at once: grain and coding alone turn the colours of a frame or two of a small picture."""
    lasting = np.zeros_like(where)
    for first, stop in _stretches(where):
        lasting[first:stop] = stop - first >= _LASTS
    return lasting


def _steadiness(steady: Floats, part: slice) -> Iterator[Fault]:
    flickers = steady[part] > FLICKER
    worst = float(steady[part][flickers].max()) if flickers.any() else 0.0
    yield from _named("flicker", flickers, part.start, f"{worst:.1f} of 255 more from frame to frame than the source")


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
    stretches = [(first + start, stop + start) for first, stop in _stretches(where)]
    if len(stretches) > _SHOWN:
        yield Fault(name, stretches[0][0], stretches[-1][1], f"{int(where.sum())} frames there: {seen}")
        return
    for first, stop in stretches:
        yield Fault(name, first, stop, seen)


def _stretches(where: Bools) -> list[tuple[int, int]]:
    """Where each run of true values begins and stops."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]
