"""Stage 2: decode a title once, refuse what cannot be remastered well, and cut it into shards.

Cuts fall on shot changes where they can (a temporal network starts afresh there anyway) and on equal lengths where a
shot is too long; only the latter need warm-up frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.errors import StoreDamaged
from tasks.media.cadence import CADENCE_VERSION, CONTEXT, Cadence, gather
from tasks.media.colour import COLOUR_VERSION, Colour
from tasks.media.encode import master_colour, master_layout, require_encodable
from tasks.media.pixels import Layout
from tasks.media.probe import Probe
from tasks.media.read import window
from tasks.media.segment import SEGMENT_VERSION
from tasks.media.timeline import TIMELINE_VERSION, Timeline, read_timeline
from tasks.pool.worker import UPSCALE_VERSION
from tasks.profile import Profile, ShardSettings
from tasks.records import Shard, Title, Work, content_key
from tasks.sources import open_source, require_unchanged
from tasks.store import Store, fingerprint
from tasks.tables import read_timeline_table, timeline_table
from vsr_model.contract import OFFLOAD, ModelEntry, ModelInfo, ModelRef
from vsr_model.registry import find


@dataclass(frozen=True)
class Plan:
    """What will be done to a title.

    Attributes:
        title: which one.
        fingerprint: of the source's bytes.
        timeline: its frame table.
        cadence: how its frames are read.
        cuts: frame numbers at which a shot begins, the first frame not counted.
        layout, colour: of the master (and its segments).
        model: network and settings.
        shards: in order, together every frame exactly once.
        work: the workers' orders, one a shard.
    """

    title: Title
    fingerprint: str
    timeline: Timeline
    cadence: Cadence
    cuts: tuple[int, ...]
    layout: Layout
    colour: Colour
    model: ModelRef
    shards: tuple[Shard, ...]
    work: tuple[Work, ...]


@dataclass(frozen=True)
class Span:
    """A shard to be: frames [start, stop), its warm-up and look-ahead, and why it starts there."""

    start: int
    stop: int
    warm_up: int
    look_ahead: int
    cut: Literal["start", "shot", "length"]


def plan_title(title: Title, profile: Profile, store: Store) -> Plan:
    """Plan one title. The frame table is kept in the store, so a title is decoded for planning only once.

    Raises:
        SourceError: damaged or truncated.
        SourceChanged: replaced or written to since it was scanned.
        UnsupportedSource: changing size, or not encodable as asked.
        UnknownModel, UnsupportedScale, WeightsError: see `vsr_model`.
    """
    assert title.probe is not None
    entry = find(profile.model)
    info, model = entry.info, model_reference(entry, profile)
    require_unchanged(title)
    source_print = _fingerprint(title, store)
    timeline = _timeline(title, source_print, store)
    cadence = choose_cadence(profile.cadence, title.probe, timeline)
    settings = profile.master.encoding()
    layout = master_layout(settings, title.probe.layout, title.name)
    colour = master_colour(title.probe.colour, layout)
    height, width = title.probe.height * profile.scale, title.probe.width * profile.scale
    require_encodable(settings, height, width, layout, title.name)
    cuts = shot_cuts(timeline, profile.shards.cut_score)
    base = Plan(title, source_print, timeline, cadence, cuts, layout, colour, model, (), ())
    shards = tuple(_shards(base, profile, info))
    return replace(base, shards=shards, work=tuple(_work(base, profile, store, shard) for shard in shards))


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
    shortest = min(settings.shortest, settings.frames)
    while start < frames:
        limit = start + settings.frames
        if limit >= frames:
            stop, next_reason = frames, "end"
        else:
            reachable = [c for c in cuts if start + shortest <= c <= limit and frames - c >= shortest]
            if reachable:
                stop, next_reason = reachable[-1], "shot"
            else:
                end = min((c for c in cuts if c > limit and frames - c >= shortest), default=frames)
                parts = -(-(end - start) // settings.frames)
                stop, next_reason = start + -(-(end - start) // parts), "length"
        shot = max((c for c in cuts if c <= start), default=0)
        shot_end = min((c for c in cuts if c >= stop), default=frames)
        first = shot + max(0, start - info.warm_up - shot) // info.chunk * info.chunk
        yield Span(start, stop, start - first, min(info.look_ahead, shot_end - stop), reason)  # type: ignore[arg-type]
        start, reason = stop, next_reason


def choose_cadence(asked: str, probe: Probe, timeline: Timeline) -> Cadence:
    """How a title's frames are read: as asked, or by the evidence."""
    evidence = gather(timeline, probe.field_order)
    if asked == "deinterlace" or (asked == "auto" and evidence.interlaced(probe.height)):
        return "top" if evidence.top_first else "bottom"
    return "progressive"


