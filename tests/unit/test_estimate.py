"""What a run will take is said from a sample; what is made costs nothing; what cannot be paid for is not begun."""

from __future__ import annotations

import json
import time
from collections import namedtuple
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.budget import Spending, spend, spending_of
from flows.cli import main
from flows.run import Run, Spent
from flows.stopping import Stopped
from tasks import estimate as estimates
from tasks import sample
from tasks.estimate import Estimate, Forecast, estimate, forecast, is_in_question, price, refusal
from tasks.media.writing.segment import read_segment
from tasks.media.writing.trial import Trial, try_encoder
from tasks.plan import plan_title, revise
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import CostSettings, Profile, read_profile
from tasks.records import Record, Revision, Work
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store
from tests.clips import Clip, make
from tests.mastered import SETTINGS, Mastered, library, remaster

COST = CostSettings(gpu_hour=2.0, store_gb_month=0.02, master_gb_month=0.1, months=3.0, budget=5.0)
DISK = namedtuple("DISK", "total used free")


def a_title(name: str, *seconds: float, finish: float = 0.0, on_cpu: bool = False) -> Forecast:
    return Forecast(name, 100, len(seconds), 0, 10, seconds, finish, 10**9, 10**8, on_cpu)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("done")
    return remaster(library(folder / "films"), str(folder / "out"), str(folder / "store"))


def test_a_total_is_the_sum_and_money_follows_the_rates() -> None:
    *titles, total = estimate([a_title("a", 1800, 1800), a_title("b", 3600)], COST, 1, 3)
    assert [row.title for row in titles] == ["a", "b"]
    assert (total.title, total.frames, total.shards, total.sampled) == ("", 200, 3, 20)
    assert total.gpu_hours == pytest.approx(2.0)
    assert total.price == pytest.approx(2 * 2.0 + 2 * 0.02 * 3 + 0.2 * 0.1 * 3)
    assert total.price == pytest.approx(sum(row.price for row in titles))
    assert price(CostSettings(), 100, 10**12, 10**12) == 0


@pytest.mark.parametrize(
    ("workers", "seconds"), [(1, 40 + 6), (2, 20 + 6), (4, 10 + 6), (100, 10 + 6)], ids=lambda value: str(value)
)
def test_more_workers_are_done_sooner_as_far_as_there_are_shards(workers: int, seconds: float) -> None:
    (row, _) = estimate([a_title("a", 10, 10, 10, 10, finish=6)], COST, workers, 3)
    assert row.hours * 3600 == pytest.approx(seconds)


def test_encoders_work_beside_gpus_and_after_networks_that_share_their_cores() -> None:
    titles = [a_title(name, 10, finish=10) for name in "abc"]
    assert estimate(titles, COST, 1, 3)[-1].hours * 3600 == pytest.approx(3 * 10 + 10)
    shared = [replace(each, on_cpu=True) for each in titles]
    assert estimate(shared, COST, 1, 3)[-1].hours * 3600 == pytest.approx(3 * 20)


def test_places_are_spread_whenever_one_stops() -> None:
    assert list(islice(sample._places(), 7)) == [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]


def test_a_shards_own_time_is_told_from_that_of_its_frames(done: Mastered) -> None:
    """A worker that takes 3 s a shard, half a second a frame, and a tenth for each frame on the way to the first."""
    plan = done.plan

    def stretch(start: int, frames: int) -> sample._Stretch:
        skipped = sample._skipped(plan, start)
        seconds = {"total": 3 + 0.5 * frames + 0.1 * skipped, "decode": 0.1 * (frames + skipped)}
        return sample._Stretch(start, frames, skipped, replace(done.records[0], seconds=seconds))

    starts = (0, 5, 8)
    short, long = [stretch(start, 4) for start in starts], [stretch(start, 10) for start in starts]
    assert sample._line(short, long, 0.1) == pytest.approx((3.0, 0.5))
    # Noise does not make time run backwards.
    shard, frame = sample._line([replace(each, record=long[0].record) for each in short], long, 0.1)
    assert frame >= 0
    assert shard >= 0


def test_a_master_is_as_heavy_as_its_frames_that_stand_alone_and_those_that_do_not() -> None:
    trial = Trial(key_bytes=1000, other_bytes=10, period=50, seconds=0.1)
    assert trial.bytes([100]) == 2 * 1000 + 98 * 10
    assert trial.bytes([100, 1, 49]) == (2 + 1 + 1) * 1000 + 146 * 10
    assert Trial(1000, 0, 1, 0.1).bytes([7]) == 7000


