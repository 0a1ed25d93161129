"""Black bars are found where every shot has them, kept from the network, and come back exactly black."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tasks.media.picture.bars import Bars, bars_of, black_lines, cut_off, put_back
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.reading.source import Source
from tasks.media.writing.segment import read_segment
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tests.clips import picture

YUV = Layout("yuv", 8, 1, 1)
HEIGHT, WIDTH = 96, 128


def frame(layout: Layout, bars: Bars, noise: int = 0, full: bool = False, height: int = HEIGHT) -> Planes:
    """Something bright between bars that are black but for some noise."""
    draw = np.random.default_rng(0)
    step = 1 << (layout.depth - 8)
    made = []
    for number, (rows, columns) in enumerate(layout.plane_shapes(height, WIDTH)):
        y, x = (layout.chroma_y, layout.chroma_x) if number and layout.family == "yuv" else (0, 0)
        chroma = number > 0 and layout.family == "yuv"
        black = 128 if chroma else 0 if full or layout.family == "rgb" else 16
        plane = black * step + draw.integers(-noise * step if black else 0, noise * step + 1, (rows, columns))
        inside = slice(bars.top >> y, rows - (bars.bottom >> y)), slice(bars.left >> x, columns - (bars.right >> x))
        plane[inside] = draw.integers(90 * step, 110 * step, plane[inside].shape)
        made.append(plane.astype(layout.dtype))
    return tuple(made)


@pytest.mark.parametrize("bars", [Bars(), Bars(12, 12), Bars(0, 0, 16, 16), Bars(10, 14, 6, 8), Bars(20)])
@pytest.mark.parametrize(
    ("layout", "full"),
    [(YUV, False), (YUV, True), (Layout("yuv", 10, 1, 0), False), (Layout("rgb", 8), True), (Layout("gray", 8), False)],
)
def test_lines_are_black_if_they_are_no_further_from_black_than_noise(bars: Bars, layout: Layout, full: bool) -> None:
    found = black_lines(frame(layout, bars, noise=3, full=full), layout, full)
    assert found == (bars.top, bars.bottom, bars.left, bars.right)
    loud = frame(layout, bars, noise=12, full=full)
    assert black_lines(loud, layout, full) == (0, 0, 0, 0)


def test_a_black_frame_is_all_bar_and_says_nothing_of_the_title() -> None:
    black = put_back(tuple(np.zeros((0, 0), np.uint8) for _ in range(3)), YUV, Colour(1, 1, 1, False), Bars(96, 0, 128))
    lines = black_lines(black, YUV, False)
    assert lines == (96, 96, 128, 128)
    assert bars_of(np.array([lines] * 5, np.int32), HEIGHT, WIDTH, YUV) == Bars()
    assert bars_of(np.array([lines, (12, 12, 0, 0)], np.int32), HEIGHT, WIDTH, YUV) == Bars(12, 12)


@pytest.mark.parametrize(
    ("lines", "bars"),
    [
        ([(12, 12, 0, 0), (20, 20, 0, 0)], Bars(12, 12)),  # what all shots share
        ([(12, 12, 0, 0), (0, 0, 16, 16)], Bars()),
        ([(13, 13, 7, 5)], Bars(12, 12, 6, 4)),  # whole steps of the chroma
        ([(3, 3, 0, 0)], Bars()),  # a soft edge
        ([(40, 40, 0, 0)], Bars()),  # hardly a picture
    ],
)
def test_a_titles_bars_are_those_of_all_its_shots(lines: list[tuple[int, ...]], bars: Bars) -> None:
    assert bars_of(np.array(lines, np.int32), HEIGHT, WIDTH, YUV) == bars


@pytest.mark.parametrize("height", [95, 96])
@pytest.mark.parametrize("layout", [YUV, Layout("yuv", 10, 1, 0), Layout("rgb", 10), Layout("gray", 8)])
def test_what_is_cut_off_comes_back_exactly_black(layout: Layout, height: int) -> None:
    bars = Bars(12, 11 if height % 2 else 10, 8, 6)
    colour = Colour(1, 1, 1, False)
    whole = frame(layout, bars, noise=3, height=height)
    inside = cut_off(whole, layout, bars)
    rows, columns = bars.within(height, WIDTH)
    assert [p.shape for p in inside] == list(layout.plane_shapes(rows, columns))
    again = put_back(inside, layout, colour, bars)
    for one, other in zip(again, frame(layout, bars, noise=0, height=height), strict=True):
        assert one.shape == other.shape
    assert black_lines(again, layout, False) == (bars.top, bars.bottom, bars.left, bars.right)
    step = 1 << (layout.depth - 8)
    assert set(np.unique(again[0][: bars.top])) == {0 if layout.family == "rgb" else 16 * step}


def letterboxed(path: Path, bars: bool) -> Path:
    """A lossless film of 64x48 with 8 black rows above and below, or without them."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64 if bars else 48, "yuv420p"
        for number in range(9):
            inside = av.VideoFrame.from_ndarray(picture(number, 64, 48), format="rgb24").reformat(format="yuv420p")
            planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width] for p in inside.planes]
            whole = put_back(tuple(planes), YUV, Colour(1, 1, 1, False), Bars(8, 8) if bars else Bars())
            made = av.VideoFrame.from_ndarray(np.concatenate([p.ravel() for p in whole]).reshape(-1, 64), "yuv420p")
            made.pts = number
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    return path


