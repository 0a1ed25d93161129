"""From a file to the pictures of its master: what it is seen to be, what is done, what is refused."""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks import tables
from tasks.errors import UnsupportedSource
from tasks.media.cadence.read import read_pictures
from tasks.media.picture.pixels import Planes
from tasks.plan import Plan, plan_title
from tasks.profile import Profile, read_profile
from tasks.records import from_json, to_json
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.sources import open_source
from tasks.store import Store
from tests import broken
from tests.clips import Clip, make
from tests.fielded import NTSC, film, soft, telecined, video, write


def planned(source: Path, store: Path, **settings: Any) -> Plan:
    profile = read_profile(None, {"scale": 2, **{k.replace("__", "."): v for k, v in settings.items()}})
    (title,) = scan(str(source), str(store.parent / "out"), profile)
    assert not title.refused
    return plan_title(title, profile, Store(str(store)))


def pictures(plan: Plan) -> list[Planes]:
    """What the network is given, shard by shard."""
    probe = plan.title.probe
    assert probe is not None
    found = []
    for work in plan.work:
        with open_source(work.source, "film") as source:
            found += list(read_pictures(source, work.stream, work.layout, work.window, work.recipe))
    return found


def shown_by_ffmpeg(path: Path) -> int:
    """How many frames FFmpeg makes of a file when it does as its repeat flags say."""
    said = f"-v error -i {path} -map 0:v -vf repeatfields -fps_mode passthrough -f framecrc -"
    done = subprocess.run([broken.FFMPEG, *said.split()], capture_output=True, text=True, check=True, timeout=60)
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def originals() -> list[Planes]:
    return film(32)