@pytest.mark.parametrize(("codec", "options", "period"), [("h264", {"g": "5"}, 5), ("ffv1", {}, 1), ("h264", {}, 250)])
def test_the_trial_sees_how_often_an_encoder_begins_anew(
    codec: str, options: dict[str, str], period: int, done: Mastered, tmp_path: Path
) -> None:
    settings = read_profile(None, SETTINGS | {"master.codec": codec, "master.options": options}).master
    settings = settings.model_copy(update={"preset": None if codec == "ffv1" else "ultrafast"})
    plan, shard = done.plan, done.plan.shards[0]
    with open_source(str(Path(done.store) / done.records[0].segment), "segment") as segment:
        frames = list(read_segment(segment, plan.layout, shard.start, shard.stop))
    trial = try_encoder(
        str(tmp_path / "trial.mkv"), "mkv", settings.encoding(), *plan.master_size, plan.layout, plan.colour,
        Fraction(24), [frames],
    )  # fmt: skip
    assert trial.period == period
    assert trial.key_bytes > 0
    assert (trial.other_bytes > 0) == (codec != "ffv1")


class Counted:
    """A worker's own class, and the orders it was given."""

    def __init__(self) -> None:
        self.worker = ShardWorker(WorkerSettings("lanczos", threads=1))
        self.orders: list[Work] = []

    def __call__(self, work: Work) -> Record:
        self.orders.append(work)
        return self.worker.upscale(work)


def test_what_is_made_costs_nothing_and_is_not_measured(done: Mastered) -> None:
    make = Counted()
    found = forecast(done.plan, done.profile, Store(done.store), Store(done.output), make)
    assert make.orders == []
    assert found == Forecast(done.plan.title.name, 25, 3, 3)
    # Without its master it costs no worker anything, but time and room.
    elsewhere = forecast(done.plan, done.profile, Store(done.store), Store(f"{done.output}/elsewhere"), make)
    assert (elsewhere.cached, elsewhere.shard_seconds, elsewhere.store_bytes) == (3, (), 0)
    assert elsewhere.finish_seconds > 0
    assert elsewhere.master_bytes > 0
    forced = forecast(done.plan, done.profile, Store(done.store), Store(done.output), make, force=True)
    assert (forced.cached, len(forced.shard_seconds)) == (0, 3)


def test_a_shard_that_is_to_be_made_again_is_to_be_paid_for_until_it_was(done: Mastered) -> None:
    shard = done.plan.shards[1]
    rejected = Revision(shard.title, shard.start, shard.stop, reason="it flickers", again=True)
    plan = revise(done.plan, done.profile, Store(done.store), rejected)
    places = (Store(done.store), Store(done.output), Counted())
    found = forecast(plan, done.profile, *places)
    assert (found.cached, len(found.shard_seconds)) == (2, 1)
    assert forecast(plan, done.profile, *places, made={shard.key}).cached == 3


def test_a_run_that_goes_on_in_another_process_goes_on_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = read_profile(None, {"cost.gpu_hour": 3600.0, "cost.master_gb_month": 1.0, "cost.months": 1.0})
    run = Run(id="20260101-000000-aaaa", library="/films", output=str(tmp_path / "out"), profile=profile)
    spend(run, Spent(seconds=5.0))
    spend(run, Spent(master_bytes=2 * 10**9))
    assert spending_of(run).spent() == pytest.approx(5.0 + 2.0)
    monkeypatch.setattr("flows.budget._known", {})
    assert spending_of(run).spent() == pytest.approx(5.0 + 2.0)


