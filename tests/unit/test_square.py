"""Square pixels by choice: the picture is shown as it was, and all that looks at the master knows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tasks.check import check_master
from tasks.errors import UnsupportedSource
from tasks.finish import master_key
from tasks.media.contract.contract import compare
from tasks.media.picture.bars import Bars
from tasks.media.picture.colour import Colour, Siting, sited, to_rgb
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.picture.size import Enlargement
from tasks.media.picture.square import square
from tasks.media.reading.source import Source
from tasks.media.writing.display_size import say_display_size
from tasks.pictures import likeness_of
from tasks.profile import read_profile
from tasks.remarks import remarks
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.hdr import PQ
from tests.mastered import Mastered

CPU = torch.device("cpu")
SQUARE = {"master.pixel_aspect": "square"}
ROWS, COLUMNS, RADIUS = 96, 128, 30


def circle(path: Path, aspect: Fraction, codec: str = "libx264", pix_fmt: str = "yuv420p", rotation: int = 0) -> Path:
    """A film of a white circle, as players show it, on dark ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS] + 0.5
    far = np.hypot((x - COLUMNS / 2) * float(aspect), y - ROWS / 2) / min(float(aspect), 1)
    disc = np.clip(RADIUS - far + 0.5, 0, 1)[..., None] * (190, 200, 210) + 20
    with av.open(f"file:{path}", "w") as output:
        stream = output.add_stream(codec, rate=24, options={"qp": "1"} if codec == "libx264" else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, pix_fmt
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(6):
            lit = np.clip(disc - 3 * number, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(lit, format="rgb24").reformat(format=pix_fmt)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def squared(folder: Path, out: str = "out", **settings: Any) -> Mastered:
    return mastered.remaster(folder / "films", str(folder / out), str(folder / "store"), **{**SQUARE, **settings})


def lines_of(made: Mastered) -> tuple[tuple[str, bool, str], ...]:
    likeness = likeness_of(made.master, made.plan, Store(made.store))
    return check_master(made.plan, made.profile, made.master, made.records, likeness).lines


def shape_of_disc(path: str) -> float:
    """Width to height of what is bright in the first frame, in samples, by its moments."""
    with av.open(f"file:{path}") as container:
        frame = next(container.decode(video=0))
    luma = frame.to_ndarray(format="gray").astype(np.float64)
    light = np.clip((luma - 60) / 100, 0, 1)
    y, x = np.mgrid[0 : luma.shape[0], 0 : luma.shape[1]]
    across, down = (((light * (axis - (light * axis).sum() / light.sum()) ** 2).sum()) for axis in (x, y))
    return float(np.sqrt(across / down))


@pytest.mark.parametrize(
    ("name", "aspect", "size", "settings"),
    [
        ("film.mp4", Fraction(16, 15), (274, 192), {}),  # 273.07
        ("film.mov", Fraction(3, 4), (256, 256), {"master.codec": "prores", "master.preset": None}),
        ("film.mkv", Fraction(64, 45), (364, 192), {"master.codec": "ffv1", "master.preset": None}),  # 364.09
        ("film.mkv", Fraction(8, 9), (170, 144), {"scale": "4/3"}),  # 170.67 x 128, and that times 9/8
        ("film.mp4", Fraction(40, 33), (310, 192), {"master.codec": "vp9", "master.preset": "8"}),  # 310.3
    ],
)
def test_a_circle_is_round_without_anybodys_being_told(
    name: str, aspect: Fraction, size: tuple[int, int], settings: dict[str, Any], tmp_path: Path
) -> None:
    film = circle(tmp_path / "films" / name, aspect, rotation=90 if name.endswith("mp4") else 0)
    assert shape_of_disc(str(film)) == pytest.approx(1 / aspect, abs=0.01)
    made = squared(tmp_path, **settings)
    assert made.plan.master_size == size[::-1]
    assert shape_of_disc(made.master.uri) == pytest.approx(1, abs=0.01)
    with av.open(made.master.uri) as held:
        stream = held.streams.video[0]
        assert (stream.width, stream.height) == size
        assert (stream.sample_aspect_ratio or 1) == 1
    assert [line for line in lines_of(made) if not line[1]] == []
    rows = {row.name: row for row in compare(Source(str(film), "film"), Source(made.master.uri, "master"))}
    assert [row for row in rows.values() if row.verdict == "lost"] == []
    assert rows["pixel aspect"].verdict == "changed" and "squared by choice" in rows["pixel aspect"].note
    assert "with square pixels" in rows["size"].note
    assert any(f"the master of {size[0]}x{size[1]} has square ones" in remark for remark in remarks(made.plan))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mastered, Mastered]:
    """One film twice, as it is and with square pixels, by one store."""
    folder = tmp_path_factory.mktemp("both")
    circle(folder / "films" / "film.mkv", Fraction(16, 15))
    kept = squared(folder, "kept", **{"master.pixel_aspect": "keep"})
    return kept, squared(folder)


def test_segments_are_the_same_and_made_once(both: tuple[Mastered, Mastered]) -> None:
    kept, other = both
    assert kept.plan.shards == other.plan.shards and kept.records == other.records
    assert kept.plan.work == other.plan.work
    assert kept.plan.segment_size == other.plan.segment_size == kept.plan.master_size != other.plan.master_size
    assert kept.master.key != other.master.key


def test_the_receipt_says_what_was_asked(both: tuple[Mastered, Mastered]) -> None:
    assert [made.receipt.profile["master"]["pixel_aspect"] for made in both] == ["keep", "square"]
    assert [made.receipt.check for made in both] == [[], []]


def test_a_master_that_is_not_what_was_asked_fails_its_check(both: tuple[Mastered, Mastered]) -> None:
    kept, other = both
    for plan, master in ((kept.plan, other.master), (other.plan, kept.master)):
        lines = check_master(plan, kept.profile, master, kept.records, None).lines
        assert [name for name, passed, _ in lines if not passed] == ["size", "pixel aspect"]


def test_pixels_that_are_square_already_stay_as_they_are(tmp_path: Path) -> None:
    """And nothing is made anew for a choice that changes nothing."""
    circle(tmp_path / "films" / "film.mkv", Fraction(1))
    made = squared(tmp_path)
    keep = read_profile(None, mastered.SETTINGS)
    assert not made.plan.squared and made.plan.master_size == made.plan.segment_size
    assert master_key(made.plan, keep, made.records, Store(made.output)) == made.master.key


@pytest.mark.parametrize(("width", "verdict"), [(140, "lost"), (136, "changed"), (134, "lost"), (128, "lost")])
def test_sides_that_do_not_show_the_picture_as_it_was_are_seen(width: int, verdict: str, tmp_path: Path) -> None:
    """Without a word of the choice, by two files alone: 128 of 16/15 are 136.53."""
    clip = Clip(frames=3, width=128, height=96, audio="", sample_aspect=Fraction(16, 15))
    source = make(tmp_path / "source.mp4", clip)
    master = make(tmp_path / "master.mp4", replace(clip, width=width, sample_aspect=Fraction(1)))
    rows = {row.name: row for row in compare(Source(str(source), "source"), Source(str(master), "master"))}
    assert rows["pixel aspect"].verdict == verdict


LAYOUTS = [Layout("yuv", 16, 1, 1), Layout("yuv", 16, 1, 0), Layout("yuv", 16), Layout("yuv", 16, 1, 1, alpha=True)]


def ramps(layout: Layout, colour: Colour, height: int, width: int, slope: tuple[float, float]) -> Planes:
    """The same ramp down and across in every plane, by where its samples lie; `slope` in codes a pixel."""

    def places(count: int, shift: int, on_first: bool) -> np.ndarray:
        """From the picture's edge, in pixels."""
        return np.arange(count) * (1 << shift) + (0.5 if on_first or not shift else 1.0)

    on_x, on_y = sited(colour.siting)
    planes = []
    for number, (rows, columns) in enumerate(layout.plane_shapes(height, width)):
        shift_y, shift_x = (layout.chroma_y, layout.chroma_x) if number in {1, 2} else (0, 0)
        down, across = places(rows, shift_y, on_y), places(columns, shift_x, on_x)
        planes.append(np.add.outer(down * slope[0], across * slope[1]).round().astype(np.uint16))
    return tuple(planes)


@pytest.mark.parametrize("siting", ["left", "centre", "topleft", "top"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(3, 4)])
@pytest.mark.parametrize("size", [(48, 60), (51, 63)])
def test_colours_stay_where_their_light_is(
    siting: Siting, layout: Layout, aspect: Fraction, size: tuple[int, int]
) -> None:
    """Planes that are one ramp before are one after: an odd side counts as what its samples of chroma cover."""
    colour = Colour(1, 1, 1, True, siting)
    wanted = Enlargement(1).squared(aspect, layout).size(*size)
    made = square(ramps(layout, colour, *size, (400, 500)), layout, colour, wanted, Bars(), Bars())
    grown = [
        (-(-before // (1 << shift)) << shift) / after if before != after else 1
        for before, after, shift in zip(size, wanted, (layout.chroma_y, layout.chroma_x), strict=True)
    ]
    same = ramps(layout, colour, *wanted, (400 * grown[0], 500 * grown[1]))
    inner = (slice(8, -8), slice(8, -8))
    for one, other in zip(made, same, strict=True):
        assert one.shape == other.shape
        apart = one[inner].astype(int) - other[inner]
        # Lanczos ripples on a ramp, by a fortieth of a sample, which may be two pixels; where they lie is exact.
        assert abs(apart.mean()) < 2 and np.abs(apart).max() < 2 * 500 / 40


@pytest.mark.parametrize("layout", [Layout("yuv", 10, 1, 1), Layout("gray", 8), Layout("rgb", 12), Layout("light", 16)])
def test_bars_stay_black_to_the_code_and_a_flat_picture_flat(layout: Layout) -> None:
    colour = Colour(0 if layout.family in {"rgb", "light"} else 1, 1, 1, layout.family in {"rgb", "light"})
    bars = Bars(left=12, right=20) if layout.family != "light" else Bars()
    black = [0 if layout.family == "rgb" else 16 << (layout.depth - 8), *([1 << (layout.depth - 1)] * 2)]
    if layout.family == "rgb":
        black = [0, 0, 0]
    shapes = layout.plane_shapes(40, 80)
    planes = tuple(np.full(shape, (1 << layout.depth) * 3 // 5, layout.dtype) for shape in shapes)
    for plane, code, (_, columns) in zip(planes, black, shapes, strict=False):
        step = 80 // columns
        plane[:, : bars.left // step] = plane[:, (80 - bars.right) // step :] = code if bars else plane[0, 40 // step]
    way = Enlargement(1).squared(Fraction(16, 15), layout)
    around, (rows, columns) = way.bars(bars, 40, 80), way.size(40, 80)
    made = square(planes, layout, colour, (rows, columns), bars, around)
    for plane, code, (height, width) in zip(made, black, layout.plane_shapes(rows, columns), strict=False):
        assert plane.shape == (height, width)
        step = columns // width
        left, right = around.left // step, width - around.right // step
        assert set(np.unique(plane[:, left:right])) == {(1 << layout.depth) * 3 // 5}
        assert set(np.unique(plane[:, :left])) | set(np.unique(plane[:, right:])) <= {code}


def test_hdr_becomes_no_brighter() -> None:
    """At an edge Lanczos overshoots by far."""
    layout, colour = Layout("yuv", 10, 1, 1), Colour(9, 9, PQ, False, "topleft")
    luma = np.full((48, 64), 200, np.uint16)
    luma[:, 20:40] = 800
    planes = (luma, np.full((24, 32), 512, np.uint16), np.full((24, 32), 512, np.uint16))
    wanted = Enlargement(1).squared(Fraction(4, 3), layout).size(48, 64)
    made = square(planes, layout, colour, wanted, Bars(), Bars())
    assert made[0].max() == 800 and made[0].min() == 200
    assert to_rgb([made], layout, colour, CPU).max() <= to_rgb([planes], layout, colour, CPU).max()
    plain = square(planes, layout, replace(colour, transfer=1), wanted, Bars(), Bars())
    assert plain[0].max() > 810


def test_a_header_that_promises_a_picture_without_end_is_refused(tmp_path: Path) -> None:
    """64x48 pixels that are each a million times as wide as high."""
    make(tmp_path / "films" / "film.mkv", Clip(frames=3, audio="", codec="libvpx-vp9", colour=None))
    say_display_size(str(tmp_path / "films" / "film.mkv"), 0, Fraction(1_000_000))
    with pytest.raises(UnsupportedSource, match="with square pixels: has 3,072,000,000 pixels a frame"):
        squared(tmp_path)
