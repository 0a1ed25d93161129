"""Stage 2: decode a title once, refuse what cannot be remastered well, and cut it into shards.

Cuts fall on shot changes where they can (a temporal network starts afresh there anyway) and on equal lengths where a
shot is too long; only the latter need warm-up frames.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.errors import StoreDamaged, UnsupportedSource, UsageError
from tasks.media.bars import BARS_VERSION, Bars, bars_of
from tasks.media.colour import COLOUR_VERSION, Colour
from tasks.media.encode import master_colour, master_layout, require_encodable
from tasks.media.limits import Limits
from tasks.media.pixels import Layout
from tasks.media.read import Window, window
from tasks.media.recipe import RECIPE_VERSION, Recipe
from tasks.media.segment import SEGMENT_VERSION
from tasks.media.timeline import TIMELINE_VERSION, Timeline, read_timeline
from tasks.pool.worker import UPSCALE_VERSION
from tasks.profile import Profile, ShardSettings, with_settings
from tasks.reading import Reading, read_cadence, remarks_on
from tasks.records import Network, Revision, Shard, Title, Work, content_key
from tasks.sources import open_source, require_unchanged
from tasks.store import Store, fingerprint
from tasks.tables import read_timeline_table, timeline_table
from tasks.trust import doubts, rate_of, trusted
from vsr_model.contract import OFFLOAD, ModelEntry, ModelInfo, ModelRef
from vsr_model.registry import find

SHARD_VERSIONS = (TIMELINE_VERSION, COLOUR_VERSION, UPSCALE_VERSION, SEGMENT_VERSION)

_LONGEST = 240  # frames of a shard, unless the network wants more


@dataclass(frozen=True)
class Plan:
    """What will be done to a title.

    Attributes:
        title: which one.
        fingerprint: of the source's bytes.
        timeline: its frame table.
        reading: how its frames become pictures.
        bars: what is cut off before the network, in source pixels.
        restored: what of it is put back as exact black.
        cuts: numbers of pictures at which a shot begins, the first one not counted.
        layout, colour: of the master (and its segments).
        model: network and settings.
        shards: in order, together every picture exactly once.
        work: the workers' orders, one a shard.
        revised: shards that are made otherwise than the others.
    """

    title: Title
    fingerprint: str
    timeline: Timeline
    reading: Reading
    bars: Bars
    restored: Bars
    cuts: tuple[int, ...]
    layout: Layout
    colour: Colour
    model: ModelRef
    shards: tuple[Shard, ...]
    work: tuple[Work, ...]
    revised: tuple[Revised, ...] = ()

    @property
    def shown(self) -> Timeline:
        """The frame table of the master's pictures."""
        return self.reading.pictures.shown

    @property
    def source_pts(self) -> npt.NDArray[np.int64]:
        """For each picture, when the source shows the last frame that it holds a field of."""
        return self.timeline.pts[self.reading.pictures.base]

    @property
    def rate(self) -> Fraction:
        """The master's pictures a second, on average."""
        assert self.title.probe is not None
        return self.reading.pictures.rate(rate_of(self.title, self.timeline), len(self.timeline))

    @property
    def network_size(self) -> tuple[int, int]:
        """Rows and columns of what the network is given."""
        assert self.title.probe is not None
        return self.bars.within(self.title.probe.height, self.title.probe.width)

    def master_size(self, scale: int) -> tuple[int, int]:
        """Rows and columns of the master."""
        rows, columns = self.network_size
        back = self.restored
        return (rows + back.top + back.bottom) * scale, (columns + back.left + back.right) * scale


@dataclass(frozen=True)
class Revised:
    """A shard, by its index, that is made otherwise: what was asked, and the network that makes it."""

    index: int
    revision: Revision
    model: ModelRef


@dataclass(frozen=True)
class Span:
    """A shard to be: frames [start, stop), its warm-up and look-ahead, and why it starts there."""

    start: int
    stop: int
    warm_up: int
    look_ahead: int
    cut: Literal["start", "shot", "length"]


