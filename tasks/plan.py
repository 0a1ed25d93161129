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

import numpy as np
import numpy.typing as npt

from tasks.cuts import cut_spans, longest_shard, shot_cuts
from tasks.errors import UnsupportedSource, UsageError
from tasks.media.cadence.read import Window, window
from tasks.media.cadence.recipe import RECIPE_VERSION, Recipe
from tasks.media.picture.alpha import ALPHA_VERSION
from tasks.media.picture.bars import BARS_VERSION, Bars, bars_of
from tasks.media.picture.colour import COLOUR_VERSION, Colour
from tasks.media.picture.hdr import Hdr, brightest_light, is_hdr, sdr_colour, shots_of
from tasks.media.picture.pixels import Layout
from tasks.media.picture.size import Enlargement
from tasks.media.reading.timecode import restated
from tasks.media.reading.timeline import TIMELINE_VERSION, Timeline
from tasks.media.writing.codecs import master_colour, master_layout
from tasks.media.writing.encode import require_encodable
from tasks.media.writing.segment import SEGMENT_VERSION
from tasks.pool.worker import UPSCALE_VERSION
from tasks.profile import Profile, with_settings
from tasks.reading import Reading, read_cadence
from tasks.records import Network, Revision, Shard, Title, Work, content_key
from tasks.remembered import fingerprint_of, timeline_of
from tasks.sources import require_unchanged
from tasks.store import Store
from tasks.trust import rate_of, trusted
from vsr_model.contract import OFFLOAD, ModelEntry, ModelInfo, ModelRef
from vsr_model.registry import find
from vsr_model.tone import ToneMap

