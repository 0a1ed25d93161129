"""A worker, plainly, without Ray or Prefect: what it makes, what it answers, and what it says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.errors import OutOfMemory, PermanentError, SourceError
from tasks.media.pixels import to_planes
from tasks.media.segment import read_segment
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.records import Record, Work
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store
from tasks.upscale import done_record
from tests.clips import Clip, make
from vsr_model.classical import FramewiseStream

FILM = Clip(frames=40, cuts=(17,), audio="")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("film") / "film.mkv", FILM)


@pytest.fixture(scope="module")
def worker() -> ShardWorker:
    return ShardWorker(WorkerSettings("lanczos", threads=1))


def planned(film: Path, store: Path, **settings: Any) -> Plan:
    profile = read_profile(None, {"scale": 2, **{k.replace("__", "."): v for k, v in settings.items()}})
    (title,) = scan(str(film), str(film.parent / "out"), profile)
    return plan_title(title, profile, Store(str(store)))


def pictures(plan: Plan, store: Path) -> list[np.ndarray]:
    """The first plane of every frame of a title's segments."""
    found = []
    for shard in plan.shards:
        with open_source(str(store / shard.segment), shard.name) as segment:
            frames = read_segment(segment, plan.layout, shard.start, shard.stop)
            found += [to_planes(frame, plan.layout)[0] for frame in frames]
    return found


def test_a_shard_is_done_when_its_record_names_its_segments_hash(
    film: Path, worker: ShardWorker, tmp_path: Path
) -> None:
    plan = planned(film, tmp_path)
    store = Store(str(tmp_path))
    (shard,) = plan.shards
    assert done_record(shard, store) is None
    record = worker.upscale(plan.work[0])
    assert done_record(shard, store) == record
    assert (record.frames, record.key, record.rung) == (40, shard.key, 0)
    assert record.fidelity > 30
    assert worker.done_frames == 40
    assert set(record.seconds) == {"decode", "model", "write", "total"}
    assert not list(tmp_path.rglob(".remaster-tmp-*"))


@pytest.mark.parametrize("spoil", ["torn", "changed", "gone", "another"])
def test_a_segment_that_is_not_what_was_written_is_a_miss(
    spoil: str, film: Path, worker: ShardWorker, tmp_path: Path
) -> None:
    plan = planned(film, tmp_path, shards__frames=20)
    for work in plan.work:
        worker.upscale(work)
    shard, store = plan.shards[0], Store(str(tmp_path))
    path = tmp_path / shard.segment
    data = path.read_bytes()
    if spoil == "gone":
        path.unlink()
    elif spoil == "another":
        path.write_bytes((tmp_path / plan.shards[1].segment).read_bytes())
    else:
        path.write_bytes(data[:-1] if spoil == "torn" else data[:-1] + bytes([data[-1] ^ 1]))
    assert done_record(shard, store) is None
    assert done_record(plan.shards[1], store) is not None
    again = worker.upscale(plan.work[0])
    assert path.read_bytes() == data
    assert done_record(shard, store) == again


@pytest.mark.parametrize("model", ["lanczos", "swift"])
@pytest.mark.parametrize("longest", [7, 16, 24])
def test_shards_are_the_whole_cut_in_pieces(model: str, longest: int, film: Path, tmp_path: Path) -> None:
    """To the bit, if the network forgets; else, after its warm-up, closer than anybody sees."""
    worker = ShardWorker(WorkerSettings(model, threads=1))
    kinds = {}
    for kind, frames in (("whole", 1000), ("pieces", longest)):
        plan = planned(film, tmp_path / kind, model=model, shards__frames=frames, shards__shortest=4)
        for work in plan.work:
            worker.upscale(work)
        kinds[kind] = pictures(plan, tmp_path / kind)
    differences = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(*kinds.values(), strict=True)]
    assert len(differences) == FILM.frames
    assert max(differences) <= (0 if model == "lanczos" else 8), differences  # of 1023


def test_a_network_with_a_memory_forgets_at_a_shot(film: Path, tmp_path: Path) -> None:
    worker = ShardWorker(WorkerSettings("swift", threads=1))
    plan = planned(film, tmp_path / "known", model="swift")
    assert plan.work[0].cuts == FILM.cuts
    cut = planned(film, tmp_path / "cut", model="swift", shards__frames=23)
    assert [(s.start, s.warm_up) for s in cut.shards] == [(0, 0), (17, 0)]
    for work in (*plan.work, *cut.work):
        worker.upscale(work)
    for one, other in zip(pictures(plan, tmp_path / "known"), pictures(cut, tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_that_holds_frames_back_is_fed_beyond_the_shards_end(tmp_path: Path) -> None:
    """So the last frames of a shard are, to the bit, those of an unbroken run."""
    film = make(tmp_path / "film.mkv", Clip(frames=60, width=36, height=20, audio=""))
    worker = ShardWorker(WorkerSettings("flashvsr-test", threads=1))
    found = {}
    for kind, frames in (("whole", 1000), ("pieces", 30)):
        plan = planned(film, tmp_path / kind, model="flashvsr-test", shards__frames=frames)
        for work in plan.work:
            assert worker.upscale(work).frames == work.shard.stop - work.shard.start
        found[kind] = pictures(plan, tmp_path / kind)
    assert [(s.warm_up, s.look_ahead) for s in plan.shards] == [(0, 24), (28, 0)]
    assert len(found["pieces"]) == 60
    for one, other in zip(found["whole"][:30], found["pieces"][:30], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_source_that_is_no_video_any_more_is_named_with_the_shard(
    film: Path, worker: ShardWorker, tmp_path: Path
) -> None:
    work = planned(film, tmp_path).work[0]
    (tmp_path / "gone.mkv").write_bytes(b"words")
    with pytest.raises(SourceError, match=r"film.mkv \[0,40\): cannot be opened"):
        worker.upscale(replace(work, source=str(tmp_path / "gone.mkv")))
    assert not list(tmp_path.rglob("*.json"))


def test_other_weights_than_the_plans_are_refused(film: Path, worker: ShardWorker, tmp_path: Path) -> None:
    work = replace(planned(film, tmp_path).work[0], weights_hash="another")
    with pytest.raises(
        PermanentError, match=r"film.mkv \[0,40\): lanczos does not hold the weights it was planned with"
    ):
        worker.upscale(work)


def test_a_network_that_loses_frames_commits_nothing(
    film: Path, worker: ShardWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FramewiseStream.push
    monkeypatch.setattr(FramewiseStream, "push", lambda self, frames_T3HW: whole(self, frames_T3HW)[1:])
    with pytest.raises(PermanentError, match=r"film.mkv \[0,40\): lanczos made 3\d of 40 frames"):
        worker.upscale(planned(film, tmp_path).work[0])
    assert not list(tmp_path.rglob("*.json"))


def test_running_out_of_memory_names_the_setting_that_helps(
    film: Path, worker: ShardWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push(self: FramewiseStream, frames_T3HW: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FramewiseStream, "push", push)
    work = planned(film, tmp_path).work[0]
    with pytest.raises(OutOfMemory, match=r"film.mkv \[0,40\).*tile"):
        worker.upscale(work)
    assert not list(tmp_path.rglob("*.mkv"))


def test_the_same_order_gives_the_same_record_twice(film: Path, worker: ShardWorker, tmp_path: Path) -> None:
    work: Work = planned(film, tmp_path).work[0]
    one, other = worker.upscale(work), worker.upscale(work)

    def lasting(record: Record) -> Record:
        return replace(record, seconds={})

    assert lasting(one) == lasting(other)
