"""What a title takes, measured: short stretches of it go through a worker as its shards will, and through its encoder.

A worker's first order is not counted, as it loads, compiles and fills caches. Short and long stretches from the same
places tell what a shard costs from what its frames do. Knows neither prices nor how many workers there will be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import av
import numpy as np

from tasks.media.writing.codecs import Container
from tasks.media.writing.segment import read_segment
from tasks.media.writing.trial import Trial, copied_bytes_a_second, try_encoder
from tasks.plan import Plan, order, stretch_of
from tasks.profile import Profile
from tasks.records import Record, Shard, Work
from tasks.sources import open_source
from tasks.squares import as_finished
from tasks.store import Store
from vsr_model.contract import ModelInfo
from vsr_model.registry import find

Make = Callable[[Work], Record]
"""Carries an order out: `ShardWorker.upscale`, or a pool that has many of these."""

# Of a title's frames; at least so many places, if that takes no longer than this.
_SHARE, _PLACES, _SECONDS = 0.01, 3, 20.0
_CHUNK = 8
_LONGER = 4  # chunks by which a long stretch is longer than a short one


@dataclass(frozen=True)
class Rates:
    """What was measured of a title.

    Attributes:
        frames: that were made to know it.
        worker: who made the last of them.
        shard_seconds: of a worker for each shard, whatever its length.
        frame_seconds: of a worker for each frame that the network is given.
        skipped_seconds: of a worker for each frame that is decoded on the way to a shard's first one.
        segment_bytes: in the store, for each frame.
        trial: of the master's encoder.
        copied_bytes: a second of the source, of what is copied into the master.
    """

    frames: int
    worker: str
    shard_seconds: float
    frame_seconds: float
    skipped_seconds: float
    segment_bytes: float
    trial: Trial
    copied_bytes: float

    @property
    def on_cpu(self) -> bool:
        """True if the network shares the cores with the codecs."""
        return self.worker.endswith(":cpu")

    def seconds(self, plan: Plan, shard: Shard) -> float:
        """Of a worker, for a shard of the title."""
        fed = shard.warm_up + shard.stop - shard.start + shard.look_ahead
        skipped = _skipped(plan, shard.start - shard.warm_up)
        return self.shard_seconds + fed * self.frame_seconds + skipped * self.skipped_seconds


@dataclass(frozen=True)
class _Stretch:
    """A stretch that was made: its first frame, how many, how many were decoded before them, and its record."""

    start: int
    frames: int
    skipped: int
    record: Record


def measure(plan: Plan, profile: Profile, store: Store, make: Make) -> Rates:
    """Measure a title with stretches of it; what they leave in the store is removed.

    Args:
        plan: of the title.
        profile: by which it was planned.
        store: where segments would go: how fast it takes them counts.
        make: carries orders out.

    Raises:
        RemasterError, ModelError: whatever making a shard may raise.
    """
    probe = plan.title.probe
    assert probe is not None
    with store.temporary_store() as scratch:
        short, long = _take(plan, profile, scratch, make)
        decoded = sum(s.frames + s.skipped for s in (*short, *long))
        skipped_seconds = sum(s.record.seconds["decode"] for s in (*short, *long)) / decoded
        shard_seconds, frame_seconds = _line(short, long, skipped_seconds)
        with scratch.temporary_folder() as folder, open_source(plan.title.uri, plan.title.name) as source:
            container: Container = plan.title.container  # type: ignore[assignment]
            trial = try_encoder(
                str(Path(folder) / f"trial.{container}"), container, profile.master.encoding(),
                *plan.master_size, plan.layout, plan.colour, plan.rate,
                (as_finished(_frames(plan, stretch, scratch), plan) for stretch in long),
            )  # fmt: skip
            copied = copied_bytes_a_second(source, probe.stream, profile.master.without)
    frames = sum(stretch.frames for stretch in long)
    return Rates(
        frames=frames + sum(stretch.frames for stretch in short),
        worker=long[-1].record.worker,
        shard_seconds=shard_seconds,
        frame_seconds=frame_seconds,
        skipped_seconds=skipped_seconds,
        segment_bytes=sum(stretch.record.size for stretch in long) / frames,
        trial=trial,
        copied_bytes=copied,
    )


def _take(plan: Plan, profile: Profile, scratch: Store, make: Make) -> tuple[list[_Stretch], list[_Stretch]]:
    """Short and long stretches, pair by pair, in the order their places were taken."""
    total = len(plan.shown)
    few, many = _lengths(total, find(profile.model).info)
    settled: set[str] = set()

    def taken(start: int, frames: int) -> _Stretch:
        while True:
            shard = stretch_of(plan, start, start + frames)
            record = make(order(plan, profile, scratch, shard))
            if record.worker in settled:
                return _Stretch(start, frames, _skipped(plan, start), record)
            settled.add(record.worker)

    short: list[_Stretch] = []
    long: list[_Stretch] = []
    began = time.perf_counter()
    for place in _places():
        start = round(place * (total - many))
        short.append(taken(start, few))
        long.append(taken(start, many))
        enough = len(long) >= _PLACES and len(long) * many >= _SHARE * total
        if enough or many == total or time.perf_counter() - began > _SECONDS:
            return short, long
    raise AssertionError("there is always another place")


def _lengths(total: int, info: ModelInfo) -> tuple[int, int]:
    """Frames of a short and of a long stretch. The short one is no shorter than what the network works on anyway."""
    chunk = max(_CHUNK, info.chunk)
    few = max(chunk, info.min_frames + info.look_ahead)
    many = few + _LONGER * chunk
    return (few, many) if many <= total else (max(1, total // 4), total)


def _places() -> Iterator[float]:
    """Places in a title, 0..1, that are spread over all of it whenever one stops: 1/2, 1/4, 3/4, 1/8, 5/8, ..."""
    number = 1
    while True:
        yield sum((number >> bit & 1) / (2 << bit) for bit in range(number.bit_length()))
        number += 1


def _skipped(plan: Plan, start: int) -> int:
    """Frames decoded on the way to a picture, from the key frame before it."""
    frame = int(plan.reading.pictures.base[start])
    keys = np.flatnonzero(plan.timeline.key[: frame + 1])
    return frame - int(keys[-1]) if len(keys) else frame


def _line(short: list[_Stretch], long: list[_Stretch], skipped: float) -> tuple[float, float]:
    """Seconds of a worker a shard, and a frame."""

    def own(stretch: _Stretch) -> float:
        return stretch.record.seconds["total"] - skipped * stretch.skipped

    more = long[0].frames - short[0].frames
    if not more:
        return 0.0, fmean(own(stretch) / stretch.frames for stretch in long)
    frame = fmean((own(b) - own(a)) / more for a, b in zip(short, long, strict=True))
    whole = fmean(map(own, long)) / long[0].frames
    frame = min(max(frame, 0.0), whole)
    return long[0].frames * (whole - frame), frame


def _frames(plan: Plan, stretch: _Stretch, scratch: Store) -> Iterator[av.VideoFrame]:
    """The frames of a stretch as segments hold them."""
    label = f"sample of {plan.title.name}"
    with open_source(scratch.uri(stretch.record.segment), label) as segment:
        yield from read_segment(segment, plan.layout, stretch.start, stretch.start + stretch.frames)
