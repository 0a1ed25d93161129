"""What a title's frames are is found, part by part, from fields that were woven here and are therefore known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tasks.media.cadence.cadence import Part, cadence_of, classify, gather
from tasks.media.cadence.fields import Fields, measure
from tasks.media.picture.pixels import Planes
from tasks.media.reading.timeline import BOTTOM_FIRST, PROGRESSIVE, TOP_FIRST, UNDETERMINED, Timeline
from tests.fielded import LAYOUT, film, shifted, telecined, video


def timeline(fields: Sequence[int], flagged: int, pts: Sequence[int] | None = None) -> Timeline:
    n = len(fields)
    return Timeline(
        pts=np.arange(n) * 1001 if pts is None else np.array(pts), duration=np.full(n, 1001, np.int64),
        checksum=np.arange(n).astype(np.uint32), key=np.ones(n, bool), scene=np.zeros(n, np.float32),
        flagged=np.arange(n) < flagged, fields=np.array(fields, np.uint8), captions=np.zeros(n, bool),
        black=np.zeros((n, 4), np.int32), peak=np.zeros(n, np.float32),
        said=np.arange(n) * 1001 if pts is None else np.array(pts),
        damage=np.zeros(n, np.uint8),
    )  # fmt: skip


def seen(frames: Sequence[Planes], flagged: bool = False, cuts: Sequence[int] = ()) -> tuple[Part, ...]:
    table = timeline([UNDETERMINED] * len(frames), len(frames) if flagged else 0)
    table.scene[list(cuts)] = 50
    return classify(table, gather(table, 0), measure(iter(frames), LAYOUT))


@pytest.fixture(scope="module")
def pictures() -> list[Planes]:
    return film(48)


@pytest.mark.parametrize("flagged", [True, False])
def test_every_kind_of_cadence_is_told_from_the_others(flagged: bool, pictures: list[Planes]) -> None:
    whole = "psf" if flagged else "progressive"
    assert seen(pictures, flagged) == (Part(0, 48, whole),)  # type: ignore[arg-type]
    assert seen(video(pictures), flagged) == (Part(0, 24, "top"),)
    assert seen(video(pictures, False), flagged) == (Part(0, 24, "bottom", False),)
    assert seen(telecined(pictures), flagged) == (Part(0, 60, "telecine"),)
    assert seen(telecined(pictures, False), flagged) == (Part(0, 60, "telecine", False),)
    assert seen(shifted(pictures), flagged) == (Part(0, 47, "shifted"),)


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_telecine_is_found_wherever_in_its_five_frames_a_title_begins(left_out: int, pictures: list[Planes]) -> None:
    assert seen(telecined(pictures)[left_out:]) == (Part(0, 60 - left_out, "telecine", True, 5 - left_out),)


def test_each_part_of_a_mixed_title_is_told(pictures: list[Planes]) -> None:
    frames = [*pictures[:20], *telecined(pictures[:24])[4:], *video(pictures), *telecined(pictures[24:40])]
    parts = seen(frames, cuts=(20, 46, 70))
    assert [(part.start, part.kind) for part in parts] == [
        (0, "progressive"),
        (20, "telecine"),
        (46, "top"),
        (70, "telecine"),
    ]
    assert [part.phase for part in parts if part.kind == "telecine"] == [(20 - 4) % 5, 70 % 5]
    assert cadence_of(parts) == "mixed"


def test_a_telecine_that_is_cut_anew_at_a_shot_is_followed(pictures: list[Planes]) -> None:
    frames = [*telecined(pictures[:16])[:18], *telecined(film(16, 90, shot=1))[1:]]
    assert [(part.start, part.phase) for part in seen(frames, cuts=(18,))] == [(0, 0), (18, 17 % 5)]


def test_noise_and_stillness_are_no_fields(pictures: list[Planes]) -> None:
    random = np.random.default_rng(0)
    still = [
        tuple(np.clip(plane + random.normal(0, 8, plane.shape), 0, 255).astype(np.uint8) for plane in pictures[0])
        for _ in range(30)
    ]
    assert seen(still) == (Part(0, 30, "progressive"),)
    assert seen([pictures[0]] * 30) == (Part(0, 30, "progressive"),)


@pytest.mark.parametrize(
    ("fields", "flagged", "field_order", "kind"),
    [
        ([TOP_FIRST] * 20, 20, 2, "top"),
        ([BOTTOM_FIRST] * 20, 20, 2, "bottom"),  # the file lies
        ([TOP_FIRST] * 9 + [BOTTOM_FIRST] * 9, 20, 3, "bottom"),  # still pictures: the file's word
        ([UNDETERMINED] * 20, 20, 3, "bottom"),
        ([UNDETERMINED] * 20, 20, 0, "top"),
        ([PROGRESSIVE] * 20, 20, 2, "psf"),  # progressive in an interlaced stream
        ([UNDETERMINED] * 20, 0, 0, "progressive"),
    ],
)
def test_where_nothing_moves_the_files_word_counts(
    fields: list[int], flagged: int, field_order: int, kind: str
) -> None:
    table = timeline(fields, flagged)
    silent = Fields(*(np.full(len(fields), 0.01, np.float32) for _ in range(3)), np.zeros(len(fields), bool))
    (part,) = classify(table, gather(table, field_order), silent)
    assert part.kind == kind


@pytest.mark.parametrize(
    ("fields", "flagged", "height", "suspect"),
    [
        ([PROGRESSIVE] * 400, 0, 576, False),
        ([PROGRESSIVE] * 397 + [TOP_FIRST] * 3, 0, 576, False),
        ([PROGRESSIVE] * 396 + [TOP_FIRST] * 4, 0, 576, True),
        ([PROGRESSIVE] * 400, 1, 576, True),
        ([TOP_FIRST] * 400, 0, 144, False),  # too small for fields
        ([TOP_FIRST] * 400, 400, 144, True),
    ],
)
def test_only_what_gives_a_reason_is_looked_at_twice(
    fields: list[int], flagged: int, height: int, suspect: bool
) -> None:
    assert gather(timeline(fields, flagged), 0).suspect(height) == suspect


@pytest.mark.parametrize("unit", [1501.5, 16.6834])
def test_film_that_flags_show_for_two_and_three_fields_is_soft_telecine(unit: float) -> None:
    shown = np.round(np.cumsum([0, *([2, 3] * 10)]) * unit).astype(np.int64)
    pts = [*shown.tolist(), *(int(shown[-1] + 2 * n * unit) for n in range(1, 11))]
    table = timeline([PROGRESSIVE] * len(pts), 0, pts)
    evidence = gather(table, 0)
    assert [(part.start, part.kind) for part in classify(table, evidence, None)] == [
        (0, "soft telecine"), (22, "progressive"),
    ]  # fmt: skip
    assert (evidence.uneven, evidence.irregular) == (22, 0)


def test_frames_that_come_irregularly_or_twice_are_counted() -> None:
    table = timeline([PROGRESSIVE] * 6, 0, [0, 1001, 2002, 4004, 5005, 6006])
    same = replace(table, checksum=np.array([1, 2, 2, 2, 3, 4], np.uint32))
    evidence = gather(same, 0)
    assert (evidence.irregular, evidence.duplicates) == (1, 2)
    rounded = timeline([PROGRESSIVE] * 60, 0, [round(n * 1001 / 24) for n in range(60)])  # milliseconds
    assert gather(rounded, 0).irregular == 0


def test_what_was_counted_is_said() -> None:
    assert gather(timeline([TOP_FIRST] * 20, 20), 2).words() == (
        "top field first; 20 of 20 frames look combed, 20 are flagged"
    )
