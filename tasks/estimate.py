"""What titles will take, before it is spent: a worker's hours, bytes, money, and when all of it is done.

A plan says what is to be made, a sample (see `sample`) what a part of it took; what is made already takes nothing.
"""

from __future__ import annotations

import heapq
import math
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tasks.finish import master_key, master_record
from tasks.media.picture.size import Enlargement
from tasks.plan import Plan
from tasks.profile import CostSettings, Profile
from tasks.records import Record, Shard, Title, from_sealed
from tasks.sample import Make, measure
from tasks.store import Store, is_remote, stat

_GB = 1e9
_NOBODY_KNOWS = 1 << 62


@dataclass(frozen=True)
class Forecast:
    """What is left to do of a title.

    Attributes:
        title: its name.
        frames, shards: of it; cached: shards that are made.
        sampled: frames made to know the rest.
        shard_seconds: of a worker, for each shard that is to be made.
        finish_seconds: for its master, 0 if that is there.
        store_bytes, master_bytes: that will be added.
        on_cpu: True if networks and encoders share the cores.
    """

    title: str
    frames: int
    shards: int
    cached: int
    sampled: int = 0
    shard_seconds: tuple[float, ...] = ()
    finish_seconds: float = 0.0
    store_bytes: int = 0
    master_bytes: int = 0
    on_cpu: bool = False


@dataclass(frozen=True)
class Estimate:
    """What is left to do of a title, or of all of them, as one row of a table.

    Attributes:
        title: its name; empty for all of them.
        frames, shards: of it; cached: shards that are made and cost nothing.
        sampled: frames that were made to know the rest.
        gpu_hours: of one worker.
        store_bytes, master_bytes: that will be added.
        price: by the profile's rates.
        hours: until it is done, if it is begun alone, by all workers.
    """

    title: str
    frames: int
    shards: int
    cached: int
    sampled: int
    gpu_hours: float
    store_bytes: int
    master_bytes: int
    price: float
    hours: float


def forecast(
    plan: Plan, profile: Profile, store: Store, output: Store, make: Make, force: bool = False,
    made: Collection[str] = (),
) -> Forecast:  # fmt: skip
    """Say what is left to do of a title, from a sample if anything is.

    Args:
        plan: of the title.
        profile: by which it was planned.
        store: where segments are.
        output: where masters are.
        make: carries a sample's orders out.
        force: what is made is to be made again, as are shards that a revision says so of.
        made: keys of shards that were made again already.

    Raises:
        RemasterError, ModelError: whatever making a shard may raise.
    """
    again = {each.index for each in plan.revised if each.revision.again}
    records = [
        None if (force or shard.index in again) and shard.key not in made else _kept(shard, store)
        for shard in plan.shards
    ]
    left = [shard for shard, record in zip(plan.shards, records, strict=True) if record is None]
    known = Forecast(plan.title.name, len(plan.shown), len(plan.shards), len(plan.shards) - len(left))
    if not left and _is_published([r for r in records if r is not None], plan, profile, store, output):
        return known
    rates = measure(plan, profile, store, make)
    probe = plan.title.probe
    assert probe is not None
    ticks = int(plan.timeline.pts[-1] - plan.timeline.pts[0] + plan.timeline.duration[-1])
    picture = rates.trial.bytes([b - a for a, b in pairwise((0, *plan.cuts, len(plan.shown)))])
    return Forecast(
        title=known.title,
        frames=known.frames,
        shards=known.shards,
        cached=known.cached,
        sampled=rates.frames,
        shard_seconds=tuple(rates.seconds(plan, shard) for shard in left),
        finish_seconds=known.frames * rates.trial.seconds,
        store_bytes=round(sum(shard.stop - shard.start for shard in left) * rates.segment_bytes),
        master_bytes=round(picture + rates.copied_bytes * float(ticks * probe.time_base)),
        on_cpu=rates.on_cpu,
    )


def estimate(forecasts: Sequence[Forecast], cost: CostSettings, workers: int, at_once: int) -> list[Estimate]:
    """A row for each title, and one for all of them.

    Args:
        forecasts: of the titles, in the order they will be begun.
        cost: rates.
        workers: at work at the same time.
        at_once: titles on the way at the same time.
    """

    def row(title: str, of: Sequence[Forecast]) -> Estimate:
        gpu_hours = sum(sum(each.shard_seconds) for each in of) / 3600
        store_bytes, master_bytes = sum(each.store_bytes for each in of), sum(each.master_bytes for each in of)
        return Estimate(
            title=title,
            frames=sum(each.frames for each in of),
            shards=sum(each.shards for each in of),
            cached=sum(each.cached for each in of),
            sampled=sum(each.sampled for each in of),
            gpu_hours=gpu_hours,
            store_bytes=store_bytes,
            master_bytes=master_bytes,
            price=price(cost, gpu_hours, store_bytes, master_bytes),
            hours=_until_done(of, workers, at_once) / 3600,
        )

    return [*(row(each.title, [each]) for each in forecasts), row("", forecasts)]


