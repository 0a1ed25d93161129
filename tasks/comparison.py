"""One part of one stretch of a title by several networks, for a person to choose between them. Judges nothing.

The part is what is seen at its full size: a network takes the same time for it whatever the title's size, and it goes
through a worker's own class. Only what is near the stretch is decoded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from tasks.errors import UnsupportedSource, UsageError
from tasks.media.cadence.read import read_pictures
from tasks.media.picture.bars import Bars, cut_off
from tasks.media.picture.colour import Colour
from tasks.media.picture.hdr import is_hdr, seen_rgb
from tasks.media.picture.pixels import Layout, Planes, to_planes
from tasks.media.picture.size import Enlargement, Scale
from tasks.media.reading.stretch import Stretch, read_stretch
from tasks.media.writing.segment import read_segment
from tasks.plan import Plan, network_of, order, plan_frames, stretch_of
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, with_settings
from tasks.records import Record, Shard, Title, Work
from tasks.sources import open_source
from tasks.store import Store
from vsr_model.classical import resize
from vsr_model.errors import ModelError
from vsr_model.registry import find
from vsr_model.sizes import makes

SOURCE = "source"
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Candidate:
    """What a network made of the part.

    Attributes:
        model: its name; `SOURCE` for the source enlarged by bicubic interpolation.
        pictures_T3HW: uint8, the moments that are shown.
        rate: frames of the part a second, on this machine; 0 for the source.
        fidelity: lowest PSNR in dB of the reduced result against the source; 0 for the source.
    """

    model: str
    pictures_T3HW: torch.Tensor
    rate: float = 0.0
    fidelity: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        title: its name.
        size: rows and columns of the source; `part`: what is left out of it, in source pixels.
        scale: of the result.
        moments: seconds from the title's beginning of the frames shown.
        overview_3HW: uint8, the first of these moments, all of the source's picture.
        candidates: the source first.
        left_out: networks that could not be used, with the reason.
        device: that they ran on.
    """

    title: str
    size: tuple[int, int]
    part: Bars
    scale: Scale
    moments: tuple[float, ...]
    overview_3HW: torch.Tensor
    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[str, str], ...]
    device: str


