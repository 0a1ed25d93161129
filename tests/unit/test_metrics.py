"""Counts reach Ray once, whenever it comes up; a stand-in for Ray's side says what arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from tasks.pool import metrics

Arrived = list[tuple[str, str, float, dict[str, str]]]


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrived]:
    told: Arrived = []

    def kind(verb: str) -> Any:
        class Metric:
            def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
                self.name, self.keys = name, tag_keys

            def tell(self, value: float, labels: dict[str, str]) -> None:
                assert tuple(labels) == self.keys
                told.append((verb, self.name, value, labels))

            inc = set = tell

        return Metric

    monkeypatch.setattr(ray.util.metrics, "Counter", kind("inc"))
    monkeypatch.setattr(ray.util.metrics, "Gauge", kind("set"))
    monkeypatch.setattr(metrics, "_metrics", {})
    monkeypatch.setattr(metrics, "_kept", Counter())
    monkeypatch.setattr(metrics, "_levels", {})
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    return told


def test_what_is_counted_before_ray_is_up_arrives_once_afterwards(
    arrived: Arrived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for _ in range(3):
        metrics.count("remaster_shards", outcome="cached", rung="0")
    assert arrived == []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    metrics.count("remaster_segment_bytes", 7.0, outcome="done")
    metrics.count("remaster_segment_bytes", 1.0, outcome="done")
    assert arrived == [
        ("inc", "remaster_shards", 3, {"outcome": "cached", "rung": "0"}),
        ("inc", "remaster_segment_bytes", 7, {"outcome": "done"}),
        ("inc", "remaster_segment_bytes", 1, {"outcome": "done"}),
    ]


def test_nothing_is_no_count(arrived: Arrived) -> None:
    metrics.count("remaster_segment_bytes", 0.0, outcome="done")
    assert arrived == []


def test_a_gauge_moves_from_where_it_stood(arrived: Arrived) -> None:
    metrics.move("remaster_queue", 5)
    metrics.move("remaster_queue", -1)
    metrics.show("remaster_workers", 2, state="idle")
    assert [value for _, _, value, _ in arrived] == [5, 4, 2]
