"""Frame-exact reading: whatever the range, container and coding, the frames are those of a decode from the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.errors import SourceChanged, SourceError
from tasks.media.cadence.read import Window, read_window, window
from tasks.media.picture.pixels import Layout, Planes, layout_of, to_planes
from tasks.media.reading.source import Source
from tasks.media.reading.timeline import Timeline, read_timeline
from tests.clips import Clip, make

FRAMES = 25
CLOSED = Clip(frames=FRAMES, width=64, height=48, audio="", gop=9, b_frames=3)
_OPEN = "open-gop=1:keyint=9:min-keyint=9:bframes=2:b-adapt=0:scenecut=0"
OPEN = dataclasses.replace(CLOSED, options=(("x264-params", _OPEN),))
OPEN_HEVC = dataclasses.replace(CLOSED, codec="libx265", options=(("x265-params", f"{_OPEN}:log-level=error:info=0"),))
CLIPS = {
    "closed.mp4": CLOSED,
    "closed.mkv": CLOSED,
    "closed.ts": CLOSED,
    "closed.mov": CLOSED,
    "one long group.mp4": dataclasses.replace(CLOSED, gop=250),
    "one long group.ts": dataclasses.replace(CLOSED, gop=250),
    "open.mp4": OPEN,
    "open.mkv": OPEN,
    "open.ts": OPEN,
    "open hevc.mp4": OPEN_HEVC,
    "open hevc.mkv": OPEN_HEVC,
    "broadcast.ts": dataclasses.replace(CLOSED, codec="mpeg2video", b_frames=2, audio="mp2"),
    "divx.avi": dataclasses.replace(CLOSED, codec="mpeg4", b_frames=2),
}


@dataclasses.dataclass(frozen=True)
class Film:
    """A clip, its frame table, and all its frames decoded from the start by PyAV alone."""

    path: Path
    layout: Layout
    timeline: Timeline
    frames: list[Planes]

    @property
    def source(self) -> Source:
        return Source(str(self.path), self.path.name)

    def assert_reads(self, wanted: Window, source: Source | None = None) -> None:
        held = list(read_window(source or self.source, 0, self.layout, wanted))
        assert len(held) == len(wanted.pts)
        for offset, planes in enumerate(held):
            for one, other in zip(planes, self.frames[wanted.start + offset], strict=True):
                np.testing.assert_array_equal(one, other, err_msg=f"{self.path.name} frame {wanted.start + offset}")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Film]:
    folder = tmp_path_factory.mktemp("films")
    return {name: film(make(folder / name, clip)) for name, clip in CLIPS.items()}


def film(path: Path) -> Film:
    with av.open(f"file:{path}") as container:
        shown = list(container.decode(container.streams.video[0]))
    layout = layout_of(shown[0].format.name, path.name)
    table = read_timeline(Source(str(path), path.name), 0)
    return Film(path, layout, table, [to_planes(frame, layout) for frame in shown])


def ranges(every: bool) -> Iterator[tuple[int, int]]:
    for start in range(FRAMES):
        for stop in range(start + 1, FRAMES + 1):
            if every or stop - start in {1, 2, 7} or stop == FRAMES:
                yield start, stop


def test_clips_are_of_the_kinds_these_tests_are_about(films: dict[str, Film]) -> None:
    for name, clip in films.items():
        keys = np.flatnonzero(clip.timeline.key).tolist()
        assert len(keys) == 1 if "long" in name else len(keys) >= 3, name
    for name in ("open.mkv", "open hevc.mkv"):
        with av.open(str(films[name].path)) as container:
            packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        second_key = [p.is_keyframe for p in packets].index(True, 1)
        leading = [p for p in packets[second_key + 1 :] if p.pts < packets[second_key].pts]
        assert leading, f"{name}: no frame after the key frame is shown before it"


@pytest.mark.parametrize("name", CLIPS)
def test_a_window_gives_exactly_its_frames(name: str, films: dict[str, Film]) -> None:
    clip = films[name]
    assert len(clip.frames) == len(clip.timeline) == FRAMES
    for start, stop in ranges(every=name == "closed.mp4"):
        clip.assert_reads(window(clip.timeline, start, stop))


@pytest.mark.parametrize("name", ["closed.mp4", "open.ts", "open hevc.mkv"])
def test_a_file_object_reads_like_a_path(name: str, films: dict[str, Film]) -> None:
    clip = films[name]
    with clip.path.open("rb") as file:
        for place in (file, BytesIO(clip.path.read_bytes())):
            source = Source(place, clip.path.name)
            for start, stop in ((0, 25), (10, 14), (24, 25), (8, 9), (0, 1)):
                clip.assert_reads(window(clip.timeline, start, stop), source)


@pytest.mark.parametrize("name", ["closed.mp4", "closed.mkv", "closed.ts", "open hevc.mp4"])
@pytest.mark.parametrize(
    "seeks",
    [
        pytest.param(lambda pts: (pts[18],), id="to a later group"),
        pytest.param(lambda pts: (pts[24] * 1000,), id="past the end"),
        pytest.param(lambda pts: (-(10**12),), id="long before the start"),
        pytest.param(lambda pts: (2**62, pts[20], pts[12]), id="ever nonsense"),
        pytest.param(lambda pts: (pts[11],), id="into the middle of a group"),
        pytest.param(lambda pts: (), id="nowhere"),
    ],
)
def test_a_seek_that_goes_wrong_is_made_good(name: str, seeks: object, films: dict[str, Film]) -> None:
    clip = films[name]
    good = window(clip.timeline, 10, 15)
    assert callable(seeks)
    clip.assert_reads(dataclasses.replace(good, seeks=seeks(clip.timeline.pts.tolist())))


def test_seeks_go_to_the_nearest_key_frames_at_or_before_the_first_frame(films: dict[str, Film]) -> None:
    table = films["open.mp4"].timeline
    assert np.flatnonzero(table.key).tolist() == [0, 9, 18]
    pts = table.pts.tolist()
    assert window(table, 20, 25).seeks == (pts[18], pts[9])
    assert window(table, 18, 19).seeks == (pts[18], pts[9])
    assert window(table, 17, 25).seeks == (pts[9],)
    assert window(table, 5, 25).seeks == ()


def test_a_seek_saves_decoding_what_lies_before(films: dict[str, Film], monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    def spy(frame: av.VideoFrame, layout: Layout) -> Planes:
        looked_at.append(frame.pts)
        return to_planes(frame, layout)

    monkeypatch.setattr("tasks.media.cadence.read.to_planes", spy)
    clip = films["closed.mkv"]
    clip.assert_reads(window(clip.timeline, 20, 22))
    assert looked_at == clip.timeline.pts[20:22].tolist()


@pytest.mark.parametrize("place", [0, 7, 12, 24])
def test_a_picture_that_is_not_the_planned_one_is_named(place: int, films: dict[str, Film]) -> None:
    """Everything before it comes out once, however often the reader starts again."""
    clip = films["closed.mp4"]
    good = window(clip.timeline, 0, FRAMES)
    sums = list(good.checksum)
    sums[place] ^= 1
    held: list[Planes] = []
    reading = read_window(clip.source, 0, clip.layout, dataclasses.replace(good, checksum=tuple(sums)))
    with pytest.raises(SourceChanged, match=rf"closed\.mp4: frame {place} is not the frame .* planned.*Run again"):
        held.extend(reading)
    assert len(held) == place


def test_the_frame_is_named_by_its_number_in_the_title(films: dict[str, Film]) -> None:
    clip = films["closed.mkv"]
    good = window(clip.timeline, 12, 20)
    changed = dataclasses.replace(good, checksum=(*good.checksum[:3], 1, *good.checksum[4:]))
    with pytest.raises(SourceChanged, match="frame 15 is not"):
        list(read_window(clip.source, 0, clip.layout, changed))


def test_a_time_that_is_not_the_planned_one_is_named(films: dict[str, Film]) -> None:
    clip = films["closed.mkv"]
    good = window(clip.timeline, 12, 20)
    moved = dataclasses.replace(good, pts=(*good.pts[:5], good.pts[5] + 1, *good.pts[6:]))
    with pytest.raises(SourceChanged, match="frame 17 is not"):
        list(read_window(clip.source, 0, clip.layout, moved))


def test_a_source_that_was_replaced_by_a_shorter_one_is_noticed(films: dict[str, Film], tmp_path: Path) -> None:
    planned = films["closed.mkv"]
    shorter = make(tmp_path / "closed.mkv", dataclasses.replace(CLOSED, frames=14, options=(("crf", "20"),)))
    wanted = window(planned.timeline, 5, FRAMES)
    with pytest.raises(SourceChanged, match=r"frame \d+ is not the frame that was planned"):
        list(read_window(Source(str(shorter), "closed.mkv"), 0, planned.layout, wanted))


def test_a_source_that_is_gone_is_an_error_of_the_source(films: dict[str, Film], tmp_path: Path) -> None:
    clip = films["closed.mp4"]
    with pytest.raises(SourceError, match=r"gone\.mp4: cannot be opened"):
        list(read_window(Source(str(tmp_path / "gone.mp4"), "gone.mp4"), 0, clip.layout, window(clip.timeline, 0, 3)))