def upscaled(film: Path, store: Path, **settings: object) -> tuple[Plan, list[np.ndarray]]:
    """Its plan, and the luma of what comes out."""
    profile = read_profile(None, {"scale": 2, "shards.frames": 5, "shards.shortest": 2, **settings})
    (title,) = scan(str(film), str(store / "out"), profile)
    plan = plan_title(title, profile, Store(str(store)))
    worker, lumas = ShardWorker(WorkerSettings("lanczos", threads=1)), []
    for work in plan.work:
        record = worker.upscale(work)
        source = Source(str(store / record.segment), "segment")
        for one in read_segment(source, plan.layout, work.shard.start, work.shard.stop):
            lumas.append(np.frombuffer(one.planes[0], np.uint16).reshape(one.height, -1)[:, : one.width].copy())
    return plan, lumas


def test_the_network_never_sees_bars_and_the_master_has_them_exactly_black(tmp_path: Path) -> None:
    _, alone = upscaled(letterboxed(tmp_path / "alone.mkv", bars=False), tmp_path / "a")
    film = letterboxed(tmp_path / "film.mkv", bars=True)
    plan, boxed = upscaled(film, tmp_path / "b")
    assert (plan.bars, plan.restored, plan.master_size) == (Bars(8, 8), Bars(8, 8), (128, 128))
    assert any("black bars (top 8, bottom 8" in remark for remark in remarks(plan))
    assert len(boxed) == len(alone) == 9
    for one, other in zip(boxed, alone, strict=True):
        assert (one[:16] == 64).all() and (one[-16:] == 64).all()
        np.testing.assert_array_equal(one[16:-16], other)


def test_bars_of_any_scale_are_exactly_black_and_the_network_makes_what_is_between(tmp_path: Path) -> None:
    """8 rows are 10.72: 10 of whole chroma, so that of 85.76, which are 86, 66 are left for 48."""
    plan, boxed = upscaled(letterboxed(tmp_path / "film.mkv", bars=True), tmp_path / "b", scale="1.34")
    assert (plan.master_size, plan.work[0].result, plan.work[0].restored) == ((86, 86), (66, 86), Bars(10, 10))
    assert {luma.shape for luma in boxed} == {(86, 86)}
    for luma in boxed:
        assert (luma[:10] == 64).all() and (luma[-10:] == 64).all() and luma[10:-10].std() > 0


def test_bars_may_be_left_out_or_be_picture_and_the_key_tells(tmp_path: Path) -> None:
    film = letterboxed(tmp_path / "film.mkv", bars=True)
    plans = {}
    for choice, size in (("restore", (128, 128)), ("remove", (96, 128)), ("keep", (128, 128))):
        plans[choice], lumas = upscaled(film, tmp_path / choice, bars=choice)
        assert {luma.shape for luma in lumas} == {size}
        assert plans[choice].master_size == size
    assert len({plan.shards[0].key for plan in plans.values()}) == 3
