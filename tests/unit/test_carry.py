"""What lies beside the picture: second pictures cut otherwise, tracks that hold nothing, tracks beside chapters."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.contract.inventory import take_inventory
from tasks.media.contract.rows import Row
from tasks.media.reading.source import Source
from tests import mastered
from tests.clips import Clip, make, picture
from tests.remux import Change, remux


def two_pictures(path: Path, codec: str) -> Path:
    """A film in a transport stream, with a smaller picture beside it."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as output:
        films: list[Any] = [output.add_stream("libx264", rate=24), output.add_stream(codec, rate=24)]
        for film, (width, height) in zip(films, ((128, 96), (64, 64)), strict=True):
            film.width, film.height, film.pix_fmt = width, height, "yuv420p"
            film.options = {"x265-params": "log-level=error"} if film.codec_context.name == "libx265" else {}
        for number in range(24):
            for film in films:
                frame = av.VideoFrame.from_ndarray(picture(number, film.width, film.height), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 24)
                output.mux(film.encode(frame))
        for film in films:
            output.mux(film.encode(None))
    return path


def seen(done: mastered.Mastered, film: Path) -> dict[str, Row]:
    return {row.name: row for row in compare(Source(str(film), "film"), Source(done.master.uri, "master"))}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(("encoder", "codec"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_second_picture_is_the_same_by_start_codes_and_by_lengths(
    encoder: str, codec: str, container: str, tmp_path: Path
) -> None:
    film = two_pictures(tmp_path / "films" / "film.ts", encoder)
    done = mastered.remaster(
        film.parent, str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": container}
    )
    name = f"stream 1 (video {codec}): packets"
    assert (seen(done, film)[name].verdict, seen(done, film)[name].master) == ("kept", "24 packets")
    master = Path(done.master.uri)
    with av.open(str(master)) as held:
        packet = next(p for p in held.demux(held.streams[1]) if p.size and not p.is_keyframe)
        place = master.read_bytes().index(bytes(packet))
        mastered.flip(master, place + packet.size - 1)
    assert (seen(done, film)[name].verdict, seen(done, film)[name].note) == ("lost", "other bytes")


def test_zeros_between_units_are_as_the_muxer_takes_them(tmp_path: Path) -> None:
    """A byte stream may have any number of them before a start code and at the end of a packet."""
    plain = two_pictures(tmp_path / "films" / "before.ts", "libx264")
    film = tmp_path / "padded" / "film.ts"
    film.parent.mkdir()
    with av.open(str(plain)) as source, av.open(str(film), "w") as output:
        targets = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                first, units = bytes(packet)[:4], bytes(packet)[4:]
                padded = av.Packet(first + units.replace(b"\0\0\1", b"\0\0\0\0\0\1") + b"\0\0\0")
                padded.pts, padded.dts, padded.time_base = packet.pts, packet.dts, packet.time_base
                padded.is_keyframe, padded.stream = packet.is_keyframe, targets[packet.stream_index]
                output.mux(padded)
    done = mastered.remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"))
    assert seen(done, film)["stream 1 (video h264): packets"].verdict == "kept"


@pytest.mark.parametrize("audio", ["mp2", "pcm_bluray"])
def test_a_track_that_is_announced_and_holds_nothing_is_no_loss(audio: str, tmp_path: Path) -> None:
    """It is not taken for another one either, whether that is copied or kept by its samples."""
    before = make(tmp_path / "before.m2ts", Clip(frames=24, audio=audio))
    film = tmp_path / "films" / "film.m2ts"
    film.parent.mkdir()
    with av.open(str(before)) as source, av.open(str(film), "w") as output:
        shown, heard = source.streams
        targets: list[Any] = [output.add_stream_from_template(shown)]
        output.add_stream("ac3", rate=48000, layout="mono")
        targets.append(output.add_stream_from_template(heard))
        for packet in source.demux():
            if packet.size:
                packet.stream = targets[packet.stream_index]
                output.mux(packet)
    done = mastered.remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"))
    remark = "stream 1 (audio) is not carried: no sound was found in it where the file begins"
    assert remark in done.plan.title.remarks
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert [line for line in check.lines if not line[1]] == []
    (said,) = [line for name, _, line in check.lines if name == "stream 1 (audio ac3)"]
    assert "source 0 packets; it holds nothing" in said


def test_an_empty_track_that_a_master_has_too_is_kept_and_one_that_lost_its_packets_is_not(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv", Clip(frames=12, b_frames=0, audio="flac"))
    empty = remux(film, tmp_path / "empty.mkv", Change(packet=lambda packet, number: packet.stream.type != "audio"))
    verdicts = {}
    for name, source, master in (("empty", empty, empty), ("emptied", film, empty)):
        rows = compare(Source(str(source), "film"), Source(str(master), "master"))
        verdicts[name] = {row.name: row.verdict for row in rows}["stream 1 (audio flac): packets"]
    assert verdicts == {"empty": "kept", "emptied": "lost"}


def test_a_track_of_data_beside_chapters_is_not_taken_for_theirs(tmp_path: Path) -> None:
    """As cameras write them: telemetry, which no one marks as a default track, in a film with chapters."""

    def add(output: Any) -> None:
        output.add_data_stream("bin_data")

    def packets(output: Any) -> list[Any]:
        packet = av.Packet(b"DEVC" * 9)
        packet.stream, packet.pts, packet.dts, packet.duration = output.streams[-1], 0, 0, 500
        packet.time_base = Fraction(1, 1000)
        return [packet]

    plain = make(tmp_path / "before.mp4", Clip(frames=24, chapters=True))
    change = Change(streams=lambda stream: stream.type != "data", after=add, late=packets)
    film = remux(plain, tmp_path / "films" / "film.mp4", change)
    helpers = {track.codec: track for track in take_inventory(Source(str(film), "film"), 0).tracks if track.helper}
    assert [track.index for track in helpers.values()] == [3]
    done = mastered.remaster(film.parent, str(tmp_path / "out"), str(tmp_path / "store"))
    rows = seen(done, film)
    assert rows["stream 2 (data bin_data): packets"].verdict == rows["chapters"].verdict == "kept"
