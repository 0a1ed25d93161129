"""The pictures of a report are the frames they say they are, few, and small."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.reading.source import Source
from tasks.media.writing.segment import read_segment, read_segment_frame
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.records import Record
from tasks.scan import examine
from tasks.stills import SHEET, Moment, choose, make_stills
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.mastered import Mastered


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("pictures")
    return mastered.remaster(mastered.library(folder / "films"), str(folder / "out"), str(folder / "store"))


def decoded(uri: str) -> np.ndarray:
    """[H, W, 3] of a data URI."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.float32)


def frames_of(place: str) -> list[np.ndarray]:
    with av.open(place) as container:
        return [frame.to_ndarray(format="rgb24").astype(np.float32) for frame in container.decode(video=0)]


def nearest(picture: np.ndarray, frames: list[np.ndarray]) -> int:
    return int(np.argmin([np.abs(picture - frame).mean() for frame in frames]))


def test_each_still_is_the_frame_it_says(done: Mastered) -> None:
    stills = make_stills(done.plan, done.records, Store(done.store))
    assert (stills.shots, stills.whole, stills.columns) == (2, True, 128)
    assert [still.shot for still in stills.shown] == [1, 2]
    assert stills.shape == stills.close == pytest.approx(64 / 48)
    masters, sources = frames_of(done.master.uri), frames_of(done.plan.title.uri)
    for still in stills.shown:
        after, before, small = (decoded(uri) for uri in (still.after, still.before, still.thumbnail))
        assert after.shape == before.shape == (96, 128, 3)
        assert nearest(after, masters) == nearest(small, masters) == still.picture
        assert nearest(before[::2, ::2], sources) == still.picture
        assert still.seconds == pytest.approx(still.picture / 24, abs=0.001)


def test_one_frame_of_a_segment_is_the_one_that_reading_all_of_it_gives(done: Mastered) -> None:
    shard, record = done.plan.shards[1], done.records[1]
    segment = Source(str(Path(done.store) / record.segment), "segment")
    frames = list(read_segment(segment, done.plan.layout, shard.start, shard.stop))
    for number in (shard.start, shard.start + 3, shard.stop - 1):
        luma = read_segment_frame(segment, done.plan.layout, number)[0]
        assert np.array_equal(luma, frames[number - shard.start].to_ndarray()[: len(luma)])


def test_of_what_is_not_made_there_is_no_picture(done: Mastered) -> None:
    stills = make_stills(done.plan, done.records[:1], Store(done.store))
    assert [still.shot for still in stills.shown] == [1]
    assert make_stills(done.plan, [], Store(done.store)).shown == ()


def with_shots(plan: Plan, frames: int, shots: int) -> Plan:
    """A plan of so many shots of one length, each with a key frame a third into it."""
    length = frames // shots
    numbers = np.arange(frames)
    shown = plan.shown
    table = {name: np.repeat(getattr(shown, name)[:1], frames, axis=0) for name in shown.__dataclass_fields__}
    table |= {"pts": numbers, "key": numbers % length == length // 3}
    pictures = replace(plan.reading.pictures, shown=type(shown)(**table))
    cuts = tuple(range(length, frames, length))
    return replace(plan, reading=replace(plan.reading, pictures=pictures), cuts=cuts)


def test_a_title_of_few_shots_is_shown_at_several_moments(done: Mastered) -> None:
    chosen = choose(with_shots(done.plan, 1000, 1))
    assert [moment.shot for moment in chosen] == [1, 1, 1, 1]
    # Of the second part a key frame, which takes no decoding up to the middle.
    assert [moment.picture for moment in chosen] == [125, 333, 625, 875]
    assert choose(with_shots(done.plan, 1000, 10))[2] == Moment(233, 3)


def test_a_title_of_many_shots_has_a_bounded_sheet_with_its_longest(done: Mastered) -> None:
    plan = with_shots(done.plan, 12_000, 1000)
    plan = replace(plan, cuts=tuple(cut for cut in plan.cuts if cut != 6000))  # a shot twice as long
    chosen = choose(plan)
    assert len(chosen) == len(set(chosen)) == SHEET
    assert 500 in {moment.shot for moment in chosen}
    assert chosen == sorted(chosen, key=lambda moment: moment.picture)
    assert min(moment.shot for moment in chosen) < 20 and max(moment.shot for moment in chosen) > 980


@pytest.mark.parametrize(
    ("size", "shown"), [((2100, 900), (1280, 720)), ((600, 1600), (600, 720))], ids=["wide", "upright"]
)
def test_of_a_large_picture_the_middle_is_shown_at_its_own_size(
    size: tuple[int, int], shown: tuple[int, int], tmp_path: Path
) -> None:
    width, height = (side // 2 & ~1 for side in size)
    film = make(tmp_path / "large.mkv", Clip(frames=2, width=width, height=height, audio=""))
    profile = read_profile(None, {"scale": 2, "model": "bicubic"})
    store = Store(str(tmp_path / "store"))
    plan = plan_title(examine("large.mkv", str(film), profile), profile, store)
    records: list[Record] = [ShardWorker(WorkerSettings("bicubic")).upscale(order) for order in plan.work]
    stills = make_stills(plan, records, store)
    (still,) = stills.shown
    assert not stills.whole
    columns, rows = shown
    after, before = decoded(still.after), decoded(still.before)
    assert after.shape == before.shape
    assert abs(after.shape[0] - rows) < 16 and abs(after.shape[1] - columns) < 16
    assert stills.close == pytest.approx(after.shape[1] / after.shape[0], rel=0.01)
    assert np.abs(after - before).mean() < 2, "both are bicubic: the same part, at the same place"
    assert max(decoded(still.thumbnail).shape) < 900
