"""The frame table of a title, against the same file decoded with PyAV alone."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.errors import UnsupportedSource
from tasks.media.picture.pixels import checksum, layout_of, to_planes
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import BOTTOM_FIRST, PROGRESSIVE, TOP_FIRST, Timeline, read_timeline
from tests import broken
from tests.clips import Clip, make, picture

SMALL = Clip(frames=25, width=64, height=48, audio="", gop=9, b_frames=3)


def table(path: Path, stream: int = 0) -> Timeline:
    return read_timeline(Source(str(path), path.name), stream)


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(f"file:{path}") as container:
        return list(container.decode(container.streams.video[0]))


def assert_table_is_right(found: Timeline, path: Path, frames: int) -> None:
    shown = decoded(path)
    assert len(found) == len(shown) == frames
    assert found.pts.tolist() == [frame.pts for frame in shown]
    assert (np.diff(found.pts) > 0).all()
    layout = layout_of(shown[0].format.name, path.name)
    assert found.checksum.tolist() == [checksum(to_planes(frame, layout)) for frame in shown]
    with av.open(f"file:{path}") as container:
        keys = sorted(p.pts for p in container.demux(container.streams.video[0]) if p.size and p.is_keyframe)
    assert found.pts[found.key].tolist() == keys
    for field in dataclasses.fields(Timeline):
        assert len(getattr(found, field.name)) == frames


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts"])
def test_every_frame_has_a_row_in_the_order_shown(ending: str, tmp_path: Path) -> None:
    """With B-frames throughout, the last group included: they leave the decoder only when it is flushed."""
    path = make(tmp_path / f"clip.{ending}", SMALL)
    assert_table_is_right(table(path), path, 25)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_titles_of_a_frame_or_two_are_titles(frames: int, tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", dataclasses.replace(SMALL, frames=frames))
    assert_table_is_right(table(path), path, frames)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("libx264", "yuv444p"), ("libx265", "yuv420p10le"), ("ffv1", "gray"), ("ffv1", "gbrp10le"), ("rawvideo", "pal8")],
)
def test_other_pixel_formats_have_tables_too(codec: str, pix_fmt: str, tmp_path: Path) -> None:
    if pix_fmt == "pal8":
        path = tmp_path / "clip.mov"
        _write_raw(path, [_paletted(number) for number in range(6)])
    else:
        path = make(
            tmp_path / "clip.mkv", dataclasses.replace(SMALL, frames=6, codec=codec, pix_fmt=pix_fmt, cuts=(3,))
        )
    found = table(path)
    assert_table_is_right(found, path, 6)
    if pix_fmt != "pal8":
        assert np.flatnonzero(found.scene > 10).tolist() == [3]


@pytest.mark.parametrize("cuts", [(), (1,), (7, 15), (24,)])
def test_shots_begin_where_they_were_made_to(cuts: tuple[int, ...], tmp_path: Path) -> None:
    """The score of a cut stands out from that of motion."""
    path = make(tmp_path / "clip.mp4", dataclasses.replace(SMALL, cuts=cuts, width=96, height=64))
    scene = table(path).scene
    assert np.flatnonzero(scene > 10).tolist() == list(cuts)
    assert (np.delete(scene, cuts) < 6).all()


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_irregular_times_are_kept_to_the_tick(ending: str, tmp_path: Path) -> None:
    times = [40 * n + (n * n * 7) % 23 for n in range(20)]
    path = make(
        tmp_path / f"clip.{ending}", dataclasses.replace(SMALL, frames=20, time_base=Fraction(1, 1000), pts=times)
    )
    found = table(path)
    assert_table_is_right(found, path, 20)
    with av.open(f"file:{path}") as container:
        base = container.streams.video[0].time_base
    assert base is not None
    assert [int(pts) * base for pts in found.pts] == [Fraction(t, 1000) for t in times]


@pytest.mark.parametrize(("ending", "ticks"), [("mp4", 600), ("mkv", 1000), ("ts", 90_000)])
def test_a_late_start_is_kept(ending: str, ticks: int, tmp_path: Path) -> None:
    times = [ticks * 2 + round(ticks * n / 24) for n in range(12)]
    clip = dataclasses.replace(SMALL, frames=12, time_base=Fraction(1, ticks), pts=times)
    path = make(tmp_path / f"clip.{ending}", clip)
    found = table(path)
    assert_table_is_right(found, path, 12)
    with av.open(f"file:{path}") as container:
        base = container.streams.video[0].time_base
    assert base is not None
    assert int(found.pts[0]) * base >= 2
    assert np.diff([int(pts) * base * ticks for pts in found.pts]).tolist() == np.diff(times).tolist()


def test_a_file_object_gives_the_table_of_the_file(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", SMALL)
    from_memory = read_timeline(Source(BytesIO(path.read_bytes()), "clip"), 0)
    for field in dataclasses.fields(Timeline):
        np.testing.assert_array_equal(getattr(from_memory, field.name), getattr(table(path), field.name))


def test_sound_and_other_streams_do_not_disturb_the_table(tmp_path: Path) -> None:
    alone = table(make(tmp_path / "alone.mkv", SMALL))
    path = make(tmp_path / "beside.mkv", dataclasses.replace(SMALL, audio="flac", subtitle=True, attachment=True))
    np.testing.assert_array_equal(table(path).checksum, alone.checksum)
    np.testing.assert_array_equal(table(path).pts, alone.pts)


@pytest.mark.parametrize("top_first", [True, False])
def test_combed_pictures_are_told_from_whole_ones(top_first: bool, tmp_path: Path) -> None:
    """Rows of two moments woven together; idet needs a few frames to be sure."""
    whole = [_gray(picture(4 * n, 160, 96)[..., 0]) for n in range(24)]
    woven = []
    for n in range(24):
        first, second = picture(4 * n, 160, 96)[..., 0], picture(4 * n + 2, 160, 96)[..., 0]
        mixed = first.copy()
        mixed[1 if top_first else 0 :: 2] = second[1 if top_first else 0 :: 2]
        woven.append(_gray(mixed))
    _write_raw(tmp_path / "whole.mkv", whole, "ffv1")
    _write_raw(tmp_path / "woven.mkv", woven, "ffv1")
    assert (table(tmp_path / "whole.mkv").fields == PROGRESSIVE).mean() > 0.7
    assert (table(tmp_path / "woven.mkv").fields == (TOP_FIRST if top_first else BOTTOM_FIRST)).mean() > 0.7


@pytest.mark.parametrize(("flag", "interlaced"), [("tff=1", True), ("interlaced=0", False)])
def test_frames_coded_as_interlaced_are_flagged(flag: str, interlaced: bool, tmp_path: Path) -> None:
    clip = dataclasses.replace(SMALL, frames=5, height=64, options=(("x264-params", flag),))
    assert (table(make(tmp_path / "clip.mkv", clip)).flagged == interlaced).all()


def test_a_picture_that_changes_size_is_refused_with_the_place(tmp_path: Path) -> None:
    start = make(
        tmp_path / "a.ts",
        dataclasses.replace(SMALL, frames=9, pts=[9000 * n for n in range(9)], time_base=Fraction(1, 90_000)),
    )
    rest = make(
        tmp_path / "b.ts",
        dataclasses.replace(
            SMALL, frames=9, width=96, pts=[9000 * n for n in range(9, 18)], time_base=Fraction(1, 90_000)
        ),
    )
    both = tmp_path / "both.ts"
    both.write_bytes(start.read_bytes() + rest.read_bytes())
    with pytest.raises(UnsupportedSource, match=r"both\.ts: changes from .*64.* to .*96.* at frame 9; split the file"):
        table(both)


def test_the_command_that_splits_such_a_file_gives_titles(tmp_path: Path) -> None:
    film = broken.size_changes(tmp_path / "film.ts")
    with pytest.raises(UnsupportedSource) as raised:
        table(film)
    (command,) = re.findall("`ffmpeg (.*?)`", str(raised.value))
    places = {"IN": str(film), "OUT%d.ts": str(tmp_path / "part%d.ts")}
    arguments = [places.get(word, word) for word in command.split()]
    subprocess.run([broken.FFMPEG, "-loglevel", "error", *arguments], check=True)
    parts = [table(tmp_path / f"part{number}.ts") for number in range(2)]
    assert [len(part) for part in parts] == [12, 12]


def _gray(plane: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(plane), format="gray")


def _paletted(number: int) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, "pal8")
    indices = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
    indices[:48, :64] = picture(number, 64, 48)[..., 1]
    np.frombuffer(frame.planes[1], np.uint8)[:1024] = np.repeat(np.arange(256, dtype=np.uint8), 4) | np.tile(
        np.array([0, 0, 0, 255], np.uint8), 256
    )
    return frame


def _write_raw(path: Path, frames: list[av.VideoFrame], codec: str = "rawvideo") -> None:
    with av.open(f"file:{path}", "w", format="matroska" if path.suffix == ".mkv" else None) as output:
        stream = output.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
