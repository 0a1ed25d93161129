"""Tracks of data (telemetry, cues) are carried where the container has a place for them, and it is said where not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.check import check_master
from tasks.errors import UsageError
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing.carry import LEFT_OUT
from tasks.profile import read_profile
from tests import mastered
from tests.clips import Clip, make, picture

LATER = (0, 22_500, 45_000, 67_500)  # of 90,000 a second


def with_data(path: Path, codec: str, times: tuple[int, ...] = LATER) -> Path:
    """A second of film with packets of data at these times."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as output:
        film = output.add_stream("libx264", rate=24)
        film.width, film.height, film.pix_fmt = 128, 96, "yuv420p"
        data = output.add_mux_stream(codec) if codec == "dvb_teletext" else output.add_data_stream(codec)
        output.start_encoding()
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(picture(number, 128, 96), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(film.encode(frame))
        output.mux(film.encode(None))
        for number, time in enumerate(times):
            packet = av.Packet(bytes([number]) * 40)
            packet.stream, packet.pts, packet.dts, packet.time_base = data, time, time, Fraction(1, 90_000)
            output.mux(packet)
    return path


@pytest.mark.parametrize("times", [LATER, (0, 0, 0)], ids=["in turn", "at once"])
@pytest.mark.parametrize(("codec", "container"), [("klv", "auto"), ("bin_data", "mov")])
def test_packets_and_their_times_are_kept(codec: str, container: str, times: tuple[int, ...], tmp_path: Path) -> None:
    film = with_data(tmp_path / "films" / "film.ts", codec, times)
    done = mastered.remaster(
        film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": container}
    )
    assert done.plan.title.master == "film.mov"
    assert not any("stream 1" in remark for remark in done.plan.title.remarks)
    rows = {row.name: row for row in compare(Source(str(film), "film"), Source(done.master.uri, "master"))}
    assert rows[f"stream 1 (data {codec}): packets"].verdict == "kept"
    assert rows[f"stream 1 (data {codec}): packets"].source == f"{len(times)} packets"
    assert rows[f"stream 1 (data {codec}): times"].verdict == "kept"


@pytest.mark.parametrize(
    ("codec", "container", "words"),
    [
        ("dvb_teletext", "mkv", "matroska cannot hold it"),
        ("klv", "mkv", "Matroska has no such track"),
        ("klv", "mp4", "mp4 cannot hold it"),
        ("timed_id3", "mp4", "mp4 takes it and writes no track that could be read"),
        ("timed_id3", "mov", "mov takes it and writes no track that could be read"),
    ],
)
def test_what_a_container_has_no_place_for_is_said_and_named_by_the_check(
    codec: str, container: str, words: str, tmp_path: Path
) -> None:
    film = with_data(tmp_path / "films" / "film.ts", codec)
    done = mastered.remaster(
        film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": container}
    )
    kind = "subtitle" if codec == "dvb_teletext" else "data"
    assert any(f"stream 1 ({kind}) is not carried: {words}" in remark for remark in done.plan.title.remarks)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    ((name, seen),) = [(name, seen) for name, ok, seen in check.lines if not ok]
    assert name.startswith(f"stream 1 ({kind}") and words in seen


def test_what_is_to_be_left_out_is_no_loss(tmp_path: Path) -> None:
    """Cues that no container holds, of a title that is done without them; with its sound nothing is changed."""
    film = with_data(tmp_path / "films" / "film.ts", "timed_id3")
    done = mastered.remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.without": "data"})
    assert [remark for remark in done.plan.title.remarks if "stream 1" in remark] == [f"stream 1 (data) is {LEFT_OUT}"]
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [line for line in check.lines if not line[1]] == []
    assert ("stream 1 (data timed_id3)", True, f"-, source 4 packets; {LEFT_OUT}") in check.lines
    files = Source(str(film), "film"), Source(done.master.uri, "master")
    name = "stream 1 (data timed_id3)"
    for asked, verdict in ((done.profile.master.encoding(), "changed"), (None, "lost")):
        assert {row.name: row.verdict for row in compare(*files, asked=asked)}[name] == verdict


def test_masters_with_and_without_are_not_the_same(tmp_path: Path) -> None:
    films = tmp_path / "films"
    film = make(films / "film.mp4", Clip(frames=12, audio="aac"))
    made = {}
    for without in ("", "audio, subtitle"):
        done = mastered.remaster(
            films, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.without": without or None}
        )
        files = Source(str(film), "film"), Source(done.master.uri, "master")
        rows = compare(*files, asked=done.profile.master.encoding())
        made[done.master.key] = [row.verdict for row in rows if row.name.startswith("stream 1 (audio")]
    assert [set(verdicts) for verdicts in made.values()] == [{"kept"}, {"changed"}]


def test_what_nothing_is_left_out_of_is_not_made_anew(tmp_path: Path) -> None:
    films = tmp_path / "films"
    make(films / "film.mp4", Clip(frames=12, audio="aac"))
    keys = {
        mastered.remaster(films, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.without": said}).master.key
        for said in (None, "data", "data,attachment")
    }
    assert len(keys) == 1


def test_kinds_of_tracks_are_words_with_commas_or_a_list() -> None:
    for said in ("data, subtitle", ["data", "subtitle", "data"]):
        assert read_profile(None, {"master.without": said}).master.without == ("data", "subtitle")
    with pytest.raises(UsageError, match=r"master\.without"):
        read_profile(None, {"master.without": "pictures"})
