"""A worker, plainly, without Ray or Prefect: what it makes, what it answers, and what it says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.commit import done_record
from tasks.errors import OutOfMemory, PermanentError, SourceError
from tasks.media.picture.pixels import to_planes
from tasks.media.writing.segment import read_segment
from tasks.plan import Plan, plan_title
from tasks.pool import ladder
from tasks.pool.ladder import CLASSICAL
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.records import Network, Record, Shard, Work, from_json
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store
from tests import broken
from tests.clips import Clip, make
from vsr_model import registry
from vsr_model.classical import FramewiseStream
from vsr_model.contract import Placement, Upscaler
from vsr_model.flashvsr.upscaler import FlashVsrStream
from vsr_model.swift.upscaler import SwiftStream
from vsr_model.tiling import TiledUpscaler

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


def segment_of(shard: Shard, store: Path) -> Path:
    """The file that a shard's record names."""
    return store / from_json(Record, (store / shard.record).read_bytes()).segment


def pictures(plan: Plan, store: Path) -> list[np.ndarray]:
    """The first plane of every frame of a title's segments."""
    found = []
    for shard in plan.shards:
        with open_source(str(segment_of(shard, store)), shard.name) as segment:
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
    path = segment_of(shard, tmp_path)
    data = path.read_bytes()
    if spoil == "gone":
        path.unlink()
    elif spoil == "another":
        path.write_bytes(segment_of(plan.shards[1], tmp_path).read_bytes())
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


def test_shards_of_an_interlaced_title_are_the_whole_cut_in_pieces(worker: ShardWorker, tmp_path: Path) -> None:
    film = broken.interlaced(tmp_path / "film.mp4", flagged=True)
    found = {}
    for kind, longest, cadence in (("whole", 100, "auto"), ("pieces", 7, "auto"), ("combed", 100, "progressive")):
        settings = {"shards__frames": longest, "shards__shortest": 2, "cadence": cadence}
        plan = planned(film, tmp_path / kind, **settings)
        for work in plan.work:
            assert worker.upscale(work).frames == work.shard.stop - work.shard.start
        found[kind] = pictures(plan, tmp_path / kind)
    assert [len(frames) for frames in found.values()] == [20, 20, 20]
    for one, other in zip(found["whole"], found["pieces"], strict=True):
        np.testing.assert_array_equal(one, other)
    combs = {kind: np.abs(np.diff(frames[10].astype(int), n=2, axis=0)).mean() for kind, frames in found.items()}
    assert combs["whole"] < 0.5 * combs["combed"]


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
    # So small a picture has shot changes on some processors, and on others none.
    one_shot = {"model": "flashvsr-test", "shards__cut_score": 100}
    found = {}
    for kind, frames in (("whole", 1000), ("pieces", 30)):
        plan = planned(film, tmp_path / kind, **one_shot, shards__frames=frames)
        for work in plan.work:
            assert worker.upscale(work).frames == work.shard.stop - work.shard.start
        found[kind] = pictures(plan, tmp_path / kind)
    assert [(s.warm_up, s.look_ahead) for s in plan.shards] == [(0, 24), (30, 0)]
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


def forgetful(most_pixels: int) -> Any:
    """A `FramewiseStream.push` on a device that has room for so many source pixels."""
    whole = FramewiseStream.push

    def push(self: FramewiseStream, frames_T3HW: torch.Tensor) -> torch.Tensor:
        if frames_T3HW.shape[-1] * frames_T3HW.shape[-2] > most_pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, frames_T3HW)

    return push


def test_a_shard_too_large_for_the_device_is_made_in_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one starts with the tiles that fitted."""
    film = make(tmp_path / "film.mkv", Clip(frames=24, width=240, height=208, audio=""))
    worker = ShardWorker(WorkerSettings("bicubic", threads=1))
    plain, tiled = (planned(film, tmp_path / kind, model="bicubic", shards__frames=16) for kind in ("plain", "tiled"))
    for work in plain.work:
        assert worker.upscale(work).made == ""
    monkeypatch.setattr(FramewiseStream, "push", forgetful(100 * 100))
    records = [worker.upscale(work) for work in tiled.work]
    assert [(record.rung, record.made) for record in records] == [(2, "tiles of 96 px")] * 2
    for one, other in zip(pictures(plain, tmp_path / "plain"), pictures(tiled, tmp_path / "tiled"), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_tiles_are_cut_from_what_the_network_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one and a half times: an enlarged picture for lanczos, the source for swift, which draws twice its size."""
    cut: list[tuple[int, int]] = []

    class Noted(TiledUpscaler):
        def __init__(self, inner: Upscaler, tile: int, overlap: int, park: bool = False) -> None:
            super().__init__(inner, tile, overlap, park)
            cut.append((tile, overlap))

    film = make(tmp_path / "film.mkv", Clip(frames=4, width=97, height=71, codec="ffv1", audio=""))
    settings: dict[str, Any] = {"scale": 1.5, "tile": 32, "tile_overlap": 3}
    for model, wanted in (("lanczos", (48, 5)), ("swift", (32, 3))):
        whole, tiled = (
            planned(film, tmp_path / kind, model=model, **{**settings, "tile": tile})
            for kind, tile in ((f"{model} whole", 0), (f"{model} tiled", 32))
        )
        ShardWorker(WorkerSettings(model, threads=1)).upscale(whole.work[0])
        monkeypatch.setattr("tasks.pool.worker.TiledUpscaler", Noted)
        ShardWorker(WorkerSettings(model, tile=32, tile_overlap=3, threads=1)).upscale(tiled.work[0])
        assert cut.pop() == wanted and not cut
        pairs = zip(
            pictures(whole, tmp_path / f"{model} whole"), pictures(tiled, tmp_path / f"{model} tiled"), strict=True
        )
        errors = [np.abs(one.astype(int) - other) for one, other in pairs]
        assert len(errors) == 4 and max(float(error.mean()) for error in errors) < 1.0


