"""Pictures made of fields: those that were there before, at their times, whichever part of a title is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from tasks.media.cadence.cadence import Part
from tasks.media.cadence.fields import Fields, measure
from tasks.media.cadence.recipe import Choice, Pictures, pictures_of
from tasks.media.cadence.weave import pictures
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.reading.timeline import PROGRESSIVE, Timeline
from tests.fielded import LAYOUT, film, shifted, telecined, video
from tests.unit.test_cadence import timeline

BASE = Fraction(1, 30000)
AS_IT_IS = Choice()
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


def decided(
    *parts: Part, fields: Fields | None = None, table: Timeline | None = None, choice: Choice = AS_IT_IS
) -> Pictures:
    table = table or timeline([PROGRESSIVE] * parts[-1].stop, 0)
    return pictures_of(parts, table, BASE, fields, choice)


def made(book: Pictures, frames: Sequence[Planes], start: int = 0, stop: int | None = None) -> list[Planes]:
    """Pictures [start, stop) of a title, of no more frames than they need."""
    stop = len(book) if stop is None else stop
    first, last = book.frames(start, stop, len(frames))
    layout = LAYOUT if len(frames[0]) == 3 and frames[0][0].dtype == np.uint8 else Layout("gray", 8)
    return list(pictures(iter(frames[first:last]), first, layout, book.recipe(start, stop)))


def assert_same(one: Sequence[Planes], other: Sequence[Planes]) -> None:
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("top_first", [True, False])
def test_inverse_telecine_gives_back_every_picture_of_the_film(top_first: bool) -> None:
    originals = film(24)
    frames = telecined(originals, top_first)
    book = decided(Part(0, 30, "telecine", top_first), fields=measure(iter(frames), LAYOUT))
    assert_same(made(book, frames), originals)
    assert book.time_base == BASE / 4
    assert book.shown.pts.tolist() == [n * 5005 for n in range(24)]  # exactly 24000/1001 a second
    assert int(book.shown.pts[-1] + book.shown.duration[-1]) == 30 * 1001 * 4
    assert book.rate(Fraction(30000, 1001), 30) == Fraction(24000, 1001)


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_a_film_that_begins_and_ends_within_five_frames_loses_nothing(left_out: int) -> None:
    originals = film(16)
    frames = telecined(originals)[left_out : 20 - left_out]
    part = Part(0, len(frames), "telecine", True, 5 - left_out)
    book = decided(part, fields=measure(iter(frames), LAYOUT))
    got = made(book, frames)
    # Pictures of which both fields are there; of the first one there may be a single field left.
    whole = [p for p in originals if any((p[0] == g[0]).all() for g in got)]
    assert len(whole) >= len(got) - 1
    assert int(book.shown.pts[0]) == 0
    assert (np.diff(book.shown.pts) > 0).all()
    end = book.shown.pts[-1] + book.shown.duration[-1]
    assert end * book.time_base == len(frames) * 1001 * BASE


def test_the_two_fields_of_a_shifted_picture_are_put_together() -> None:
    originals = film(12)
    frames = shifted(originals)
    book = decided(Part(0, 11, "shifted"))
    assert_same(made(book, frames)[1:], originals[1:11])
    assert book.time_base == BASE
    np.testing.assert_array_equal(book.shown.pts, np.arange(11) * 1001)


@pytest.mark.parametrize("top_first", [True, False])
def test_the_right_field_order_gives_the_pictures_of_the_moments(top_first: bool) -> None:
    layout = Layout("gray", 8)
    moments = [moving(n, layout, 64, 64) for n in range(16)]
    frames = video(moments, top_first)

    def error(order: bool, double: bool) -> float:
        part = Part(0, 8, "top" if order else "bottom", order)
        found = made(decided(part, choice=Choice(double=double)), frames)
        truth = moments if double else moments[::2]
        assert len(found) == len(truth)
        inner = zip(found[2:-2], truth[2:-2], strict=True)
        return float(np.mean([np.abs(a[0].astype(int) - b[0]).mean() for a, b in inner]))

    for double in (False, True):
        assert error(top_first, double) < 0.5
        assert error(not top_first, double) > 1.0


def test_fields_are_shown_half_a_frame_apart() -> None:
    book = decided(Part(0, 4, "top"), choice=Choice(double=True))
    assert book.time_base == BASE / 2
    assert book.shown.pts.tolist() == [n * 1001 for n in range(8)]
    assert book.rate(Fraction(30000, 1001), 4) == Fraction(60000, 1001)
    even = replace(timeline([PROGRESSIVE] * 4, 0), pts=np.arange(4) * 1000, duration=np.full(4, 1000))
    assert decided(Part(0, 4, "top"), table=even, choice=Choice(double=True)).time_base == BASE


def test_as_many_pictures_as_frames_need_not_be_the_frames() -> None:
    """One picture less of film and one more of video: each is shown until the next one all the same."""
    even = replace(timeline([PROGRESSIVE] * 6, 0), pts=np.arange(6) * 1000, duration=np.full(6, 1000))
    book = decided(Part(0, 5, "telecine"), Part(5, 6, "top"), table=even, choice=Choice(double=True))
    assert book.shown.pts.tolist() == [0, 1250, 2500, 3750, 5000, 5500]
    assert book.shown.duration.tolist() == [1250, 1250, 1250, 1250, 500, 500]
    unknown = replace(even, duration=np.zeros(6, np.int64))
    assert decided(Part(0, 6, "progressive"), table=unknown).shown.duration.tolist() == [0] * 6


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
def test_every_frame_of_video_comes_out_as_a_picture_of_its_layout(layout: Layout) -> None:
    frames = video([moving(n, layout, 36, 50) for n in range(10)])
    recipe = decided(Part(0, 5, "top")).recipe(0, 5)
    out = list(pictures(iter(frames), 0, layout, recipe))
    assert len(out) == 5
    for planes, source in zip(out, frames, strict=True):
        assert [plane.shape for plane in planes] == [plane.shape for plane in source]
        assert all(plane.dtype == layout.dtype for plane in planes)
        np.testing.assert_array_equal(planes[0][::2], source[0][::2])  # the first field is kept as it is


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("length", [1, 3, 7])
def test_parts_of_a_title_are_the_whole_cut_in_pieces(length: int, double: bool) -> None:
    pieces = [film(6), telecined(film(8)), video(film(8)), video(film(8, 40), False), shifted(film(6))]
    kinds = ("progressive", "telecine", "top", "bottom", "shifted")
    frames = [frame for piece in pieces for frame in piece]
    edges = np.cumsum([0, *(len(piece) for piece in pieces)]).tolist()
    parts = [
        Part(start, stop, kind, kind != "bottom", start % 5)  # type: ignore[arg-type]
        for (start, stop), kind in zip(pairwise(edges), kinds, strict=True)
    ]
    book = decided(*parts, fields=measure(iter(frames), LAYOUT), choice=Choice(double=double))
    assert len(book) == 6 + 8 + (8 if double else 4) * 2 + 5
    whole = made(book, frames)
    for start in range(0, len(book), length):
        stop = min(start + length, len(book))
        assert_same(made(book, frames, start, stop), whole[start:stop])


def test_a_single_frame_of_video_has_two_pictures() -> None:
    frames = video(film(2))
    book = decided(Part(0, 1, "top"), choice=Choice(double=True))
    assert len(made(book, frames)) == 2


def test_frames_that_repeat_are_left_out_if_that_is_wanted_and_times_stay() -> None:
    originals = film(5)
    noisy = tuple(
        np.clip(plane + (np.indices(plane.shape).sum(0) % 2), 0, 255).astype(np.uint8) for plane in originals[2]
    )
    frames = [originals[0], originals[1], originals[1], originals[2], noisy, originals[3], originals[4]]
    fields = measure(iter(frames), LAYOUT)
    assert fields.repeats.tolist() == [False, False, True, False, True, False, False]
    kept = decided(Part(0, 7, "progressive"), fields=fields)
    assert len(kept) == 7
    assert kept.recipe(0, 7) == ()
    book = decided(Part(0, 7, "progressive"), fields=fields, choice=Choice(deduplicate=True))
    assert_same(made(book, frames), originals)
    assert book.shown.pts.tolist() == [0, 1001, 3003, 5005, 6006]
    assert book.shown.duration.tolist() == [1001, 2002, 2002, 1001, 1001]
    assert book.treatments == ("deduplicate", "pass")


def test_a_slow_fade_is_no_repetition() -> None:
    grey = [tuple(np.full(s, 100, np.uint8) for s in LAYOUT.plane_shapes(32, 32)) for _ in range(12)]
    fade = [
        (planes[0] + (np.indices((32, 32)).sum(0) % 4 < n % 4).astype(np.uint8) + n // 4, *planes[1:])
        for n, planes in enumerate(grey)
    ]
    repeats = measure(iter(fade), LAYOUT).repeats
    assert 2 <= (~repeats).sum() < 12  # each time it has gone a code further


def test_closed_captions_keep_all_five_frames_of_a_telecine() -> None:
    table = replace(timeline([PROGRESSIVE] * 10, 0), captions=np.ones(10, bool))
    book = decided(Part(0, 10, "telecine"), table=table)
    assert (len(book), book.time_base) == (10, BASE)
    assert book.shown.captions.all()
    double = decided(Part(0, 10, "top"), table=table, choice=Choice(double=True))
    assert double.shown.captions.tolist() == [True, False] * 10
    same = Fields(*(np.zeros(10, np.float32) for _ in range(3)), np.ones(10, bool))
    assert len(decided(Part(0, 10, "progressive"), table=table, fields=same, choice=Choice(deduplicate=True))) == 10


def test_shots_begin_with_the_first_picture_that_shows_them() -> None:
    book = decided(Part(0, 10, "telecine"), Part(10, 14, "top"), choice=Choice(double=True))
    # Frame 2 of five goes; the fifth picture is frame 5.
    assert book.numbers([0, 1, 2, 3, 5, 10, 11]) == (1, 2, 3, 4, 8, 10)


def test_frames_as_they_are_need_no_recipe_and_no_neighbours() -> None:
    book = decided(Part(0, 9, "progressive"))
    assert (book.recipe(2, 7), book.frames(2, 7, 9)) == ((), (2, 7))
    assert (book.time_base, book.treatments) == (BASE, ("pass",))
    fields = decided(Part(0, 9, "top"))
    assert (len(fields.recipe(2, 7)), fields.frames(2, 7, 9), fields.frames(0, 9, 9)) == (5, (1, 8), (0, 9))
