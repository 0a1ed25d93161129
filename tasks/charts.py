"""Numbers as lines of a page: curves along a title, its shards along it, and along the clock who made them.

Knows geometry only. All of it is in a box of 1000 units across, which a page stretches as it likes; what is drawn is
bounded whatever the numbers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 1000, 100
_BINS = 500
# Bars of one colour that are nearer to each other than that are drawn as one.
_NEAR = 0.4
_NARROWEST = 0.8
_ROOM = 8  # units a bar, on average, from which on bars are drawn one by one
_HEADROOM = 0.3  # above a curve, where its axis is written

Kind = Literal["made", "lower", "cached", "failed", "missing"]
# What is drawn later is seen where both are.
_KINDS: tuple[Kind, ...] = ("cached", "made", "lower", "missing", "failed")


@dataclass(frozen=True)
class Curve:
    """One value a frame, as paths.

    Attributes:
        band: closed path between the lowest and the highest of each few frames.
        line: path through their middles.
        top: value at the upper edge; the lower one is 0 unless `bottom` says otherwise.
        limit: height of a limit from above, 0 .. HEIGHT; None where it is out of the picture.
        middle: of all values.
        worst: the highest or, of values of which more is better, the lowest; `at`: its frame.
    """

    band: str
    line: str
    top: float
    bottom: float
    limit: float | None
    middle: float
    worst: float
    at: int


@dataclass(frozen=True)
class Bar:
    """A stretch [start, stop) of a lane, in whatever the lane counts."""

    start: float
    stop: float
    kind: Kind


@dataclass(frozen=True)
class Lane:
    """Bars as one path for each kind, in the order in which they are drawn; `name` says whose."""

    name: str
    paths: tuple[tuple[Kind, str], ...]
    counts: dict[str, int]
    busy: float


def curve(
    values: npt.NDArray[np.float32], limit: float = 0.0, more_is_better: bool = False, steps: bool = False
) -> Curve | None:
    """The curve of one value a frame, NaN where there is none; None if there is none at all.

    Args:
        values: [N].
        limit: beyond which a value is a fault; shown if values come near it.
        more_is_better: the values' lower end is the interesting one, and the axis need not begin at 0.
        steps: values stay for many frames and then change at once.
    """
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return None
    edges = np.unique(np.linspace(0, len(values), min(len(values), _BINS) + 1).round().astype(int))
    parts = [(start, part[~np.isnan(part)]) for start, part in zip(edges, np.split(values, edges[1:-1]), strict=False)]
    parts = [(start, part) for start, part in parts if len(part)]
    x = np.array([(start + 0.5 * len(values) / (len(edges) - 1)) / len(values) * WIDTH for start, _ in parts])
    low, middle, high = (np.array([each(part) for _, part in parts]) for each in (np.min, np.median, np.max))
    bottom, top = _axis(float(low.min()), float(high.max()), limit, more_is_better)

    def down(value: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        return np.asarray(HEIGHT * (1 - (np.clip(value, bottom, top) - bottom) / (top - bottom)), np.float64)

    around = [*zip(x, down(high), strict=True), *zip(x[::-1], down(low[::-1]), strict=True)]
    worst = int(known[(values[known].argmin if more_is_better else values[known].argmax)()])
    return Curve(
        band=f"{_path(around)}Z",
        line=_path(_stepwise(x, down(middle)) if steps else zip(x, down(middle), strict=True)),
        top=top,
        bottom=bottom,
        limit=round(float(down(limit)), 1) if bottom < limit <= top else None,
        middle=float(np.median(values[known])),
        worst=float(values[worst]),
        at=worst,
    )


def lane(name: str, bars: Sequence[Bar], start: float, stop: float) -> Lane:
    """A lane from `start` to `stop`."""
    unit = WIDTH / (stop - start) if stop > start else 0.0
    paths: list[tuple[Kind, str]] = []
    # Where there is room for it, a hair less of each, so that neighbours are told apart.
    hair = 1.5 if len(bars) * _ROOM < WIDTH else 0.0
    for kind in _KINDS:
        drawn: list[list[float]] = []
        for bar in sorted((bar for bar in bars if bar.kind == kind), key=lambda bar: bar.start):
            left, right = (bar.start - start) * unit, (bar.stop - start) * unit - hair
            if right - left < _NARROWEST:
                left, right = (left + right - _NARROWEST) / 2, (left + right + _NARROWEST) / 2
            if drawn and left - drawn[-1][1] < _NEAR:
                drawn[-1][1] = max(drawn[-1][1], right)
            else:
                drawn.append([left, right])
        if drawn:
            paths.append((kind, "".join(f"M{left:.1f} 0H{right:.1f}V{HEIGHT}H{left:.1f}Z" for left, right in drawn)))
    counts = {str(kind): count for kind in _KINDS if (count := sum(bar.kind == kind for bar in bars))}
    return Lane(name, tuple(paths), counts, sum(bar.stop - bar.start for bar in bars))


def _axis(low: float, high: float, limit: float, more_is_better: bool) -> tuple[float, float]:
    if more_is_better:
        bottom = limit if limit and limit > low - 3 * max(high - low, 1.0) else low
        bottom = min(bottom, low)
        room = max(high - bottom, 1.0) * _HEADROOM
        return bottom - room, high + room
    near = limit and limit < 3 * high
    return 0.0, max(limit * 1.1 if near else 0.0, high * (1 + _HEADROOM), 1e-3)


def _stepwise(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Iterable[tuple[float, float]]:
    """Points through the same, level up to half-way to the next."""
    half = (x[1:] + x[:-1]) / 2
    across = np.concatenate([[0.0], np.repeat(half, 2), [WIDTH]])
    return zip(across, np.repeat(y, 2), strict=True)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