@pytest.fixture(scope="module")
def telecine(originals: list[Planes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("telecine") / "film.mp4", telecined(originals))


def test_the_film_is_recovered_from_its_video_to_the_bit(
    telecine: Path, originals: list[Planes], tmp_path: Path
) -> None:
    plan = planned(telecine, tmp_path / "store", shards__frames=7, shards__shortest=2)
    assert (plan.reading.cadence, plan.reading.treatment) == ("telecine", "inverse telecine")
    assert [len(plan.timeline), len(plan.shown), len(plan.shards)] == [40, 32, 5]
    for one, other in zip(pictures(plan), originals, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    book = plan.reading.pictures
    assert [int(pts) * book.time_base for pts in book.shown.pts] == [n * Fraction(1001, 24000) for n in range(32)]
    assert any("32 pictures of 40 frames" in said for said in remarks(plan))


@pytest.mark.parametrize("flag", ["tff=1", "interlaced=0"])
def test_film_in_lossy_video_is_recovered_within_its_own_loss(
    flag: str, originals: list[Planes], tmp_path: Path
) -> None:
    options = {"preset": "veryfast", "crf": "16", "x264-params": flag}
    path = write(tmp_path / "film.mkv", telecined(originals), "libx264", time_base=Fraction(1, 1000), options=options,
                 pts=[round(n * 1000 / NTSC) for n in range(40)])  # fmt: skip
    plan = planned(path, tmp_path / "store")
    assert plan.reading.cadence == "telecine"
    found = pictures(plan)
    assert len(found) == 32
    worst = max(np.abs(a[0].astype(int) - b[0]).mean() for a, b in zip(found, originals, strict=True))
    assert worst < 2.5
    end = (plan.shown.pts[-1] + plan.shown.duration[-1]) * plan.reading.pictures.time_base
    probe = plan.title.probe
    assert probe is not None
    assert end == (plan.timeline.pts[-1] + plan.timeline.duration[-1]) * probe.time_base


def test_film_that_is_flagged_to_be_shown_unevenly_is_left_as_it_is(originals: list[Planes], tmp_path: Path) -> None:
    path = soft(tmp_path / "film.ts", originals)
    assert shown_by_ffmpeg(path) == 40  # so the flags are there
    plan = planned(path, tmp_path / "store")
    assert (plan.reading.cadence, plan.reading.treatment) == ("soft telecine", "pass")
    evidence = plan.reading.evidence
    assert (evidence.repeat_flags, evidence.uneven, evidence.irregular) == (16, 32, 0)
    assert set(np.diff(plan.shown.pts).tolist()) <= {3003, 4504, 4505}
    assert all(work.recipe == () for work in plan.work)


def test_a_count_of_flags_that_was_damaged_in_the_store_is_taken_again(originals: list[Planes], tmp_path: Path) -> None:
    path = soft(tmp_path / "film.ts", originals)
    before = planned(path, tmp_path / "store").reading.evidence
    (noted,) = (tmp_path / "store" / "repeats").iterdir()
    kept = noted.read_bytes()
    for damaged in (kept.replace(b"16", b"18"), b"18", b"1\xff"):
        noted.write_bytes(damaged)
        assert planned(path, tmp_path / "store").reading.evidence == before
        assert noted.read_bytes() == kept


def test_pictures_coded_as_fields_are_left_as_they_are(originals: list[Planes], tmp_path: Path) -> None:
    options = {"preset": "veryfast", "crf": "16", "x264-params": "tff=1"}
    plan = planned(write(tmp_path / "film.mp4", originals, "libx264", options=options), tmp_path / "store")
    assert (plan.reading.cadence, plan.reading.treatment) == ("psf", "pass")
    assert plan.reading.evidence.flagged == 32
    assert not any("the source is" in said or "cadence" in said for said in remarks(plan))


def test_each_part_of_a_mixed_title_has_its_own_treatment(originals: list[Planes], tmp_path: Path) -> None:
    frames = [*originals[:20], *telecined(originals[:20]), *video(originals[:32])]
    path = write(tmp_path / "film.mp4", frames)
    plan = planned(path, tmp_path / "store", shards__frames=9, shards__shortest=2)
    assert (plan.reading.cadence, plan.reading.treatment) == ("mixed", "deinterlace, inverse telecine, pass")
    assert len(plan.shown) == 20 + 20 + 16
    whole = pictures(planned(path, tmp_path / "store", shards__frames=1000))
    for one, other in zip(pictures(plan), whole, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    for one, other in zip(whole[:40], originals[:20] * 2, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert any(said.startswith("the source is of more than one cadence: [0,2") for said in remarks(plan))


def test_every_field_can_be_a_picture(originals: list[Planes], tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", video(originals))
    plan = planned(path, tmp_path / "store", cadence="fields", shards__frames=10, shards__shortest=2)
    assert (len(plan.timeline), len(plan.shown), plan.reading.treatment) == (16, 32, "fields")
    assert len(pictures(plan)) == 32
    assert any("one picture for each field" in said for said in remarks(plan))
    assert {s.key for s in plan.shards}.isdisjoint(s.key for s in planned(path, tmp_path / "store").shards)


def test_a_choice_that_would_spoil_a_title_is_refused_with_the_fix(originals: list[Planes], tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", video(originals))
    with pytest.raises(UnsupportedSource, match=r'film.mp4: no telecined film can be seen .*Set cadence to "auto"'):
        planned(path, tmp_path / "store", cadence="detelecine")


@pytest.mark.parametrize("cadence", ["fields", "detelecine"])
def test_a_choice_that_makes_no_difference_is_said_and_changes_nothing(cadence: str, tmp_path: Path) -> None:
    path = make(tmp_path / "film.mp4", Clip(frames=20))
    plan, auto = (planned(path, tmp_path / "store", cadence=c) for c in (cadence, "auto"))
    assert [s.key for s in plan.shards] == [s.key for s in auto.shards]
    assert any(f'cadence "{cadence}" makes a difference' in said for said in remarks(plan))
    assert remarks(auto) == ()


def test_film_is_what_a_person_says_it_is(telecine: Path, tmp_path: Path) -> None:
    asked, auto = (planned(telecine, tmp_path / "store", cadence=c) for c in ("detelecine", "auto"))
    assert [s.key for s in asked.shards] == [s.key for s in auto.shards]
    said = " ".join(remarks(planned(telecine, tmp_path / "store", cadence="deinterlace")))
    assert "has pictures that can be had whole" in said and '"auto"' in said


def test_frames_that_repeat_can_be_left_out(originals: list[Planes], tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", [p for p in originals[:8] for _ in range(3)])
    auto, asked = (planned(path, tmp_path / "store", cadence=c) for c in ("auto", "deduplicate"))
    assert (len(auto.shown), auto.reading.evidence.duplicates) == (24, 16)
    assert asked.shown.pts.tolist() == [3 * n for n in range(8)] or len(asked.shown) == 8
    assert (np.diff(asked.shown.pts) == 3 * np.diff(auto.shown.pts)[0]).all()
    assert any("8 pictures of 24 frames; times are kept" in said for said in remarks(asked))
    none = planned(make(tmp_path / "plain.mp4", Clip(frames=9)), tmp_path / "store", cadence="deduplicate")
    assert remarks(none) == ('no frame repeats the one before, so none is left out: cadence can be left at "auto"',)


def test_fields_are_looked_at_once_and_only_where_there_is_a_reason(
    telecine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned(telecine, tmp_path / "store")
    monkeypatch.setattr("tasks.reading.measure", None)
    again = planned(telecine, tmp_path / "store", scale=3)
    assert again.reading.seen == first.reading.seen
    planned(make(tmp_path / "plain.mp4", Clip(frames=9, width=320, height=256)), tmp_path / "store")


def test_what_was_seen_is_in_the_table_of_titles(tmp_path: Path) -> None:
    plan = planned(broken.interlaced(tmp_path / "film.mp4", flagged=True), tmp_path / "store")
    note = plan.reading.note()
    assert from_json(type(note), to_json(note)) == note
    other = replace(plan.title, name="other.mp4")
    data = tables.titles_table([plan.title, other], {"film.mp4": note})
    assert tables.read_titles_table(data) == [plan.title, other]
    row, unknown = pq.read_table(io.BytesIO(data)).to_pylist()
    assert (row["cadence"], row["treatment"], row["pictures"], row["parts"]) == (
        "top",
        "deinterlace",
        20,
        ["[0,20) top"],
    )
    counts = dict(row["evidence"])
    assert (counts["frames"], counts["flagged"]) == (20, 20)
    assert (unknown["cadence"], unknown["evidence"]) == ("", [])
    assert Profile().cadence == "auto"