def test_without_memory_for_any_tile_the_shard_is_resized_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=16, width=240, height=208, audio=""))

    def push(self: SwiftStream, frames_T3HW: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SwiftStream, "push", push)
    plan = planned(film, tmp_path, model="swift")
    record = ShardWorker(WorkerSettings("swift", threads=1)).upscale(plan.work[0])
    assert (record.rung, record.made, record.frames) == (CLASSICAL, "lanczos resize", 16)
    wanted = planned(film, tmp_path / "lanczos", model="lanczos")
    ShardWorker(WorkerSettings("lanczos", threads=1)).upscale(wanted.work[0])
    for one, other in zip(pictures(plan, tmp_path), pictures(wanted, tmp_path / "lanczos"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_that_does_not_fit_says_so_and_not_in_the_words_of_a_library(
    film: Path, worker: ShardWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a worker starts, and when a living one is asked for another network; that one can go on with its own."""

    def load(placement: Placement) -> Upscaler:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5.28 GiB.")

    monkeypatch.setitem(registry._BUILT_IN, "huge", lambda: replace(registry.find("bicubic"), load=load))
    with pytest.raises(OutOfMemory, match=r"^huge: its weights do not fit .* use another device or network\.$"):
        ShardWorker(WorkerSettings("huge", threads=1))
    (work,) = planned(film, tmp_path, shards__frames=100).work
    for _ in range(2):
        with pytest.raises(OutOfMemory, match=r"^huge: its weights do not fit"):
            worker.upscale(replace(work, network=Network("huge")))
    assert worker.upscale(work).made == ""


def test_without_memory_for_anything_nothing_is_committed(
    film: Path, worker: ShardWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FramewiseStream, "push", forgetful(0))
    with pytest.raises(OutOfMemory, match=r"film.mkv \[0,40\): the device ran out of memory"):
        worker.upscale(planned(film, tmp_path).work[0])
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.glob("**/*.mkv"))


def test_numbers_that_overflow_are_made_again_in_a_wider_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=26, width=36, height=20, audio=""))
    plan = planned(film, tmp_path, model="flashvsr-test", precision="bfloat16")
    whole = FlashVsrStream.push

    def push(self: FlashVsrStream, frames_T3HW: torch.Tensor) -> torch.Tensor:
        out_T3HW = whole(self, frames_T3HW)
        narrow = next(self._networks.dit.parameters()).dtype == torch.bfloat16
        return out_T3HW + torch.inf if narrow else out_T3HW

    monkeypatch.setattr(FlashVsrStream, "push", push)
    record = ShardWorker(WorkerSettings("flashvsr-test", "bfloat16", threads=1)).upscale(plan.work[0])
    assert (record.rung, record.made, record.frames) == (1, "float32", 26)


def test_what_overflowed_in_one_shard_says_nothing_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=68, width=36, height=20, audio=""))
    # Shots or none, and so far from the beginning that the second shard is not fed with it.
    one_shot = {"model": "flashvsr-test", "shards__cut_score": 100}
    works = planned(film, tmp_path, **one_shot, precision="bfloat16", shards__frames=34).work
    whole = FlashVsrStream.push

    def push(self: FlashVsrStream, frames_T3HW: torch.Tensor) -> torch.Tensor:
        narrow = next(self._networks.dit.parameters()).dtype == torch.bfloat16
        overflows = narrow and self._place.frame == 0
        return whole(self, frames_T3HW) + (torch.inf if overflows else 0.0)

    monkeypatch.setattr(FlashVsrStream, "push", push)
    worker = ShardWorker(WorkerSettings("flashvsr-test", "bfloat16", threads=1))
    assert [worker.upscale(work).made for work in works] == ["float32", ""]


def test_tiles_left_to_the_worker_are_on_record_and_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=24, width=240, height=208, audio=""))
    works = planned(film, tmp_path, model="bicubic", tile="auto", shards__frames=12).work
    worker = ShardWorker(WorkerSettings("bicubic", tile="auto", threads=1))
    free = iter([2.8e6, 1e12])  # as if others had gone
    monkeypatch.setattr(ladder, "_free_bytes", lambda device: next(free))
    records = [worker.upscale(work) for work in works]
    assert [(record.rung, record.made) for record in records] == [(0, "tiles of 128 px")] * 2


def test_numbers_that_overflow_in_every_precision_are_an_error(
    film: Path, worker: ShardWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FramewiseStream.push
    monkeypatch.setattr(FramewiseStream, "push", lambda self, frames_T3HW: whole(self, frames_T3HW) * torch.nan)
    with pytest.raises(PermanentError, match=r"film.mkv \[0,40\): lanczos made what is no number at frame 0"):
        worker.upscale(planned(film, tmp_path).work[0])
    assert not list(tmp_path.rglob("*.json"))


def test_the_same_order_gives_the_same_record_twice(film: Path, worker: ShardWorker, tmp_path: Path) -> None:
    work: Work = planned(film, tmp_path).work[0]
    one, other = worker.upscale(work), worker.upscale(work)

    def lasting(record: Record) -> Record:
        return replace(record, seconds={})

    assert lasting(one) == lasting(other)


def test_a_light_network_leaves_the_next_one_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("tasks.pool.worker._THREADS", 2)
    try:
        for model, threads in (("swift", 2), ("lanczos", 1), ("swift", 2)):
            ShardWorker(WorkerSettings(model))
            assert torch.get_num_threads() == threads, model
    finally:
        torch.set_num_threads(before)
