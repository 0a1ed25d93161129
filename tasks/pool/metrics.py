"""What dashboards are fed with: counters and gauges of this process, which Ray's agent on its node exports.

Knows names, labels and that Ray carries them (`docs/cluster.md` says what each is for); nothing of shards or workers.
Display only: nothing is decided by them, and what a process counts in its last seconds may not be sent any more. The
ledger of a run is the truth.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import ray
import ray.util.metrics

# Ray puts `ray_` before each name, and `_total` after a counter's.
COUNTERS = {
    "remaster_frames": ("frames written", ("device",)),
    "remaster_busy_seconds": ("seconds a stage of a worker was busy: decode, model, write", ("device", "stage")),
    "remaster_shards": ("shards made (done) or there already (cached), by rung", ("outcome", "rung")),
    "remaster_failures": ("attempts of a shard that came to nothing", ("error",)),
    "remaster_segment_bytes": ("bytes of segments made (done) or there already (cached)", ("outcome",)),
}
GAUGES = {
    "remaster_queue": ("shards of titles on the way that have not ended", ()),
    "remaster_workers": ("workers of this driver that have a shard (busy) or none (idle)", ("state",)),
}

Labels = tuple[tuple[str, str], ...]

_lock = threading.Lock()
_metrics: dict[str, Any] = {}
_kept: Counter[tuple[str, Labels]] = Counter()  # of counters, until Ray is there to take it
_levels: dict[tuple[str, Labels], float] = {}  # of gauges


def count(name: str, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter; `amount` is at least 0."""
    with _lock:
        _kept[name, tuple(labels.items())] += amount  # type: ignore[assignment]
        if not ray.is_initialized():
            return  # a shard that is there already needs no Ray, and may be followed by one that does
        for (each, its_labels), kept in _kept.items():
            if kept > 0:  # Ray takes nothing else
                _metric(each).inc(kept, dict(its_labels))
        _kept.clear()


def show(name: str, level: float, **labels: str) -> None:
    """Set a gauge."""
    with _lock:
        _show(name, tuple(labels.items()), level)


def move(name: str, by: float, **labels: str) -> None:
    """Raise a gauge, or lower it."""
    with _lock:
        key = tuple(labels.items())
        _show(name, key, _levels.get((name, key), 0.0) + by)


def _show(name: str, labels: Labels, level: float) -> None:
    _levels[name, labels] = level
    if ray.is_initialized():
        _metric(name).set(level, dict(labels))


def _metric(name: str) -> Any:
    if name not in _metrics:
        kind = ray.util.metrics.Counter if name in COUNTERS else ray.util.metrics.Gauge
        words, labels = (COUNTERS | GAUGES)[name]
        _metrics[name] = kind(name, description=words, tag_keys=labels)
    return _metrics[name]
