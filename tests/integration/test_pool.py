"""The lease pool on real Ray actors: what it counts, whom it sets aside, and what it raises."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tasks.commit import done_record
from tasks.errors import PermanentError, Quarantined, SourceError, UsageError, WorkerLost
from tasks.plan import Plan, plan_title
from tasks.pool.host import RayHost
from tasks.pool.pool import PoolSettings, SharedPool, WorkerPool
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.records import Record, Work
from tasks.scan import scan
from tasks.store import Store
from tasks.upscale import Watch, upscale_shard
from tests.clips import Clip, make
from tests.faults import kills
from vsr_model.errors import UnknownModel


@pytest.fixture(scope="module")
def pool(ray_cluster: str) -> Iterator[WorkerPool]:
    pool = WorkerPool(PoolSettings(WorkerSettings("lanczos"), workers=2, ray_address=ray_cluster))
    yield pool
    pool.close()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return planned(tmp_path, Clip(frames=60, width=320, height=240))


def planned(tmp_path: Path, clip: Clip) -> Plan:
    source = make(tmp_path / "film.mkv", clip)
    profile = read_profile(None, {"scale": 4, "shards.frames": 30})
    (title,) = scan(str(source), str(tmp_path / "out"), profile)
    return plan_title(title, profile, Store(str(tmp_path / "store")))


def test_shards_run_side_by_side_and_leave_records(pool: WorkerPool, plan: Plan) -> None:
    threads = [threading.Thread(target=pool.run, args=(work, lambda frames: None)) for work in plan.work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(plan.work[0].store)
    records = [done_record(shard, store) for shard in plan.shards]
    assert all(record is not None for record in records)
    assert len({record.worker for record in records if record}) == 2


def test_progress_is_told_while_a_shard_runs(pool: WorkerPool, plan: Plan) -> None:
    told: list[int] = []
    pool.run(plan.work[0], told.append)
    assert told == sorted(told)
    assert told
    assert max(told) <= 30


def test_what_a_worker_logs_is_heard_once(pool: WorkerPool, plan: Plan) -> None:
    heard: list[list[tuple[int, str]]] = [[], []]
    for work, lines in zip(plan.work[:2], heard, strict=True):
        pool.run(work, lambda frames: None, hear=lambda level, words, lines=lines: lines.append((level, words)))
    for shard, lines in zip(plan.shards[:2], heard, strict=True):
        (line,) = [words for level, words in lines if level == logging.INFO and words.startswith("shard ")]
        assert line.startswith(f"shard {shard.name}: {shard.stop - shard.start} pictures")


def test_what_a_worker_raises_arrives_as_itself(pool: WorkerPool, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "gone.mkv").write_bytes(b"not a video")
    with pytest.raises(SourceError, match=r"film.mkv \[0,30\).*cannot be opened"):
        pool.run(replace(plan.work[0], source=str(tmp_path / "gone.mkv")), lambda frames: None)


def test_an_unknown_network_ends_the_start_with_its_own_error(ray_cluster: str) -> None:
    with pytest.raises(UnknownModel, match="did you mean lanczos"):
        WorkerPool(PoolSettings(WorkerSettings("lanczoz"), workers=1, ray_address=ray_cluster))


def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests of this process have joined one
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(UsageError, match=f"no Ray cluster answers at {address}"):
        RayHost(address, 1)
    assert time.monotonic() - began < 20


def test_a_pool_that_cannot_start_says_so_at_once_the_second_time(ray_cluster: str) -> None:
    shared = SharedPool(PoolSettings(WorkerSettings("lanczoz"), workers=1, ray_address=ray_cluster))
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(UnknownModel, match="did you mean lanczos"):
            shared.start()
    assert time.monotonic() - began < 0.1


def test_a_shard_that_is_called_off_while_it_waits_asks_nothing_of_a_worker(pool: WorkerPool, plan: Plan) -> None:
    def off(worker: str) -> Record | None:
        raise PermanentError("called off")

    with pytest.raises(PermanentError, match="called off"):
        pool.run(plan.work[1], lambda frames: None, off)
    assert done_record(plan.shards[1], Store(plan.work[1].store)) is None
    assert pool.run(plan.work[1], lambda frames: None).frames == 30


def test_a_shard_that_somebody_did_while_it_waited_is_not_done_again(plan: Plan) -> None:
    """Two copies of one film: the pool of this test stands for a worker who was busy with the first."""
    work, store, done = plan.work[0], Store(plan.work[0].store), ShardWorker(WorkerSettings("lanczos"))

    class Busy:
        def run(
            self, work: Work, progress: object, begin: Callable[[str], Record | None], hear: object
        ) -> Record | None:
            made = done.upscale(work)
            found = begin("somebody")
            assert found == made
            return found

    record, worked = upscale_shard(work, cast(SharedPool, Busy()), store, False, 60.0, Watch())
    assert not worked
    assert record == done_record(work.shard, store)


def test_a_shard_that_kills_three_workers_is_quarantined_and_the_pool_goes_on(
    pool: WorkerPool, tmp_path: Path, ray_cluster: str
) -> None:
    plan = planned(tmp_path, Clip(frames=31, width=960, height=540))  # seconds of work, so that it is caught at it
    deadly = plan.work[0]
    for death in range(3):
        with pytest.raises(Quarantined if death == 2 else WorkerLost, match=r"film.mkv \[0,"):
            _run_and_kill(pool, deadly, ray_cluster)
    assert pool.run(plan.work[1], lambda frames: None).frames == plan.shards[1].stop - plan.shards[1].start


def _run_and_kill(pool: WorkerPool, work: Work, ray_cluster: str) -> None:
    """Run a shard and kill the actor that has it in hand."""

    def assassin() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if victim := kills.busy_worker(ray_cluster):
                kills.kill(victim)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=assassin)
    thread.start()
    try:
        pool.run(work, lambda frames: None)
    finally:
        thread.join()