def price(cost: CostSettings, gpu_hours: float, store_bytes: int, master_bytes: int) -> float:
    """By the rates, in their currency."""
    kept = store_bytes * cost.store_gb_month + master_bytes * cost.master_gb_month
    return gpu_hours * cost.gpu_hour + kept / _GB * cost.months


def refusal(total: Estimate, cost: CostSettings, store: Store, output: Store) -> str:
    """Why a run of this must not be begun, and what would help; empty if it may."""
    needed: dict[int, int] = {}
    free: dict[int, int] = {}
    for place, more in ((store, total.store_bytes), (output, total.master_bytes)):
        found = _free(place.root)
        if found is not None:
            disk, free[disk] = found
            needed[disk] = needed.get(disk, 0) + more
            if needed[disk] > free[disk]:
                return (
                    f"store and masters need another {needed[disk] / _GB:.3f} GB and {place.root} has"
                    f" {free[disk] / _GB:.3f} GB free. Make room (`remaster clean`), name another --store, or do fewer"
                    " titles at a time (--only)."
                )
    if cost.budget and cost.over_budget == "refuse" and total.price > cost.budget:
        return (
            f"it would cost {total.price:.2f} and cost.budget is {cost.budget:.2f}. Raise it, do fewer titles (--only),"
            ' or set cost.over_budget to "stop" to spend it on as many shards as it pays for.'
        )
    return ""


def is_in_question(titles: Iterable[Title], profile: Profile, store: Store, output: Store) -> bool:
    """True if only an estimate tells whether titles may be begun; False where no estimate could forbid it.

    Takes nothing but headers: a frame takes no more in the store, or in a master, than it does in memory.
    """
    if profile.cost.budget and profile.cost.over_budget == "refuse":
        return True
    free = [found[1] for found in (_free(store.root), _free(output.root)) if found is not None]
    return bool(free) and _at_most(titles, profile) > min(free)


def _at_most(titles: Iterable[Title], profile: Profile) -> int:
    """Bytes that store and masters surely do not exceed."""
    total = 0
    for title in titles:
        probe = title.probe
        if title.refused or probe is None:
            continue
        frames = probe.frames or math.ceil(probe.duration * float(probe.frame_rate))
        if not frames:
            return _NOBODY_KNOWS
        pictures = 2 * frames if profile.cadence == "fields" else frames
        # Three planes of two bytes a sample, in store and master; half as much again for counts that are off.
        enlargement = Enlargement.of(profile.scale, probe.layout)
        if profile.master.pixel_aspect == "square":
            enlargement = enlargement.squared(probe.sample_aspect, probe.layout)
        rows, columns = enlargement.size(probe.height, probe.width)
        total += 3 * pictures * 6 * rows * columns + title.size
    return total


def _free(uri: str) -> tuple[int, int] | None:
    """Of a local place, which need not be there yet: its file system, and bytes free on it. None for a remote one."""
    if is_remote(uri):
        return None
    there = next(path for path in (Path(uri), *Path(uri).parents) if path.exists())
    return there.stat().st_dev, shutil.disk_usage(there).free


def _until_done(forecasts: Sequence[Forecast], workers: int, at_once: int) -> float:
    """Seconds until the last of these titles is done: workers take shards one after the other, encoders titles."""
    # Networks and encoders that share the cores hold each other up: they may as well take turns.
    titles = [0.0] * (1 if any(each.on_cpu for each in forecasts) else at_once)
    free = [0.0] * workers
    for each in forecasts:
        begun = made = heapq.heappop(titles)
        for seconds in each.shard_seconds:
            end = max(begun, heapq.heappop(free)) + seconds
            heapq.heappush(free, end)
            made = max(made, end)
        heapq.heappush(titles, made + each.finish_seconds)
    return max(titles)


def _kept(shard: Shard, store: Store) -> Record | None:
    """The record of a shard that looks done: its segment has the right size. A run will look closer."""
    try:
        record = from_sealed(Record, store.read(shard.record))
        return record if store.size(record.segment) == record.size else None
    except (FileNotFoundError, ValueError):
        return None


def _is_published(records: list[Record], plan: Plan, profile: Profile, store: Store, output: Store) -> bool:
    """True if the master looks done, by its size, in its place or held back."""
    made = master_record(master_key(plan, profile, records, output), store)
    try:
        return made is not None and stat(made.uri).size == made.size
    except FileNotFoundError:
        return False