def test_the_sample_is_a_small_part_of_a_long_title_and_leaves_nothing(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=900, width=64, height=48, audio="", gop=30))
    profile = read_profile(None, {"scale": 2, "master.preset": "ultrafast", "shards.frames": 100})
    store = Store(str(tmp_path / "store"))
    store.check_writable()
    (title,) = scan(str(film), str(tmp_path / "out"), profile)
    plan, make_it = plan_title(title, profile, store), Counted()
    found = forecast(plan, profile, store, Store(str(tmp_path / "out")), make_it)
    assert found.sampled == 3 * (8 + 40)
    assert len(make_it.orders) == 1 + 6  # the first one is not counted
    assert not [key for key in store.list() if key.startswith(("segments", "records", "samples"))]
    assert [path.name for path in (tmp_path / "store").iterdir() if path.name.startswith(".remaster-tmp-")] == []
    # Sizes do not hang on the clock: these are held to the promise.
    worker = ShardWorker(WorkerSettings(profile.model, threads=1))
    records = [worker.upscale(order) for order in plan.work]
    assert found.store_bytes == pytest.approx(sum(record.size for record in records), rel=0.15)
    assert len(found.shard_seconds) == len(plan.shards)


def test_a_run_is_refused_for_want_of_room_or_money(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, output = Store(str(tmp_path / "store")), Store(str(tmp_path / "out"))
    total = Estimate("", 1, 1, 0, 1, 1.0, 600, 500, 6.0, 1.0)
    assert "it would cost 6.00 and cost.budget is 5.00" in refusal(total, COST, store, output)
    assert refusal(total, COST.model_copy(update={"over_budget": "stop"}), store, output) == ""
    assert refusal(replace(total, price=4.0), COST, store, output) == ""
    # Both are on one disk: neither alone would fill it.
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: DISK(2000, 1000, 1000))
    assert "GB free" in refusal(replace(total, price=4.0), COST, store, output)
    assert refusal(replace(total, price=4.0, master_bytes=300), COST, store, output) == ""
    assert refusal(replace(total, price=4.0), COST, Store("s3://bucket/work"), output) == ""


def test_nothing_is_measured_where_no_answer_could_forbid_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=24))
    titles = scan(str(film), str(tmp_path / "out"), Profile())
    store, output = Store(str(tmp_path / "store")), Store(str(tmp_path / "out"))
    assert not is_in_question(titles, Profile(), store, output)
    assert is_in_question(titles, read_profile(None, {"cost.budget": 1.0}), store, output)
    stop = read_profile(None, {"cost.budget": 1.0, "cost.over_budget": "stop"})
    assert not is_in_question(titles, stop, store, output)
    most = 3 * 24 * 6 * 64 * 48 * 16
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: DISK(most, 0, most))
    assert is_in_question(titles, Profile(), store, output)
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: DISK(2 * most, 0, 2 * most))
    assert not is_in_question(titles, Profile(), store, output)
    assert is_in_question(titles, read_profile(None, {"cadence": "fields"}), store, output)  # twice as many pictures
    assert not is_in_question(titles, Profile(), Store("s3://bucket/work"), Store("s3://bucket/out"))


def test_a_budget_counts_what_workers_have_in_hand() -> None:
    dear = Spending(CostSettings(gpu_hour=3600.0, budget=10.0))
    dear.add(seconds=9.9)
    dear.leave("shard a")
    assert not dear.stopped
    dear.begin("shard a")
    time.sleep(0.2)
    with pytest.raises(Stopped, match=r"shard b: not begun, the budget is spent \(\d+\.\d\d of 10\.00\)"):
        dear.leave("shard b")
    assert dear.stopped
    dear.end("shard a", 0.1, 0)
    assert dear.spent() == pytest.approx(10.0)
    free = Spending(CostSettings(gpu_hour=3600.0))
    free.add(seconds=1e9)
    free.leave("shard c")


def test_plan_prints_and_keeps_the_same_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "library" / "a.mkv", Clip(frames=30))
    (tmp_path / "library" / "b.mkv").write_bytes(b"not a video")
    arguments = ["plan", str(tmp_path / "library"), "--store", str(tmp_path / "store"), "--scale", "2"]
    rates = ["--set", "cost.gpu_hour=3600", "--set", "master.preset=ultrafast"]
    assert main([*arguments, *rates, "--workers", "2", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    (kept,) = (tmp_path / "store" / "estimates").glob("*.parquet")
    rows = pq.read_table(kept).to_pylist()
    assert rows == [*said["titles"], said["total"]]
    assert [(row["title"], row["frames"], bool(row["refused"])) for row in rows] == [
        ("a.mkv", 30, False), ("b.mkv", 0, True), ("", 30, False),
    ]  # fmt: skip
    assert rows[0]["price"] == pytest.approx(3600 * rows[0]["gpu_hours"]) and rows[0]["price"] > 0
    assert {row["workers"] for row in rows} == {2}