def compare_networks(
    title: Title, profile: Profile, models: Sequence[str], at: float, seconds: float, part: tuple[int, int], shown: int
) -> Comparison:
    """Make the same part of a title by several networks.

    Args:
        title: as scanned.
        profile: settings of all of them but for the network.
        models: names or weights files.
        at, seconds: the stretch, from the title's beginning; as much as there is of it.
        part: rows and columns of the part, in source pixels, at most the picture's; 0: all of it.
        shown: frames of the stretch that are kept, evenly spread.

    Raises:
        UnsupportedSource: the title is refused.
        UsageError: the title is shorter than `at`, or no network can be used.
        SourceError, StoreError: see `ShardWorker.upscale`.
    """
    if title.refused or title.probe is None:
        raise UnsupportedSource(title.refused)
    profiles, left_out = _usable(profile, models)
    if not profiles:
        raise UsageError("; ".join(f"{model}: {why}" for model, why in left_out))
    infos = [find(each.model).info for each in profiles]
    rate = float(title.probe.frame_rate or Fraction(25))
    stop = at + max(seconds, 2 / rate) + max(info.look_ahead for info in infos) / rate  # a frame at least
    with open_source(title.uri, title.name) as source:
        before, colour = max(info.warm_up for info in infos), title.probe.colour
        stretch = read_stretch(source, title.probe.stream, at, stop, before, colour if is_hdr(colour) else None)
    start = next(n for n, shows in enumerate(stretch.seconds) if shows >= at)
    end = next((n for n, shows in enumerate(stretch.seconds) if shows >= at + seconds), len(stretch.seconds))
    end = max(end, start + 1)  # a moment shorter than a frame is that frame
    with tempfile.TemporaryDirectory(prefix="remaster-preview-") as folder:
        store = Store(folder)
        plan = plan_frames(title, "preview", stretch.timeline, profiles[0], store, seek=stretch.seek)
        base = plan.reading.pictures.base  # from here on pictures are counted, not frames
        start, end = (int(number) for number in np.searchsorted(base, (start, end)))
        start = min(start, len(base) - 1)
        end = max(end, start + 1)  # of a frame that is no picture of its own, the next one
        wanted = sorted({start + (end - 1 - start) * n // max(1, shown - 1) for n in range(shown)})
        work = _anchored(order(plan, profiles[0], store, stretch_of(plan, start, end)), stretch)
        sources = _sources(work, wanted)
        middle = len(sources) // 2
        chosen = _most_detailed(sources[middle], plan, part)
        candidates = [_enlarged(sources, work, chosen, plan.enlargement)]
        for each in profiles:
            candidates.append(_by(each, title, stretch, chosen, start, end, wanted, store))
        device = "GPU" if torch.cuda.is_available() else "CPU"
    return Comparison(
        title=title.name,
        size=(title.probe.height, title.probe.width),
        part=chosen,
        scale=profile.scale,
        moments=tuple(stretch.seconds[int(base[n])] for n in wanted),
        overview_3HW=_bytes(seen_rgb([sources[middle]], work.layout, work.colour, _CPU)[0]),
        candidates=tuple(candidates),
        left_out=tuple(left_out),
        device=device,
    )


def _usable(profile: Profile, models: Sequence[str]) -> tuple[list[Profile], list[tuple[str, str]]]:
    usable, left_out = [], []
    for model in models:
        try:
            entry = find(model)
            missing = entry.missing() if entry.missing else ""
        except ModelError as error:
            missing = str(error)
        if missing:
            left_out.append((model, missing))
        elif not makes(entry.info, Fraction(profile.scale)):
            left_out.append((model, f"does not make x{profile.scale}"))
        else:
            usable.append(with_settings(profile, {"model": model}))
    return usable, left_out


def _by(
    profile: Profile, title: Title, stretch: Stretch, part: Bars, start: int, end: int, wanted: Sequence[int],
    store: Store,
) -> Candidate:  # fmt: skip
    info = find(profile.model).info
    whole = plan_frames(title, "preview", stretch.timeline, profile, store, seek=stretch.seek)
    plan = replace(whole, bars=part, restored=Bars())
    shot = max((cut for cut in plan.cuts if cut <= start), default=0)
    warm_up = min(info.warm_up, start - shot)
    shot_end = min((cut for cut in plan.cuts if cut >= end), default=len(plan.shown))
    look_ahead = min(info.look_ahead, shot_end - end)
    shard = stretch_of(plan, start, end, warm_up, look_ahead)
    worker = ShardWorker(WorkerSettings(**vars(network_of(profile))))
    record = worker.upscale(_anchored(order(plan, profile, store, shard), stretch))
    pictures = _pictures(record, plan, shard, wanted, store)
    fed = warm_up + end - start + look_ahead
    return Candidate(_name(profile.model), pictures, fed / record.seconds["total"], record.fidelity)


def _name(model: str) -> str:
    return Path(model).name


def _anchored(work: Work, stretch: Stretch) -> Work:
    """The order with a place to seek to: the first row of its table is not where the file begins."""
    return replace(work, window=replace(work.window, seeks=(*work.window.seeks, stretch.seek)))


def _sources(work: Work, wanted: Sequence[int]) -> list[Planes]:
    """The source's pictures of some frames."""
    with open_source(work.source, work.shard.name) as source:
        read = read_pictures(source, work.stream, work.layout, work.window, work.recipe)
        return [planes for n, planes in enumerate(read, work.shard.start) if n in wanted]


def _most_detailed(planes: Planes, plan: Plan, part: tuple[int, int]) -> Bars:
    """What to leave out of a picture so that a part of this size is left, where most of its edges are."""
    height, width = plan.network_size
    rows, columns = (min(side, of) & ~3 if side else of for side, of in zip(part, (height, width), strict=True))
    luma = cut_off(planes, plan.title.probe.layout, plan.bars)[0].astype(np.float64)  # type: ignore[union-attr]
    edges = np.zeros_like(luma)
    edges[:-1] += np.abs(np.diff(luma, axis=0))
    edges[:, :-1] += np.abs(np.diff(luma, axis=1))
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = (int(n) & ~3 for n in np.unravel_index(int(inside.argmax()), inside.shape))
    bars = plan.bars
    return Bars(
        bars.top + top, bars.bottom + height - rows - top, bars.left + left, bars.right + width - columns - left
    )


def _enlarged(sources: list[Planes], work: Work, part: Bars, enlargement: Enlargement) -> Candidate:
    shown = [cut_off(planes, work.layout, part) for planes in sources]
    rgb_T3HW = seen_rgb(shown, work.layout, work.colour, _CPU)
    return Candidate(SOURCE, _bytes(resize(rgb_T3HW, *enlargement.size(*rgb_T3HW.shape[-2:]), "bicubic")))


def _pictures(record: Record, plan: Plan, shard: Shard, wanted: Sequence[int], store: Store) -> torch.Tensor:
    with open_source(store.uri(record.segment), f"preview of {shard.name}") as segment:
        frames = enumerate(read_segment(segment, plan.layout, shard.start, shard.stop), shard.start)
        return torch.stack(
            [_rgb(to_planes(frame, plan.layout), plan.layout, plan.colour) for n, frame in frames if n in wanted]
        )


def _rgb(planes: Planes, layout: Layout, colour: Colour) -> torch.Tensor:
    return _bytes(seen_rgb([planes], layout, colour, _CPU)[0])


def _bytes(rgb: torch.Tensor) -> torch.Tensor:
    return (rgb.float().clamp(0, 1) * 255).round().to(torch.uint8)
