"""What a curve or a lane draws is what its numbers say, and never more than a page can hold."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tasks.attempts import FROM_STORE, clock_of, costs_of
from tasks.charts import HEIGHT, WIDTH, Bar, curve, lane
from tasks.profile import CostSettings
from tasks.tables import LedgerRow


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def row(
    index: int, began: float, time: float, worker: str = "a:1:cpu", outcome: str = "done", **more: Any
) -> LedgerRow:
    known = {"title": "film", "start": index * 10, "stop": index * 10 + 10, "key": str(index), "attempt": 1}
    return LedgerRow(time=time, began=began, index=index, worker=worker, outcome=outcome, **known, **more)


def test_one_frame_that_is_off_shows_however_long_the_title_is() -> None:
    values = np.full(200_000, 0.2, np.float32)
    values[123_456] = 6.0
    drawn = curve(values, limit=4.0)
    assert drawn is not None
    assert (drawn.at, drawn.worst, drawn.middle) == (123_456, 6.0, pytest.approx(0.2))
    x, y = min(points(drawn.band), key=lambda point: point[1])
    assert x == pytest.approx(123_456 / 200_000 * WIDTH, abs=2)
    assert y == pytest.approx(HEIGHT * (1 - 6.0 / drawn.top), abs=0.1)
    assert drawn.limit is not None and y < drawn.limit
    assert len(drawn.band) + len(drawn.line) < 25_000


def test_a_limit_that_is_far_away_does_not_flatten_the_curve() -> None:
    drawn = curve(np.linspace(0.1, 0.3, 50, dtype=np.float32), limit=4.0)
    assert drawn is not None and drawn.limit is None and drawn.top < 0.5


def test_the_worst_of_what_should_be_high_is_the_lowest() -> None:
    drawn = curve(np.array([40, 41, 17, 42], np.float32), 18.0, more_is_better=True, steps=True)
    assert drawn is not None
    assert (drawn.worst, drawn.at) == (17.0, 2)
    assert drawn.limit is not None and max(y for _, y in points(drawn.line)) > drawn.limit


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_of_nothing_there_is_no_curve(values: list[float]) -> None:
    assert curve(np.array(values, np.float32)) is None


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, np.nan], [7.0]])
def test_a_curve_of_next_to_nothing_stays_within_its_box(values: list[float]) -> None:
    for more_is_better in (False, True):
        drawn = curve(np.array(values, np.float32), 1.0, more_is_better)
        assert drawn is not None
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(drawn.line))


def test_a_failure_shows_among_thousands_of_shards() -> None:
    bars = [Bar(n, n + 1, "failed" if n == 1234 else "made") for n in range(3000)]
    drawn = lane("shards", bars, 0, 3000)
    assert drawn.counts == {"made": 2999, "failed": 1}
    kinds = dict(drawn.paths)
    assert [kind for kind, _ in drawn.paths] == ["made", "failed"], "what went wrong is drawn on top"
    assert float(kinds["failed"][1:6]) == pytest.approx(1234 / 3, abs=0.5)
    assert sum(map(len, kinds.values())) < 1000, "neighbours of one kind are one bar"


def test_a_few_shards_are_told_apart() -> None:
    (path,) = lane("shards", [Bar(n, n + 1, "made") for n in range(5)], 0, 5).paths
    assert path[1].count("M") == 5


def test_every_worker_has_a_lane_and_what_was_there_has_one() -> None:
    rows = [
        row(0, 100, 110),
        row(1, 100, 130, "b:2:cpu", "failed", error="WorkerLost"),
        row(1, 130, 140, rung=2),
        row(2, 0, 105, "", "cached"),
    ]
    clock = clock_of(rows)
    assert clock is not None
    assert (clock.workers, clock.seconds) == (2, 40)
    assert [(lane.name, lane.counts) for lane in clock.lanes] == [
        ("a:1:cpu", {"made": 1, "lower": 1}),
        ("b:2:cpu", {"failed": 1}),
        (FROM_STORE, {"cached": 1}),
    ]
    assert [lane.busy for lane in clock.lanes] == [20, 30, 0]
    assert clock_of([]) is None


def test_workers_beyond_measure_share_a_lane() -> None:
    clock = clock_of([row(n, 100 + n, 200, f"node:{n:03}:cuda") for n in range(100)])
    assert clock is not None and clock.workers == 100
    assert len(clock.lanes) == 25 and clock.lanes[-1].name == "76 more workers"
    assert sum(count for lane in clock.lanes for count in lane.counts.values()) == 100


def test_what_failed_is_paid_for_and_what_was_there_is_not() -> None:
    rates = CostSettings(gpu_hour=2.0, store_gb_month=0.5, master_gb_month=0.1, months=2)
    rows = [
        row(0, 0, 0, seconds=1800, bytes=10**9),
        row(1, 0, 0, outcome="failed", seconds=1800, bytes=0),
        row(2, 0, 0, outcome="cached", seconds=900, bytes=10**9),
    ]
    workers, segments, masters = costs_of(rows, 5 * 10**8, rates)
    assert (workers.amount, workers.price) == ("1 h 00 min", 2.0)
    assert (segments.amount, segments.price) == ("1 GB", 1.0)
    assert (masters.amount, masters.price) == ("500 MB", pytest.approx(0.1))
    assert costs_of(rows, 0, rates, samples=1800)[0].price == 3.0
