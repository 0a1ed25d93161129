"""Streams that begin later than FFmpeg looks by itself: found where there is a sign of them, or refused."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tasks.errors import SourceError
from tasks.media.reading.decoding import decoded
from tasks.media.reading.probe import probe
from tasks.media.reading.source import Source, open_input, video_stream
from tasks.media.reading.timeline import read_timeline
from tasks.media.writing.master import choose_container
from tasks.profile import read_profile
from tests.clips import Clip, make

FILM = Clip(frames=500, width=176, height=144, codec="mpeg2video", rate=Fraction(25), audio="mp2", colour=None,
            b_frames=0, grain=40.0, options=(("qmin", "2"), ("qmax", "2")))  # fmt: skip
# A control sequence that shows nothing, of a DVD's subtitle.
SUBTITLE = bytes([0, 16, 0, 4, 0, 0, 0, 4, 1, 2, *[255] * 6])
BEGINS = 12.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("films") / "film.mkv", FILM)


@pytest.fixture(scope="module")
def with_subtitles(film: Path) -> Path:
    """A program stream of which nothing but its first packet tells of a stream."""
    path = film.with_name("late.vob")
    with av.open(str(film)) as original, av.open(str(path), "w", format="vob") as output:
        targets: dict[int, Any] = {s.index: output.add_stream_from_template(s) for s in original.streams}
        subtitles = output.add_mux_stream("dvd_subtitle", time_base=Fraction(1, 90_000))
        output.start_encoding()
        written = False
        for packet in original.demux():
            if packet.dts is None:
                continue
            seconds = float(packet.dts * packet.time_base)
            if seconds > BEGINS and not written:
                said: Any = av.Packet(SUBTITLE)
                said.stream, said.time_base, written = subtitles, Fraction(1, 90_000), True
                said.pts = said.dts = int(seconds * 90_000)
                said.duration = 90_000
                output.mux(said)
            packet.stream = targets[packet.stream_index]
            output.mux(packet)
    return path


@pytest.fixture(scope="module")
def with_sound(film: Path) -> Path:
    """A transport stream that names a second track of sound from the beginning, and has it later."""
    path = film.with_name("late.ts")
    with av.open(str(film)) as original, av.open(str(path), "w", format="mpegts") as output:
        targets: dict[int, Any] = {s.index: output.add_stream_from_template(s) for s in original.streams}
        second: Any = output.add_stream("ac3", rate=48_000, layout="mono")
        output.start_encoding()
        packets = [p for p in original.demux() if p.dts is not None]
        spoken = _silence(second)
        for packet in packets:
            while spoken and spoken[0].dts * spoken[0].time_base < packet.dts * packet.time_base:
                output.mux(spoken.pop(0))
            packet.stream = targets[packet.stream_index]
            output.mux(packet)
    return path


def _silence(stream: Any) -> list[Any]:
    packets = []
    for number in range(60):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1536)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
        frame.pts = int(BEGINS * 48_000) + number * 1536
        packets += stream.encode(frame)
    return packets


def streams(place: str | io.BytesIO, **how: int) -> list[str]:
    with open_input(Source(place, "film"), **how) as container:
        return [stream.type for stream in container.streams]


def test_subtitles_of_a_program_stream_are_found_wherever_they_begin(with_subtitles: Path) -> None:
    with av.open(str(with_subtitles)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]  # what FFmpeg finds by itself
    for place in (str(with_subtitles), io.BytesIO(with_subtitles.read_bytes())):
        source = Source(place, "late.vob")
        assert [stream.type for stream in probe(source).streams] == ["video", "audio", "subtitle"]
        assert len(read_timeline(source, 0)) == FILM.frames


def test_who_reads_the_picture_alone_does_not_look_for_them(with_subtitles: Path) -> None:
    assert streams(str(with_subtitles), only=0) == ["video", "audio"]
    assert streams(str(with_subtitles), only=2) == ["video", "audio", "subtitle"]
    with open_input(Source(str(with_subtitles), "late.vob"), only=0) as container:
        assert sum(1 for _ in decoded(container, video_stream(container, 0))) == FILM.frames


def test_a_track_of_sound_that_begins_late_is_carried(with_sound: Path) -> None:
    with av.open(str(with_sound)) as container:
        assert container.streams[2].codec_context.sample_rate == 0
    source = Source(str(with_sound), "late.ts")
    found = probe(source)
    assert found.streams[2].detail == "48000 Hz mono"
    container, said = choose_container(found, source, read_profile(None, {}).master.encoding(), "mp4")
    assert (container, said) == ("mp4", [])


def test_what_is_not_found_either_is_refused_before_any_work(
    with_subtitles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.media.reading.source._FURTHER", {})
    with pytest.raises(SourceError, match=r"late\.vob: one of its streams begins later .* -probesize 2G"):
        read_timeline(Source(str(with_subtitles), "late.vob"), 0)


@pytest.mark.parametrize("ending", ["vob", "ts"])
def test_what_has_no_late_stream_is_read_as_it_always_was(ending: str, film: Path, tmp_path: Path) -> None:
    path = tmp_path / f"film.{ending}"
    with av.open(str(film)) as original, av.open(str(path), "w", format={"ts": "mpegts"}.get(ending)) as output:
        targets: dict[int, Any] = {s.index: output.add_stream_from_template(s) for s in original.streams}
        for packet in original.demux():
            if packet.dts is not None:
                packet.stream = targets[packet.stream_index]
                output.mux(packet)
    with av.open(str(path)) as alone, open_input(Source(str(path), "film")) as container:
        one, other = alone.streams.video[0], container.streams.video[0]
        assert (one.average_rate, one.guessed_rate) == (other.average_rate, other.guessed_rate)
        assert (alone.duration, one.start_time) == (container.duration, other.start_time)
