"""Sound that no container takes as it is: kept sample for sample, said, and held against the source's samples."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.check import check_master
from tasks.media.contract.contract import compare
from tasks.media.reading.source import Source
from tasks.media.writing.sound import hear
from tests import broken, mastered
from tests.clips import make
from tests.remux import Change, remux
from tests.torture import FILM, converted, late

SECONDS = replace(FILM, frames=36, audio="flac")
CASES = {
    "wma.wmv": (converted("-c:v", "wmv2", "-c:a", "wmav2", base=SECONDS), "mp4", "flac"),
    "wma again.wmv": (converted("-c:v", "wmv2", "-c:a", "wmav2", base=SECONDS), "auto", "pcm_f32le"),
    "adpcm.avi": (converted("-c:v", "mpeg4", "-c:a", "adpcm_ms", base=SECONDS), "auto", "flac"),
    "adpcm again.avi": (converted("-c:v", "mpeg4", "-c:a", "adpcm_ms", base=SECONDS), "mov", "alac"),
    "old pcm.avi": (converted("-c:v", "mpeg4", "-c:a", "pcm_u8", base=SECONDS), "mp4", "flac"),
    "vorbis.mkv": (converted("-c:v", "mpeg4", "-c:a", "libvorbis", base=SECONDS), "mov", "alac"),
    "stereo.wmv": (
        converted("-c:v", "wmv2", "-c:a", "wmav2", "-ac", "2", "-ar", "44100", base=SECONDS),
        "mkv",
        "pcm_f32le",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_sample_reaches_the_master(name: str, tmp_path: Path) -> None:
    write, container, codec = CASES[name]
    (tmp_path / "films").mkdir()
    path = write(tmp_path / "films" / name)
    done = mastered.remaster(
        tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": container}
    )
    (remark,) = [said for said in done.plan.title.remarks if "becomes" in said]
    assert f"(audio) becomes {codec}, sample for sample" in remark
    (copied,) = done.master.copied
    assert (copied.made, copied.reason) == (codec, "")
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, [line for line in check.lines if not line[1]]
    assert any(line.endswith(": samples") and f"{codec}, source" in seen for line, _, seen in check.lines)
    rows = compare(Source(str(path), name), Source(done.master.uri, "master"))
    assert [row for row in rows if row.verdict == "lost"] == []
    assert [row.verdict for row in rows if row.name.endswith(": samples")] == ["changed"]
    with av.open(done.master.uri) as held:
        assert held.streams[copied.index].codec_context.name == codec


@pytest.mark.parametrize(("container", "whole"), [("mkv", True), ("mp4", False)])
def test_what_is_beyond_full_scale_is_kept_or_counted(container: str, whole: bool, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    louder = ("-af", "volume=20dB:precision=float", "-c:a", "wmav2")
    path = converted("-c:v", "wmv2", *louder, base=SECONDS)(tmp_path / "films" / "loud.wmv")
    beyond = sum(int((np.abs(samples) > 1).sum()) for samples in samples_of(path))
    assert beyond > 1000
    settings = {"master.container": container}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    assert any("is cut off beyond full scale by flac" in remark for remark in done.plan.title.remarks) is not whole
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, [line for line in check.lines if not line[1]]
    (seen,) = [seen for line, _, seen in check.lines if line.endswith(": samples")]
    assert (f"but for {beyond} beyond full scale, which are cut off" in seen) is not whole
    if whole:
        had, has = (np.concatenate(samples_of(each), axis=1) for each in (path, Path(done.master.uri)))
        np.testing.assert_array_equal(has, had)


def samples_of(place: Path) -> list[np.ndarray]:
    """Of each frame of a file's sound, which is mono."""
    with av.open(str(place)) as container:
        return [frame.to_ndarray() for frame in container.decode(audio=0)]


def test_what_a_container_takes_is_copied(tmp_path: Path) -> None:
    make(tmp_path / "films" / "film.mkv", replace(FILM, audio="flac"))
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"))
    assert [(each.codec, each.made) for each in done.master.copied] == [("flac", "")]


def test_other_samples_are_seen(tmp_path: Path) -> None:
    """One packet less, and the same sound of another loudness."""
    film = make(tmp_path / "film.mkv", replace(FILM, audio="flac"))
    less = remux(film, tmp_path / "less.mkv", Change(packet=lambda p, n: p.stream.type != "audio" or n != 3))
    quiet = converted("-c:v", "copy", "-c:a", "flac", "-af", "volume=0.99")(tmp_path / "quiet.mkv")
    for other, same in ((film, True), (less, False), (quiet, False)):
        one, another = hear(Source(str(film), "film"), 1, Source(str(other), "other"), 1)
        assert (one == another) is same