def _shards(plan: Plan, profile: Profile, info: ModelInfo) -> Iterator[Shard]:
    probe, pts = plan.title.probe, plan.timeline.pts
    assert probe is not None
    spans = cut_spans(len(plan.timeline), plan.cuts, profile.shards, info)
    for index, span in enumerate(spans):
        fed = span.warm_up + span.stop - span.start + span.look_ahead
        seeks = window(plan.timeline, span.start - span.warm_up, span.stop, _context(plan)).seeks
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
            cost=round(probe.height * probe.width * fed / 1e6, 3),
            key="",
        )
        yield replace(shard, key=shard_key(plan, profile, shard))


def shard_key(plan: Plan, profile: Profile, shard: Shard) -> str:
    """Content hash of everything that decides a shard's pixels: same key, same bytes. Names and paths are not in it."""
    probe, model = plan.title.probe, plan.model
    assert probe is not None
    return content_key(
        {
            "source": plan.fingerprint,
            "stream": probe.stream,
            "frames": [shard.start, shard.stop],
            "warm_up": shard.warm_up,
            "look_ahead": shard.look_ahead,
            "cuts": [c for c in plan.cuts if shard.start - shard.warm_up < c < shard.stop],
            "cadence": plan.cadence if plan.cadence == "progressive" else [plan.cadence, CADENCE_VERSION],
            "colour": probe.colour,
            # A weights file is its contents, wherever it lies.
            "model": replace(model, name="") if "/" in model.name or "\\" in model.name else model,
            "scale": profile.scale,
            "seed": profile.seed,
            "segment": [plan.layout, plan.colour],
            "versions": [TIMELINE_VERSION, COLOUR_VERSION, UPSCALE_VERSION, SEGMENT_VERSION],
        }
    )


def _work(plan: Plan, profile: Profile, store: Store, shard: Shard) -> Work:
    probe = plan.title.probe
    assert probe is not None
    first = shard.start - shard.warm_up
    return Work(
        shard=shard,
        source=plan.title.uri,
        stream=probe.stream,
        height=probe.height,
        width=probe.width,
        layout=probe.layout,
        colour=probe.colour,
        window=window(plan.timeline, first, shard.stop + shard.look_ahead, _context(plan)),
        cadence=plan.cadence,
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
    said = []
    probe, colour = plan.title.probe, plan.colour
    if plan.cadence != "progressive" and probe is not None:
        seen = gather(plan.timeline, probe.field_order).words()
        said.append(f"the source is interlaced ({seen}): deinterlaced, one picture for each frame")
    if colour.assumed:
        said.append(
            f"the source's colour is not (fully) tagged: matrix {colour.matrix}, primaries {colour.primaries}, transfer"
            f" {colour.transfer} were assumed from its size and are written to the master"
        )
    return tuple(said)


def _context(plan: Plan) -> int:
    return 0 if plan.cadence == "progressive" else CONTEXT


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


def _timeline(title: Title, source_print: str, store: Store) -> Timeline:
    assert title.probe is not None
    key = content_key({"source": source_print, "stream": title.probe.stream, "version": TIMELINE_VERSION})
    place = f"timelines/{key}.parquet"
    try:
        return read_timeline_table(store.read(place))
    except (FileNotFoundError, StoreDamaged):
        with open_source(title.uri, title.name) as source:
            timeline = read_timeline(source, title.probe.stream)
        # Or the new bytes' table would be filed under the old bytes' name, for good.
        require_unchanged(title)
        store.write(place, timeline_table(timeline))
        return timeline
