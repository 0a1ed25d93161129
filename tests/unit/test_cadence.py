"""Fields become pictures: the same ones whichever part of a title is read, in the format they came in."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.media.cadence import CONTEXT, Evidence, gather, pictures
from tasks.media.pixels import Layout, Planes
from tasks.media.timeline import BOTTOM_FIRST, PROGRESSIVE, TOP_FIRST, UNDETERMINED, Timeline

LAYOUTS = [
    Layout("yuv", 8, 1, 1), Layout("yuv", 10, 1, 0), Layout("yuv", 12, 0, 0), Layout("gray", 8), Layout("gray", 16),
    Layout("rgb", 8), Layout("rgb", 10), Layout("yuv", 16, 1, 1),
]  # fmt: skip


def moving(number: float, layout: Layout, height: int, width: int) -> Planes:
    """A smooth pattern that moves by two pixels for each number."""
    planes = []
    for rows, columns in layout.plane_shapes(height, width):
        y, x = np.arange(rows)[:, None] / rows, np.arange(columns)[None, :] / columns
        wave = 0.5 + 0.4 * np.sin(12 * (x - 2 * number / width) + 5 * y)
        planes.append((wave * ((1 << layout.depth) - 1)).astype(layout.dtype))
    return tuple(planes)


def woven(frames: int, layout: Layout, height: int, width: int, top_first: bool = True) -> list[Planes]:
    """Frames of two moments each, and so of two fields."""
    made = []
    for n in range(frames):
        early, late = moving(n, layout, height, width), moving(n + 0.5, layout, height, width)
        first = 0 if top_first else 1
        pair = tuple(np.array(plane) for plane in late)
        for plane, now in zip(pair, early, strict=True):
            plane[first::2] = now[first::2]
        made.append(pair)
    return made


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
def test_every_frame_comes_out_as_a_picture_of_its_layout(layout: Layout) -> None:
    frames = woven(5, layout, 36, 50)
    out = list(pictures(iter(frames), layout, "top"))
    assert len(out) == 5
    for planes, source in zip(out, frames, strict=True):
        assert [plane.shape for plane in planes] == [plane.shape for plane in source]
        assert all(plane.dtype == layout.dtype for plane in planes)
        np.testing.assert_array_equal(planes[0][::2], source[0][::2])  # the first field is kept as it is


@pytest.mark.parametrize(("first", "stop"), [(0, 4), (3, 9), (8, 12), (5, 6)])
def test_a_part_with_its_neighbours_is_that_part_of_the_whole(first: int, stop: int) -> None:
    layout = Layout("yuv", 8, 1, 1)
    frames = woven(12, layout, 48, 64)
    whole = list(pictures(iter(frames), layout, "top"))
    start, end = max(0, first - CONTEXT), min(12, stop + CONTEXT)
    part = list(pictures(iter(frames[start:end]), layout, "top"))[first - start :][: stop - first]
    for one, other in zip(part, whole[first:stop], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("top_first", [True, False])
def test_the_right_field_order_gives_the_picture_of_the_moment(top_first: bool) -> None:
    layout = Layout("gray", 8)
    frames = woven(8, layout, 64, 64, top_first)
    truth = [moving(n, layout, 64, 64)[0].astype(int) for n in range(8)]

    def error(made: list[Planes]) -> float:
        inner = zip(made[2:6], truth[2:6], strict=True)
        return float(np.mean([np.abs(planes[0].astype(int) - wanted).mean() for planes, wanted in inner]))

    right, wrong = ("top", "bottom") if top_first else ("bottom", "top")
    assert error(list(pictures(iter(frames), layout, right))) < 0.5  # type: ignore[arg-type]
    assert error(list(pictures(iter(frames), layout, wrong))) > 1.0  # type: ignore[arg-type]
    assert error(frames) > 1.0


def test_progressive_frames_are_not_touched() -> None:
    layout = Layout("yuv", 8, 1, 1)
    frames = woven(3, layout, 16, 16)
    assert list(pictures(iter(frames), layout, "progressive")) == frames
    assert list(pictures(iter([]), layout, "top")) == []


def timeline(fields: list[int], flagged: int) -> Timeline:
    n = len(fields)
    return Timeline(
        pts=np.arange(n), duration=np.ones(n, np.int64), checksum=np.zeros(n, np.uint32), key=np.ones(n, bool),
        scene=np.zeros(n, np.float32), flagged=np.arange(n) < flagged, fields=np.array(fields, np.uint8),
        captions=np.zeros(n, bool), black=np.zeros((n, 4), np.int32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "flagged", "field_order", "height", "interlaced", "top_first"),
    [
        ([TOP_FIRST] * 20, 20, 2, 576, True, True),
        ([BOTTOM_FIRST] * 20, 20, 2, 576, True, False),  # the file lies
        ([TOP_FIRST] * 9 + [BOTTOM_FIRST] * 9, 20, 3, 576, True, False),  # still pictures: the file's word
        ([UNDETERMINED] * 20, 20, 3, 576, True, False),
        ([UNDETERMINED] * 20, 20, 0, 576, True, True),
        ([PROGRESSIVE] * 20, 20, 2, 576, False, True),  # progressive in an interlaced stream
        ([TOP_FIRST] * 16 + [PROGRESSIVE] * 4, 0, 0, 576, True, True),
        ([TOP_FIRST] * 10 + [PROGRESSIVE] * 10, 0, 0, 576, False, True),
        ([TOP_FIRST] * 20, 0, 0, 144, False, True),  # too small for fields
    ],
)
def test_the_verdict_follows_the_evidence(
    fields: list[int], flagged: int, field_order: int, height: int, interlaced: bool, top_first: bool
) -> None:
    evidence = gather(timeline(fields, flagged), field_order)
    assert evidence.interlaced(height) == interlaced
    assert evidence.top_first == top_first
    order = "top" if top_first else "bottom"
    assert evidence.words().startswith(f"{order} field first; ")
    assert isinstance(evidence, Evidence)