def test_sound_that_begins_late_and_pauses_does_so_in_the_master(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    whole = converted("-c:v", "mpeg4", "-c:a", "libvorbis", base=SECONDS)(tmp_path / "whole.mkv")
    moved = remux(whole, tmp_path / "moved.mkv", late("audio", Fraction(1, 2)))
    paused = Change(packet=lambda p, n: p.stream.type != "audio" or not 20 <= n < 40)
    path = remux(moved, tmp_path / "films" / "film.mkv", paused)
    done = mastered.remaster(
        tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **{"master.container": "mov"}
    )
    made = Path(done.master.uri)
    assert len(set(hear(Source(str(path), "film"), 1, Source(str(made), "master"), 1))) == 1
    packet = 4096 / 48_000
    assert spans(made) == pytest.approx(spans(path), abs=packet)


def spans(place: Path) -> list[float]:
    """When a file's sound begins, pauses, goes on and ends, in seconds."""
    with av.open(str(place)) as container:
        frames = list(container.decode(container.streams.audio[0]))
    starts = [float(f.pts * f.time_base) for f in frames]
    ends = [start + f.samples / f.sample_rate for start, f in zip(starts, frames, strict=True)]
    gap = max(range(len(frames) - 1), key=lambda n: starts[n + 1] - ends[n])
    return [starts[0], ends[gap], starts[gap + 1], ends[-1]]


def broadcast(path: Path, *parts: tuple[int, int]) -> Path:
    """A capture whose sound, of a kind that no container takes, goes on with other numbers of channels and rates."""
    film = make(path.with_name("film.mkv"), replace(SECONDS, codec="mpeg2video", b_frames=0, colour=None))
    spoken = []
    for number, (channels, rate) in enumerate(parts):
        part = path.with_name(f"part {number}.ts")
        coded = f"-t 0.7 -vn -c:a aac -ac {channels} -ar {rate} -mpegts_flags latm -output_ts_offset {number * 0.75}"
        command = [broken.FFMPEG, "-y", "-v", "error", "-i", str(film), *coded.split(), str(part)]
        subprocess.run(command, check=True)
        spoken.append(part)
    with av.open(str(film)) as picture, av.open(str(spoken[0])) as first, av.open(str(path), "w", "mpegts") as output:
        video = output.add_stream_from_template(picture.streams.video[0])
        sound = output.add_stream_from_template(first.streams.audio[0], opaque=True)
        packets = [(p, video) for p in picture.demux(picture.streams.video[0])]
        for part in spoken:
            with av.open(str(part)) as heard:
                packets += [(p, sound) for p in heard.demux(heard.streams.audio[0])]
        for packet, stream in sorted((each for each in packets if each[0].size), key=_seconds):
            packet.stream = stream
            output.mux(packet)
    for each in (film, *spoken):
        each.unlink()
    return path


def _seconds(placed: tuple[av.Packet, av.stream.Stream]) -> Fraction:
    packet, stream = placed
    return packet.dts * packet.time_base - (Fraction(7, 5) if stream.type == "audio" else 0)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("second", [(6, 48_000), (1, 48_000), (2, 32_000)], ids=str)
def test_sound_that_changes_its_layout_or_rate_goes_on_in_its_first(
    second: tuple[int, int], container: str, tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    path = broadcast(tmp_path / "films" / "film.ts", (2, 48_000), second)
    with av.open(str(path)) as captured:
        frames = list(captured.decode(captured.streams.audio[0]))
    kinds = {(frame.layout.nb_channels, frame.sample_rate) for frame in frames}
    assert kinds == {(2, 48_000), second}
    settings = {"scale": 1, "master.codec": "h264", "master.container": container}
    done = mastered.remaster(tmp_path / "films", str(tmp_path / "out"), str(tmp_path / "store"), **settings)
    check = check_master(done.plan, done.profile, done.master, done.records, None)
    assert check.passed, [line for line in check.lines if not line[1]]
    with av.open(done.master.uri) as made:
        held = list(made.decode(made.streams.audio[0]))
    assert {(frame.layout.nb_channels, frame.sample_rate) for frame in held} == {(2, 48_000)}
    seconds = sum(Fraction(frame.samples, frame.sample_rate) for frame in frames)
    assert sum(frame.samples for frame in held) == pytest.approx(seconds * 48_000, abs=64)
    assert max(np.abs(frame.to_ndarray()).max() for frame in held[-4:]) > 0
