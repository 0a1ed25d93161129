"""Damaged sources, and sources without true timestamps: refused with the count, or taken, the same in every shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.errors import SourceError
from tasks.finish import master_key
from tasks.grades import grades_of
from tasks.media.cadence.read import read_window, window
from tasks.media.contract.contract import compare
from tasks.media.reading.damage import damage_of
from tasks.media.reading.side_data import first_side_data
from tasks.media.reading.source import Source
from tasks.media.reading.stamps import NEVER
from tasks.media.reading.timeline import Timeline, read_timeline
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.contract import picture_times
from tests.torture import Maker, captioned_with_a_hole, interrupted, scratched

FILM = Clip(frames=40, width=160, height=96, gop=10, audio="", grain=4.0)


@dataclass(frozen=True)
class Case:
    """A damaged source, and how many of its frames are made up in part and missing."""

    name: str
    write: Maker
    concealed: int
    missing: int


CASES = [
    Case("h264.mkv", scratched(FILM, 25), 1, 0),
    Case("h264.mp4", scratched(FILM, 25), 1, 0),
    Case("mpeg2.ts", scratched(replace(FILM, codec="mpeg2video"), 12, 25), 2, 0),
    Case("mpeg4.avi", scratched(replace(FILM, codec="mpeg4", b_frames=0), 12, 25), 2, 0),
    Case("prores.mov", scratched(replace(FILM, codec="prores_ks", pix_fmt="yuv422p10le"), 12, 25), 2, 0),
    Case("png.mov", scratched(replace(FILM, codec="png", pix_fmt="rgb24", colour=None), 12, 25), 0, 2),
    Case("interrupted.ts", interrupted, 1, 12),
]


def table(path: Path) -> Timeline:
    return read_timeline(Source(str(path), path.name), 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_damaged_is_counted_and_read_alike_from_anywhere(case: Case, tmp_path: Path) -> None:
    """As workers do: each from a key frame of its own, in any place of the damage."""
    path = case.write(tmp_path / case.name)
    found = table(path)
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        layout = None
    assert base is not None
    damage = damage_of(found, base)
    assert (damage.concealed, damage.missing) == (case.concealed, case.missing), damage
    assert len(found) + damage.missing in {40, 60}
    (title,) = scan(str(path), str(tmp_path / "out"), read_profile(None, {}))
    assert title.probe is not None
    layout = title.probe.layout
    again = table(path)
    np.testing.assert_array_equal(again.checksum, found.checksum)
    for start in range(0, len(found), 3):
        wanted = window(found, start, min(start + 5, len(found)))
        assert not wanted.plain
        assert len(list(read_window(Source(str(path), path.name), 0, layout, wanted))) == len(wanted.pts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_how_much_is_taken_is_for_a_person_to_say(case: Case, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    case.write(tmp_path / "films" / case.name)
    count = case.concealed + case.missing
    store = Store(str(tmp_path / "store"))
    (title,) = scan(str(tmp_path / "films"), str(tmp_path / "out"), read_profile(None, {}))
    for most in (0, count - 1):
        strict = read_profile(None, {"limits.damaged": most})
        with pytest.raises(SourceError, match=rf"is damaged at \d.*which is {most}, to {count} at least"):
            plan_title(title, strict, store)
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), store.root, **{"limits.damaged": count})
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    (said,) = [words for name, _, words in check.lines if name == "source"]
    assert f"{case.concealed} frames are made up in part, and {case.missing} are missing" in said
    assert check.passed, check.lines
    assert done.receipt.source.doubts == [said]


CARRYING = {
    "captions.mp4": (captioned_with_a_hole, "closed captions"),
    "alpha.mov": (scratched(replace(FILM, codec="png", pix_fmt="rgba", colour=None), 12, 25), "alpha"),
}


@pytest.mark.parametrize("name", CARRYING)
def test_what_frames_carry_is_kept_past_damage_that_is_taken(name: str, tmp_path: Path) -> None:
    """By the check, by the comparison, and graded."""
    write, row = CARRYING[name]
    (tmp_path / "films").mkdir()
    path = write(tmp_path / "films" / name)
    settings = {"limits.damaged": 3, "master.codec": "ffv1" if row == "alpha" else "h264"}
    if row == "alpha":
        settings["master.preset"] = None
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    assert not done.plan.timeline.is_plain
    grades = grades_of(done.master, done.plan, Store(done.store))
    check = check_master(done.plan, done.profile, done.master, done.records, None, grades)
    assert check.passed, check.lines
    assert [ok for line, ok, _ in check.lines if line == row] == [True]
    rows = {found.name: found for found in compare(Source(str(path), name), Source(done.master.uri, "master"))}
    assert rows[row].verdict == rows["frames"].verdict == "kept", rows


def test_a_file_whose_first_packet_gives_nothing_still_says_how_it_is_turned(tmp_path: Path) -> None:
    base = replace(FILM, codec="png", pix_fmt="rgb24", colour=None, rotation=90)
    path = scratched(base, 0)(tmp_path / "turned.mov")
    assert "DISPLAYMATRIX" in first_side_data(Source(str(path), "turned"), 0).standing


def test_a_whole_title_is_read_as_ever(tmp_path: Path) -> None:
    found = table(make(tmp_path / "film.mkv", FILM))
    assert found.is_plain
    assert window(found, 5, 9).plain


def raw(ending: str, **changes: Any) -> Maker:
    return lambda path: make(path.with_suffix(f".{ending}"), replace(FILM, rate=Fraction(24000, 1001), **changes))


def restamped(base: Clip, change: Callable[[list[int]], list[int]]) -> Maker:
    """A clip whose packets have other timestamps; MP4 would not take them, Matroska takes any."""

    def write(path: Path) -> Path:
        first = make(path.with_name(f"before {path.name}"), base)
        with av.open(str(first)) as original, av.open(str(path), "w") as output:
            target = output.add_stream_from_template(original.streams.video[0], opaque=True)
            packets = [p for p in original.demux() if p.size]
            stamps = change([p.pts or 0 for p in packets])
            for number, (packet, stamp) in enumerate(zip(packets, stamps, strict=True)):
                packet.pts = packet.dts = stamp
                packet.dts = number - 100
                packet.stream = target
                output.mux(packet)
        first.unlink()
        return path

    return write


def test_raw_streams_are_shown_at_the_rate_that_they_name(tmp_path: Path) -> None:
    """And each shard finds its frames, which have no timestamps to be sought by."""
    (tmp_path / "films").mkdir()
    path = make(tmp_path / "films" / "raw.h264", replace(FILM, rate=Fraction(24000, 1001)))
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    assert len(done.plan.shards) == 4
    assert (done.plan.timeline.said == NEVER).all()
    made = Path(done.master.uri)
    times = picture_times(made)
    assert times == [n * Fraction(1001, 24000) for n in range(40)]
    assert done.plan.rate == Fraction(24000, 1001)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, check.lines
    assert any("has no timestamps: its pictures are shown evenly, 23.976 a second" in said for *_, said in check.lines)
    rows = {row.name: row for row in compare(Source(str(path), "raw"), Source(str(made), "master"))}
    assert rows["times"].verdict == "changed"


def test_raw_streams_that_name_none_wait_for_a_person(tmp_path: Path) -> None:
    no_rate = (("x265-params", "vui-timing-info=0:log-level=error:info=0"),)
    make(tmp_path / "films" / "raw.hevc", replace(FILM, frames=12, codec="libx265", options=no_rate))
    (title,) = scan(str(tmp_path / "films"), str(tmp_path / "out"), read_profile(None, {}))
    store = Store(str(tmp_path / "store"))
    with pytest.raises(SourceError, match=r"frame 0 has no timestamp.*--fps RATE.*ffmpeg -r RATE"):
        plan_title(title, read_profile(None, {}), store)
    plans = []
    for rate, ticks in (("12.5", 96_000), ("24", 50_000)):
        profile = read_profile(None, {"sequence.fps": rate})
        plans.append(plan_title(title, profile, store))
        assert np.diff(plans[-1].timeline.pts).tolist() == [ticks] * 11
    one, other = (master_key(plan, profile, [], Store(str(tmp_path / "out"))) for plan in plans)
    assert one != other, "another rate is another master, of the same segments"


def test_avi_notes_when_frames_are_decoded_and_they_are_shown_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    make(tmp_path / "films" / "film.avi", replace(FILM, b_frames=3))
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    said = done.plan.timeline.said.tolist()
    assert said != sorted(said)
    assert np.diff(done.plan.timeline.pts).tolist() == [1] * 39
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, check.lines
    assert any("timestamps of" in words and "missing or go back" in words for *_, words in check.lines)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda stamps: [0 if n == 20 else stamp for n, stamp in enumerate(stamps)], "repaired"),
        (lambda stamps: [stamp + 90_000 if n == 20 else stamp for n, stamp in enumerate(stamps)], "repaired"),
        (lambda stamps: [stamp if n < 20 else stamps[n - 20] for n, stamp in enumerate(stamps)], "refused"),
    ],
)
def test_times_that_go_back_are_repaired_where_they_are_not_in_doubt(
    change: Callable[[list[int]], list[int]], wanted: str, tmp_path: Path
) -> None:
    base = replace(FILM, b_frames=0, time_base=Fraction(1, 1000), rate=Fraction(25))
    path = restamped(base, change)(tmp_path / "film.mkv")
    if wanted == "refused":
        with pytest.raises(SourceError, match=r"missing or go back from frame 20 .* in doubt.*Decode it"):
            table(path)
        return
    found = table(path)
    assert np.diff(found.pts).tolist() == [40] * 39
    assert np.flatnonzero(found.pts != found.said).tolist() == [20]
    (title,) = scan(str(path), str(tmp_path / "out"), read_profile(None, {}))
    assert title.probe is not None
    for start in range(0, 40, 5):
        wanted_frames = window(found, start, start + 5)
        held = list(read_window(Source(str(path), "film"), 0, title.probe.layout, wanted_frames))
        assert len(held) == 5