SHARD_VERSIONS = (TIMELINE_VERSION, COLOUR_VERSION, UPSCALE_VERSION, SEGMENT_VERSION)


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
        enlargement: of source to master.
        cuts: numbers of pictures at which a shot begins, the first one not counted.
        layout, colour: of the master (and its segments).
        model: network and settings.
        shards: in order, together every picture exactly once.
        work: the workers' orders, one a shard.
        revised: shards that are made otherwise than the others.
        hdr: what is done about the source's HDR, if it is.
        codec: of the master's picture.
        squared: the master's pixels are made square, which the source's and the segments' are not.
    """

    title: Title
    fingerprint: str
    timeline: Timeline
    reading: Reading
    bars: Bars
    restored: Bars
    enlargement: Enlargement
    cuts: tuple[int, ...]
    layout: Layout
    colour: Colour
    model: ModelRef
    shards: tuple[Shard, ...]
    work: tuple[Work, ...]
    revised: tuple[Revised, ...] = ()
    hdr: Hdr | None = None
    codec: str = ""
    squared: bool = False

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
    def timecode(self) -> str:
        """That of the master's first picture; empty if the source says none."""
        assert self.title.probe is not None
        return restated(self.title.probe.timecode, self.title.probe.frame_rate, self.rate)

    @property
    def network_size(self) -> tuple[int, int]:
        """Rows and columns of the source between its bars: of what is made large."""
        assert self.title.probe is not None
        return self.bars.within(self.title.probe.height, self.title.probe.width)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Rows and columns of what the master shows of the source."""
        rows, columns = self.network_size
        back = self.restored
        return rows + back.top + back.bottom, columns + back.left + back.right

    @property
    def segment_size(self) -> tuple[int, int]:
        """Rows and columns of the segments."""
        return self.enlargement.size(*self.shown_size)

    @property
    def finished(self) -> Enlargement:
        """Of source to master."""
        return self.enlargement.squared(self._aspect, self.layout) if self.squared else self.enlargement

    @property
    def master_size(self) -> tuple[int, int]:
        """Rows and columns of the master."""
        return self.finished.size(*self.shown_size)

    @property
    def sample_aspect(self) -> Fraction:
        """Pixel width over height of the master."""
        return Fraction(1) if self.squared else self._aspect

    @property
    def _aspect(self) -> Fraction:
        assert self.title.probe is not None
        return self.title.probe.sample_aspect


@dataclass(frozen=True)
class Revised:
    """A shard, by its index, that is made otherwise: what was asked, and the network that makes it."""

    index: int
    revision: Revision
    model: ModelRef


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
    source_print = fingerprint_of(title, store)
    limits = profile.limits.limits()
    timeline = timeline_of(title, source_print, store, limits)
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
    tone = _tone_map(title.probe.colour, profile, timeline)
    colour = master_colour(sdr_colour(title.probe.colour) if tone else title.probe.colour, layout, settings.codec)
    bars = Bars()
    if profile.bars != "keep":
        bars = bars_of(timeline.black, title.probe.height, title.probe.width, title.probe.layout)
    restored = bars if profile.bars == "restore" else Bars()
    cuts = reading.pictures.numbers(shot_cuts(timeline, profile.shards.cut_score))
    hdr = None
    if is_hdr(title.probe.colour):
        hdr = Hdr(tone) if tone else Hdr(shots=shots_of(reading.pictures.shown.peak, cuts, title.probe.colour))
    base = Plan(
        title, source_print, timeline, reading, bars, restored, Enlargement.of(profile.scale, layout), cuts, layout,
        colour, model, (), (), hdr=hdr, codec=settings.codec,
        squared=profile.master.pixel_aspect == "square" and title.probe.sample_aspect != 1,
    )  # fmt: skip
    if base.squared:  # a header can promise any shape
        pixels = math.prod(replace(base.finished, scale=1).size(*base.shown_size))
        profile.limits.limits().require(f"{title.name} with square pixels", pixels=pixels)
    require_encodable(settings, *base.master_size, layout, title.name)
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


def _tone_map(colour: Colour, profile: Profile, timeline: Timeline) -> ToneMap | None:
    """How a title becomes SDR, if it is HDR and is to: one curve for all of it, or shots would not match."""
    if not is_hdr(colour) or profile.hdr.mode == "keep":
        return None
    return ToneMap(profile.hdr.curve, profile.hdr.exposure, brightest_light(timeline.peak, colour))


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
    hdr = plan.hdr and plan.hdr.within(shard.start - shard.warm_up, shard.stop + shard.look_ahead)
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
            "segment": [{name: value for name, value in vars(plan.layout).items() if name != "alpha"}, plan.colour],
            "versions": SHARD_VERSIONS,
        }
        # Of what is not HDR, or has no alpha, the key says nothing of it.
        | ({"hdr": [hdr, hdr.version]} if hdr else {})
        | ({"alpha": ALPHA_VERSION} if plan.layout.alpha else {})
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
    around = plan.enlargement.bars(plan.restored, *plan.shown_size)
    frames, recipe = _read(plan, first, shard.stop + shard.look_ahead)
    return Work(
        shard=shard,
        source=plan.title.uri,
        stream=probe.stream,
        height=plan.network_size[0],
        width=plan.network_size[1],
        bars=plan.bars,
        result=around.within(*plan.segment_size),
        restored=around,
        layout=probe.layout,
        colour=probe.colour,
        window=frames,
        recipe=recipe,
        cuts=tuple(c for c in plan.cuts if first < c < shard.stop),
        seed=profile.seed,
        weights_hash=plan.model.weights_hash,
        target_layout=plan.layout,
        target_colour=plan.colour,
        store=store.root,
        hdr=plan.hdr and plan.hdr.within(first, shard.stop + shard.look_ahead),
    )


def _read(plan: Plan, start: int, stop: int) -> tuple[Window, Recipe]:
    """The frames that pictures [start, stop) are made of, and how."""
    pictures = plan.reading.pictures
    return window(plan.timeline, *pictures.frames(start, stop, len(plan.timeline))), pictures.recipe(start, stop)
