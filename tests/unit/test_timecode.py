"""Timecode at the master's rate: the same moment of the same second, said before any work, and read back."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.picture.pixels import Planes
from tasks.media.reading.source import Source
from tasks.media.reading.timecode import restated
from tasks.remarks import remarks
from tests import mastered
from tests.broken import FFMPEG
from tests.fielded import NTSC, film, telecined, video, write
from tests.torture import spherical

FILM, PAL = Fraction(24000, 1001), Fraction(25)


@pytest.mark.parametrize(
    ("code", "before", "after", "wanted"),
    [
        ("01:00:00;00", NTSC, FILM, "01:00:00:00"),
        ("01:00:00;00", NTSC, NTSC, "01:00:00;00"),
        ("00:59:59;29", NTSC, FILM, "00:59:59:23"),
        ("10:20:30:27", NTSC, FILM, "10:20:30:21"),
        ("00:01:00;02", NTSC, 2 * NTSC, "00:01:00;04"),
        ("00:01:00;04", 2 * NTSC, NTSC, "00:01:00;02"),
        ("00:00:01:24", PAL, 2 * PAL, "00:00:01:48"),
        ("00:00:01:49", 2 * PAL, PAL, "00:00:01:24"),
        ("00:00:01:12", PAL, Fraction(0), "00:00:01:12"),
        ("reel 7", NTSC, FILM, "reel 7"),
    ],
)
def test_the_same_moment_has_another_number(code: str, before: Fraction, after: Fraction, wanted: str) -> None:
    assert restated(code, before, after) == wanted


@dataclass(frozen=True)
class Case:
    """A source of fields with a timecode, and what its master is to say."""

    frames: list[Planes]
    rate: Fraction
    code: str
    cadence: str
    wanted: str


CASES = {
    "film.mov": Case(telecined(film(20)), NTSC, "01:00:00;00", "auto", "01:00:00:00"),
    "film.mp4": Case(telecined(film(20)), NTSC, "10:20:30:27", "auto", "10:20:30:21"),
    "film.mkv": Case(telecined(film(20)), NTSC, "00:59:59;29", "auto", "00:59:59:23"),
    "ntsc.mov": Case(video(film(40)), NTSC, "00:01:00;02", "fields", "00:01:00;04"),
    "pal.mov": Case(video(film(40)), PAL, "09:59:59:24", "fields", "09:59:59:48"),
    "frames.mov": Case(video(film(40)), NTSC, "00:01:00;02", "deinterlace", "00:01:00;02"),
    "whole.mov": Case(film(20), 2 * PAL, "09:59:59:48", "auto", "09:59:59:48"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_master_of_another_rate_begins_at_the_same_moment(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "films").mkdir()
    options = {"qp": "0", "preset": "ultrafast"}
    source = write(tmp_path / "films" / name, case.frames, "libx264", case.rate, options=options, timecode=case.code)
    settings = {"cadence": case.cadence, "scale": 1, "master.codec": "h264"}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    (seen,) = [seen for line, _, seen in check.lines if line == "timecode"]
    assert seen.startswith(case.wanted), seen
    said = [remark for remark in remarks(done.plan) if "timecode" in remark]
    rows = {row.name: row for row in compare(Source(str(source), name), Source(done.master.uri, "master"))}
    row = rows["timecode"]
    assert (row.source, row.master) == (case.code, case.wanted)
    if case.wanted == case.code:
        assert (said, row.verdict) == ([], "kept")
    else:
        assert [case.code in remark and case.wanted in remark for remark in said] == [True]
        assert row.verdict == "changed" and "restated" in row.note


def test_a_timecode_is_kept_where_the_container_says_how_a_picture_is_looked_at(tmp_path: Path) -> None:
    """And so has the stream's rate from us alone, which it is counted by."""
    (tmp_path / "films").mkdir()
    around = spherical(tmp_path / "around.mp4")
    coded = ("-c", "copy", "-strict", "unofficial", "-timecode", "01:02:03:04")
    subprocess.run([FFMPEG, "-v", "error", "-i", around, *coded, tmp_path / "films" / "around.mp4"], check=True)
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [(name, seen) for name, ok, seen in check.lines if not ok] == []
    assert {("spherical", "36 bytes"), ("timecode", "01:02:03:04")} <= {(name, seen) for name, _, seen in check.lines}
