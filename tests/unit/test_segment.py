"""Segments give back every sample, are the same bytes every time, and never pass for other frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.errors import SourceError
from tasks.media.picture.pixels import Layout, Planes, to_planes
from tasks.media.reading.source import Source, open_input
from tasks.media.writing.segment import SegmentWriter, read_passing_segment, read_segment, read_segment_frame
from tasks.store import Passing, digest_of
from tests.mastered import flip

LAYOUTS = [
    Layout("yuv", 8, 1, 1),
    Layout("yuv", 10, 1, 1),
    Layout("yuv", 10, 1, 0),
    Layout("yuv", 12, 0, 0),
    Layout("yuv", 16, 1, 1),
    Layout("gray", 10),
    Layout("gray", 16),
    Layout("rgb", 10),
    Layout("rgb", 16),
]


def noise(layout: Layout, height: int, width: int, frames: int = 3) -> list[Planes]:
    rng = np.random.default_rng(height * width)
    shapes = layout.plane_shapes(height, width)
    return [tuple(rng.integers(0, 1 << layout.depth, s).astype(layout.dtype) for s in shapes) for _ in range(frames)]


def write(path: Path, layout: Layout, frames: list[Planes], height: int, width: int, threads: int = 0) -> Source:
    with SegmentWriter(str(path), height, width, layout, 120, threads) as writer:
        for planes in frames:
            writer.write(planes)
    return Source(str(path), path.name)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 33), (96, 128), (300, 400)])
def test_every_sample_comes_back(layout: Layout, height: int, width: int, tmp_path: Path) -> None:
    frames = noise(layout, height, width)
    source = write(tmp_path / "segment.mkv", layout, frames, height, width)
    held = [to_planes(frame, layout) for frame in read_segment(source, layout, 120, 123)]
    for one, other in zip(held, frames, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_frames_are_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    layout = Layout("yuv", 10, 1, 1)
    frames = noise(layout, 300, 400)
    for threads in (1, 2, 5):
        write(tmp_path / f"{threads}.mkv", layout, frames, 300, 400, threads)
    assert len({(tmp_path / f"{threads}.mkv").read_bytes() for threads in (1, 2, 5)}) == 1


@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        (120, 124, "ends at frame 123, not 124"),
        (119, 122, "holds frame 120 where 119 was due"),
        (120, 122, "ends at frame 123, not 122"),
    ],
)
def test_other_frames_than_expected_are_an_error(start: int, stop: int, words: str, tmp_path: Path) -> None:
    layout = Layout("yuv", 10, 1, 1)
    source = write(tmp_path / "segment.mkv", layout, noise(layout, 32, 48), 32, 48)
    with pytest.raises(SourceError, match=f"segment.mkv: {words}; delete it and rerun"):
        list(read_segment(source, layout, start, stop))


def test_a_segment_that_is_read_from_front_to_back_was_hashed_as_it_passed(tmp_path: Path) -> None:
    layout = Layout("yuv", 10, 1, 1)
    source = write(tmp_path / "segment.mkv", layout, noise(layout, 96, 128), 96, 128)
    wanted = [to_planes(frame, layout) for frame in read_segment(source, layout, 120, 123)]
    with (tmp_path / "segment.mkv").open("rb") as file:
        passing = Passing(file)
        held = [to_planes(frame, layout) for frame in read_passing_segment(passing, "segment", layout, 120, 123)]
        found = passing.digest()
    np.testing.assert_equal(held, wanted)
    with (tmp_path / "segment.mkv").open("rb") as file:
        assert found == digest_of(file)


def test_a_damaged_picture_is_an_error_and_never_concealed(tmp_path: Path) -> None:
    layout = Layout("yuv", 8, 1, 1)
    source = write(tmp_path / "segment.mkv", layout, noise(layout, 96, 128), 96, 128)
    whole = (tmp_path / "segment.mkv").read_bytes()
    with open_input(source) as container:
        (_, second, _, _) = container.demux(video=0)
        start = whole.index(bytes(second))
    for offset in (start, start + second.size // 2, start + second.size - 9, start + second.size - 1):
        flip(tmp_path / "segment.mkv", offset)
        for read in (
            lambda: list(read_segment(source, layout, 120, 123)),
            lambda: read_segment_frame(source, layout, 121),
        ):
            with pytest.raises(SourceError, match=r"segment.mkv: frame 121 is damaged; delete it and rerun"):
                read()
        read_segment_frame(source, layout, 122)
        (tmp_path / "segment.mkv").write_bytes(whole)