def plan_title(title: Title, profile: Profile, store: Store, revisions: tuple[Revision, ...] = ()) -> Plan:
    """Plan one title. The frame table is kept in the store, so a title is decoded for planning only once.

    Args:
        title: as scanned.
        profile: for all of it.
        store: where frame tables and segments are.
        revisions: shards, of this title or others, that are to be made otherwise.

    Raises:
        UsageError: a revision is of pictures that are no shard of the title.
        SourceError: damaged or truncated.
        SourceChanged: replaced or written to since it was scanned.
        UnsupportedSource: changing size, of another cadence than asked, or not encodable as asked.
        UnknownModel, UnsupportedScale, WeightsError: see `vsr_model`.
    """
    require_unchanged(title)
    source_print = _fingerprint(title, store)
    limits = profile.limits.limits()
    timeline = _timeline(title, source_print, store, limits)
    limits.require(title.name, frames=len(timeline))
    timeline = trusted(title, timeline, profile)
    return plan_frames(title, source_print, timeline, profile, store, revisions)


def plan_frames(
    title: Title, source_print: str, timeline: Timeline, profile: Profile, store: Store,
    revisions: tuple[Revision, ...] = (), seek: int | None = None,
) -> Plan:  # fmt: skip
    """Plan the frames of a frame table, all of a title's or, from a timestamp to seek to, some; see `plan_title`."""
    assert title.probe is not None
    entry = find(profile.model)
    info, model = entry.info, model_reference(entry, profile)
    _require_room(title, info)
    reading = read_cadence(title, profile.cadence, timeline, source_print, store, seek)
    settings = profile.master.encoding()
    layout = master_layout(settings, title.probe.layout, title.name)
    colour = master_colour(title.probe.colour, layout, settings.codec)
    bars = Bars()
    if profile.bars != "keep":
        bars = bars_of(timeline.black, title.probe.height, title.probe.width, title.probe.layout)
    restored = bars if profile.bars == "restore" else Bars()
    cuts = reading.pictures.numbers(shot_cuts(timeline, profile.shards.cut_score))
    base = Plan(title, source_print, timeline, reading, bars, restored, cuts, layout, colour, model, (), ())
    require_encodable(settings, *base.master_size(profile.scale), layout, title.name)
    shards = tuple(_shards(base, profile, info))
    plan = replace(base, shards=shards, work=tuple(order(base, profile, store, shard) for shard in shards))
    for revision in revisions:
        if revision.title == title.name:
            plan = revise(plan, profile, store, revision)
    return plan


def _require_room(title: Title, info: ModelInfo) -> None:
    assert title.probe is not None
    if title.probe.layout.family == "light" and not info.unbounded:
        raise UnsupportedSource(
            f"{title.name}: holds light beyond 0..1, which {info.name} would cut off. Choose a network that does not:"
            " lanczos or bicubic."
        )


def revise(plan: Plan, profile: Profile, store: Store, revision: Revision) -> Plan:
    """A plan with one shard made otherwise; all others are as they were, to the key.

    Raises:
        UsageError: there is no shard of these pictures, or the settings are none.
        UnknownModel, WeightsError: see `vsr_model`.
    """
    index = next((s.index for s in plan.shards if (s.start, s.stop) == (revision.start, revision.stop)), None)
    if index is None:
        raise UsageError(
            f"{plan.title.name}: frames [{revision.start},{revision.stop}) are no shard of it any more: the source has"
            " changed, or how it is cut (`shards.*`). Run the library afresh, and reject the shard of that run."
        )
    as_cut = {"shards.frames": longest_shard(profile.shards, find(profile.model).info)}
    other = with_settings(profile, as_cut | dict(revision.settings))
    entry = find(other.model)
    _require_room(plan.title, entry.info)
    otherwise = replace(plan, model=model_reference(entry, other))
    # Shots and lengths are the same, so are the cuts; what is fed to the network is as it needs it.
    shard = list(_shards(otherwise, other, entry.info))[index]
    network = network_of(other)
    # Another seed, say, is no reason for a worker to load anything.
    work = replace(order(otherwise, other, store, shard), network=network if network != network_of(profile) else None)
    return replace(
        plan,
        shards=(*plan.shards[:index], shard, *plan.shards[index + 1 :]),
        work=(*plan.work[:index], work, *plan.work[index + 1 :]),
        revised=(*(r for r in plan.revised if r.index != index), Revised(index, revision, otherwise.model)),
    )


def network_of(profile: Profile) -> Network:
    """The network that a profile asks for, as a worker takes it."""
    settings = profile.model_settings(find(profile.model).info.settings)
    return Network(profile.model, profile.precision, profile.tile, profile.tile_overlap, settings)


