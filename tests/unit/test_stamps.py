"""Timestamps that cannot be true are repaired by a rule, and where the time itself is in doubt nothing is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tasks.media.reading.stamps import NEVER, DoubtfulTimes, evenly, repaired

CASES: dict[str, tuple[list[int], list[int]]] = {
    "rising": ([0, 40, 90, 120], [0, 40, 90, 120]),
    "as decoded, not as shown": ([0, 120, 40, 80, 240, 160, 200, 280], [0, 40, 80, 120, 160, 200, 240, 280]),
    "one missing": ([0, 40, NEVER, 120], [0, 40, 80, 120]),
    "every other one missing": ([0, NEVER, 80, NEVER, 160, NEVER], [0, 40, 80, 120, 160, 200]),
    "first ones missing": ([NEVER, NEVER, 80, 120], [0, 40, 80, 120]),
    "one twice": ([0, 40, 40, 120, 160], [0, 40, 80, 120, 160]),
    "one far ahead": ([0, 40, 9000, 120, 160, *range(200, 1200, 40)], list(range(0, 1200, 40))),
    "one far back": ([*range(0, 1000, 40), 0, *range(1040, 2000, 40)], list(range(0, 2000, 40))),
    "uneven between": ([0, 10, NEVER, NEVER, 11 + 10, 50], [0, 10, 14, 17, 21, 50]),
    "a gap is no mistake": ([0, 40, 4000, 4040], [0, 40, 4000, 4040]),
}


@pytest.mark.parametrize("name", CASES)
def test_times_rise_and_what_can_be_true_stays(name: str) -> None:
    said, wanted = CASES[name]
    assert repaired(np.array(said)).tolist() == wanted


@pytest.mark.parametrize(
    ("said", "frame"),
    [
        ([*range(0, 4000, 40), *range(0, 4000, 40)], 100),  # two recordings, joined
        ([*range(0, 4000, 40), *[NEVER] * 40, *range(6000, 7000, 40)], 100),
        ([0, 1, NEVER, 2, 3], 2),  # there are no ticks between
    ],
)
def test_where_time_is_in_doubt_the_place_is_named(said: list[int], frame: int) -> None:
    with pytest.raises(DoubtfulTimes) as raised:
        repaired(np.array(said))
    assert raised.value.frame == frame


def test_even_times_do_not_drift() -> None:
    times = evenly(10_001, Fraction(30_000, 1001), Fraction(1, 1000))
    assert times[:4].tolist() == [0, 33, 67, 100]
    assert times[-1] == round(10_000 * 1001 / 30)
