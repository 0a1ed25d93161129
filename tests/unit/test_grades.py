"""Each shard of a master is graded as a person would, once, and one that is graded too low is named."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.grades import Grades, grades_of
from tasks.profile import read_profile
from tasks.quality.libvmaf import grade
from tasks.records import CheckResult, MasterRecord
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.mastered import Mastered


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("graded")
    make(folder / "films" / "film.mkv", Clip(frames=20, width=160, height=128))
    return mastered.remaster(folder / "films", str(folder / "out"), str(folder / "store"))


def with_bands(done: Mastered, other: Path, start: int) -> MasterRecord:
    """The picture of the master without loss, from a frame on with ten shades of all."""
    with av.open(done.master.uri) as container:
        frames = [(frame.to_ndarray(), frame.format.name) for frame in container.decode(video=0)]
    with av.open(str(other), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 320, 256, frames[0][1]
        step = int(np.max(frames[0][0])) // 10
        for number, (codes, pix_fmt) in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(codes if number < start else codes // step * step, format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return replace(done.master, uri=str(other), picture=0, sha256="0" * 64)


def judged(done: Mastered, master: MasterRecord, grades: Grades, floor: float) -> CheckResult:
    profile = read_profile(None, {**mastered.SETTINGS, "check.vmaf": floor})
    return check_master(done.plan, profile, master, done.records, None, grades)


def test_a_good_master_is_graded_well_and_once(done: Mastered) -> None:
    store = Store(done.store)
    grades = grades_of(done.master, done.plan, store)
    assert len(grades.shards) == len(done.plan.shards) == 2
    assert all(one.vmaf_neg > 90.0 for one in grades.shards)
    gone = replace(done.master, uri=str(Path(done.output) / "gone.mkv"))
    assert grades_of(gone, done.plan, store) == grades
    (line,) = [line for line in judged(done, done.master, grades, 80.0).lines if line[0] == "VMAF-NEG"]
    assert line[1]
    assert line[2].startswith("lowest 9")


def test_a_shard_that_lost_its_shades_is_named(done: Mastered, tmp_path: Path) -> None:
    last = done.plan.shards[-1]
    spoilt = with_bands(done, tmp_path / "spoilt.mkv", last.start)
    grades = grades_of(spoilt, done.plan, Store(str(tmp_path / "store")))
    *good, bad = grades.shards
    assert bad.vmaf_neg < min(one.vmaf_neg for one in good) - 5.0
    floor = (bad.vmaf_neg + min(one.vmaf_neg for one in good)) / 2
    broken = [
        name for name, kept, seen in judged(done, spoilt, grades, floor).lines if "VMAF" in name + seen and not kept
    ]
    assert broken == [f"shard {last.name}", "VMAF-NEG"]


def test_pictures_too_small_to_be_graded_are_not(tmp_path: Path) -> None:
    make(tmp_path / "films" / "film.mkv", Clip(frames=5, width=48, height=32))
    tiny = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    grades = grades_of(tiny.master, tiny.plan, Store(tiny.store))
    assert grades.shards == ()
    assert ("VMAF-NEG", True, "not measured: the picture is too small") in judged(tiny, tiny.master, grades, 50.0).lines


def test_banding_is_graded_apart() -> None:
    """Steps of a single code over a wide slope are what it looks for; noise over them hides them."""
    slope_HW = np.tile(np.linspace(60.0, 120.0, 640), (360, 1))
    noisy_HW = slope_HW + np.random.default_rng(1).normal(0.0, 1.5, slope_HW.shape)
    banded, dithered = ([np.rint(x).astype(np.uint8)] * 3 for x in (slope_HW, noisy_HW))
    found = [grade(banded, each, 360, 640, 8).cambi for each in (banded, dithered)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] > found[1] + 5.0