def model_reference(entry: ModelEntry, profile: Profile) -> ModelRef:
    """The network's reference with the profile's settings that change its arithmetic."""
    reference = entry.reference()
    settings = dict(reference.settings) | dict(profile.model_settings(entry.info.settings))
    settings.pop(OFFLOAD, None)
    settings |= {"precision": profile.precision, "tile": profile.tile}
    if profile.tile != 0:
        settings["tile_overlap"] = profile.tile_overlap
    return replace(reference, settings=tuple(sorted(settings.items())))


def shot_cuts(timeline: Timeline, score: float) -> tuple[int, ...]:
    """Frames at which a shot begins, except the first frame."""
    return tuple(i for i in np.flatnonzero(timeline.scene > score).tolist() if i > 0)


def longest_shard(settings: ShardSettings, info: ModelInfo) -> int:
    """Frames; left to the network, so many that what it is given besides its own is a twelfth of them."""
    return settings.frames or max(_LONGEST, 12 * (info.warm_up + info.look_ahead))


def cut_spans(frames: int, cuts: tuple[int, ...], settings: ShardSettings, info: ModelInfo) -> Iterator[Span]:
    """Cut `frames` frames into shards.

    The last shot change within reach ends a shard; a shot longer than a shard is cut in equal parts.

    Args:
        frames: of the title, at least 1.
        cuts: frames at which shots begin.
        settings: longest and shortest shard.
        info: of the network: its warm-up, made longer where it then starts on the network's grid, never reaches back
            over a shot change, its look-ahead never over the next one.
    """
    start, reason = 0, "start"
    longest = longest_shard(settings, info)
    shortest = min(settings.shortest, longest)
    while start < frames:
        limit = start + longest
        if limit >= frames:
            stop, next_reason = frames, "end"
        else:
            reachable = [c for c in cuts if start + shortest <= c <= limit and frames - c >= shortest]
            if reachable:
                stop, next_reason = reachable[-1], "shot"
            else:
                end = min((c for c in cuts if c > limit and frames - c >= shortest), default=frames)
                parts = -(-(end - start) // longest)
                stop, next_reason = start + -(-(end - start) // parts), "length"
        shot = max((c for c in cuts if c <= start), default=0)
        shot_end = min((c for c in cuts if c >= stop), default=frames)
        first = shot + max(0, start - info.warm_up - shot) // info.chunk * info.chunk
        yield Span(start, stop, start - first, min(info.look_ahead, shot_end - stop), reason)  # type: ignore[arg-type]
        start, reason = stop, next_reason


def _shards(plan: Plan, profile: Profile, info: ModelInfo) -> Iterator[Shard]:
    pts = plan.source_pts
    spans = cut_spans(len(pts), plan.cuts, profile.shards, info)
    for index, span in enumerate(spans):
        fed = span.warm_up + span.stop - span.start + span.look_ahead
        seeks = _read(plan, span.start - span.warm_up, span.stop)[0].seeks
        shard = Shard(
            title=plan.title.name,
            index=index,
            start=span.start,
            stop=span.stop,
            warm_up=span.warm_up,
            look_ahead=span.look_ahead,
            cut=span.cut,
            first_pts=int(pts[span.start]),
            last_pts=int(pts[span.stop - 1]),
            seek_pts=seeks[0] if seeks else int(pts[0]),
            cost=round(math.prod(plan.network_size) * fed / 1e6, 3),
            key="",
        )
        yield replace(shard, key=shard_key(plan, profile, shard))


def shard_key(plan: Plan, profile: Profile, shard: Shard) -> str:
    """Content hash of everything that decides a shard's pixels: same key, same bytes. Names and paths are not in it."""
    probe, model = plan.title.probe, plan.model
    assert probe is not None
    _, recipe = _read(plan, shard.start - shard.warm_up, shard.stop + shard.look_ahead)
    return content_key(
        {
            "source": plan.fingerprint,
            "stream": probe.stream,
            "frames": [shard.start, shard.stop],
            "warm_up": shard.warm_up,
            "look_ahead": shard.look_ahead,
            "cuts": [c for c in plan.cuts if shard.start - shard.warm_up < c < shard.stop],
            "cadence": [recipe, RECIPE_VERSION] if recipe else "progressive",
            "bars": [plan.bars, plan.restored, BARS_VERSION] if plan.bars else [],
            "colour": probe.colour,
            # A weights file is its contents, wherever it lies.
            "model": replace(model, name="") if "/" in model.name or "\\" in model.name else model,
            "scale": profile.scale,
            "seed": profile.seed,
            "segment": [plan.layout, plan.colour],
            "versions": SHARD_VERSIONS,
        }
    )


def stretch_of(plan: Plan, start: int, stop: int, warm_up: int = 0, look_ahead: int = 0) -> Shard:
    """Pictures [start, stop) as a shard of no plan, with a key of its own: nobody may take it for another one's."""
    pts = plan.source_pts
    return Shard(
        title=plan.title.name, index=0, start=start, stop=stop, warm_up=warm_up, look_ahead=look_ahead, cut="start",
        first_pts=int(pts[start]), last_pts=int(pts[stop - 1]), seek_pts=int(pts[0]), cost=0.0,
        key=secrets.token_hex(32),
    )  # fmt: skip


def order(plan: Plan, profile: Profile, store: Store, shard: Shard) -> Work:
    """A worker's order for a shard, whose segment and record go to `store`."""
    probe = plan.title.probe
    assert probe is not None
    first = shard.start - shard.warm_up
    frames, recipe = _read(plan, first, shard.stop + shard.look_ahead)
    return Work(
        shard=shard,
        source=plan.title.uri,
        stream=probe.stream,
        height=plan.network_size[0],
        width=plan.network_size[1],
        bars=plan.bars,
        restored=plan.restored,
        layout=probe.layout,
        colour=probe.colour,
        window=frames,
        recipe=recipe,
        cuts=tuple(c for c in plan.cuts if first < c < shard.stop),
        scale=profile.scale,
        seed=profile.seed,
        weights_hash=plan.model.weights_hash,
        target_layout=plan.layout,
        target_colour=plan.colour,
        store=store.root,
    )


def remarks(plan: Plan) -> tuple[str, ...]:
    """What a person should know of how a title is read."""
    said: list[str] = []
    colour = plan.colour
    said += doubts(plan.title, plan.timeline)
    said += remarks_on(plan.reading)
    if plan.title.probe and plan.title.probe.pix_fmt == "gbrpf32le":
        said.append("the source's samples are 32-bit floats: the nearest 16-bit half floats are kept of them")
    if plan.bars:
        bars = plan.bars
        lines = f"top {bars.top}, bottom {bars.bottom}, left {bars.left}, right {bars.right}"
        then = "put back exactly black" if plan.restored else "left out of the master"
        said.append(f"the source has black bars ({lines}): kept from the network and {then}")
    if colour.assumed:
        said.append(
            f"the source's colour is not (fully) tagged: matrix {colour.matrix}, primaries {colour.primaries}, transfer"
            f" {colour.transfer} were assumed from its size and are written to the master"
        )
    said += [f"shard {plan.shards[each.index].name}: {each.revision.words}" for each in plan.revised]
    return tuple(said)


def _read(plan: Plan, start: int, stop: int) -> tuple[Window, Recipe]:
    """The frames that pictures [start, stop) are made of, and how."""
    pictures = plan.reading.pictures
    return window(plan.timeline, *pictures.frames(start, stop, len(plan.timeline))), pictures.recipe(start, stop)


def _fingerprint(title: Title, store: Store) -> str:
    """The source's fingerprint; remembered by place, size and stamp so that a big file is hashed once."""
    key = f"fingerprints/{content_key({'uri': title.uri, 'size': title.size, 'stamp': title.stamp})}"
    try:
        return store.read(key).decode()
    except (FileNotFoundError, StoreDamaged):
        found = fingerprint(title.uri)
        require_unchanged(title)
        store.write(key, found.encode())
        return found


def _timeline(title: Title, source_print: str, store: Store, limits: Limits) -> Timeline:
    assert title.probe is not None
    key = content_key({"source": source_print, "stream": title.probe.stream, "version": TIMELINE_VERSION})
    place = f"timelines/{key}.parquet"
    try:
        return read_timeline_table(store.read(place))
    except (FileNotFoundError, StoreDamaged):
        with open_source(title.uri, title.name) as source:
            timeline = read_timeline(source, title.probe.stream, limits)
        # Or the new bytes' table would be filed under the old bytes' name, for good.
        require_unchanged(title)
        store.write(place, timeline_table(timeline))
        return timeline
