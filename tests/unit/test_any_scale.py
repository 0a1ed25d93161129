"""A title at a scale that is no whole number, through the stages: what is made of it and all that looks at it agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.estimate import _at_most
from tasks.grades import grades_of
from tasks.media.contract.contract import compare
from tasks.media.contract.looks import in_squares
from tasks.media.contract.rows import Row
from tasks.media.picture.pixels import Layout
from tasks.media.reading.source import Source
from tasks.pictures import likeness_of
from tasks.stills import make_stills
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.hdr import make_hdr
from tests.mastered import Mastered

WIDTH, HEIGHT = 220, 174  # 165 x 131 times 4/3: 174.67 is nearer to 174 than to 176


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("scaled")
    make(folder / "films" / "film.mkv", Clip(frames=20, width=165, height=131, codec="ffv1"))
    return mastered.remaster(folder / "films", str(folder / "out"), str(folder / "store"), scale="4/3")


def test_segments_and_master_are_of_the_planned_size(done: Mastered) -> None:
    assert done.plan.master_size == done.plan.work[0].result == (HEIGHT, WIDTH)
    for place in (done.master.uri, *(str(Path(done.store) / file) for file in done.files)):
        with av.open(place) as container:
            assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(WIDTH, HEIGHT)}


def test_every_check_passes_and_another_size_would_not(done: Mastered) -> None:
    likeness, grades = (find(done.master, done.plan, Store(done.store)) for find in (likeness_of, grades_of))
    lines = check_master(done.plan, done.profile, done.master, done.records, likeness, grades).lines
    assert ("size", True, f"{WIDTH}x{HEIGHT}, wanted {WIDTH}x{HEIGHT}") in lines
    assert all(passed for _, passed, _ in lines)
    whole = replace(done.plan, enlargement=replace(done.plan.enlargement, scale=2))
    lines = check_master(whole, done.profile, done.master, done.records, None).lines
    failed = [name for name, passed, _ in lines if not passed]
    assert failed == ["size"]


def test_two_files_by_themselves_show_no_loss(done: Mastered) -> None:
    files = Source(done.plan.title.uri, "film"), Source(done.master.uri, "master")
    rows = {row.name: row for row in compare(*files)}
    assert rows["size"] == Row("size", "changed", "165x131", f"{WIDTH}x{HEIGHT}", "upscaled x1.33")
    assert [row for row in rows.values() if row.verdict == "lost"] == []


def test_frames_are_held_against_the_frames_of_their_own_number(done: Mastered) -> None:
    likeness = likeness_of(done.master, done.plan, Store(done.store))
    assert len(likeness) == 20
    inner = likeness.apart[2:-2]
    assert (inner.argmin(axis=1) == 2).all() and inner[:, 2].max() < 1.0
    assert min(grade.vmaf_neg for grade in grades_of(done.master, done.plan, Store(done.store)).shards) > 90.0


def test_stills_show_the_same_part_of_both(done: Mastered, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_stills(done.plan, done.records, Store(done.store))
    assert (whole.whole, whole.columns) == (True, WIDTH)
    monkeypatch.setattr("tasks.stills._PART", (96, 128))
    middle = make_stills(done.plan, done.records, Store(done.store))
    # Of the source 32 columns are left out at either end, and 28 rows: these are 37.33, and end 36.67 before the last.
    assert (middle.whole, middle.columns) == (False, WIDTH - 42 - 42)
    assert middle.close == pytest.approx((WIDTH - 42 - 42) / (HEIGHT - 38 - 36))


def test_an_estimate_counts_the_pixels_of_the_result(done: Mastered) -> None:
    title = done.plan.title
    frames, rest = divmod(_at_most([title], done.profile) - title.size, 18 * WIDTH * HEIGHT)
    assert frames in (20, 21) and rest == 0  # as its length says


@pytest.mark.parametrize("model", ["lanczos", "swift"])
def test_hdr_stays_what_was_graded(model: str, tmp_path: Path) -> None:
    make_hdr(tmp_path / "films" / "film.mkv", size=(66, 98))
    made = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), scale=1.5, model=model)
    assert made.plan.master_size == (100, 148)  # 99 x 147
    likeness = likeness_of(made.master, made.plan, Store(made.store))
    lines = check_master(made.plan, made.profile, made.master, made.records, likeness).lines
    assert [line for line in lines if not line[1]] == []
    assert any(name == "light" for name, _, _ in lines) and all(record.light for record in made.records)


def test_a_master_is_seen_in_squares_or_reduced_to_pixels_of_its_source() -> None:
    layout = Layout("yuv", 10, 1, 1)
    planes = tuple(np.full(shape, 100 * n, np.uint16) for n, shape in enumerate(layout.plane_shapes(90, 66), 1))
    assert in_squares(planes, layout, 45, 33) == (planes, layout, 2)
    seen, of, side = in_squares(planes, layout, 61, 45)
    assert (of, side) == (layout, 1)
    assert [plane.shape for plane in seen] == [(61, 45), (31, 23), (31, 23)]
    assert [int(plane.min()) for plane in seen] == [int(plane.max()) for plane in seen] == [100, 200, 300]
    # Half floats of light are seen as a display shows them, which is what is averaged.
    light = tuple(np.full((90, 66), int(np.float16(0.5).view(np.uint16)), np.uint16) for _ in range(3))
    seen, of, side = in_squares(light, Layout("light", 16), 61, 45)
    assert (of, side) == (Layout("rgb", 16), 1) and len({int(plane.max()) for plane in seen}) == 1
