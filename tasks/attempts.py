"""What a ledger's rows come to, for a page: who had which shards in hand when, and what that took. Judges nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.charts import Bar, Kind, Lane, lane
from tasks.estimate import price
from tasks.figures import size, span
from tasks.profile import CostSettings
from tasks.tables import LedgerRow

# More workers than that have one lane together.
_LANES = 24
FROM_STORE = "from the store"


@dataclass(frozen=True)
class Clock:
    """Who had what in hand when.

    Attributes:
        lanes: one a worker, and one for what was there already; the last may stand for several workers.
        ticks: moments along it, evenly spread, in words.
        seconds: from its first to its last moment.
        workers: how many there were.
    """

    lanes: tuple[Lane, ...]
    ticks: tuple[str, ...]
    seconds: float
    workers: int


@dataclass(frozen=True)
class Cost:
    """One line of a bill: what, how much of it in words, the rate in words, and the price."""

    what: str
    amount: str
    rate: str
    price: float


def kind_of(row: LedgerRow) -> Kind:
    """What an attempt came to, as a colour."""
    if row.outcome == "done":
        return "lower" if row.rung else "made"
    return "cached" if row.outcome == "cached" else "failed"


def clock_of(rows: Sequence[LedgerRow]) -> Clock | None:
    """The lanes of a ledger's rows; None if there are none."""
    if not rows:
        return None
    start = min(row.began or row.time for row in rows)
    stop = max(max(row.time for row in rows), start + 1e-3)
    bars: dict[str, list[Bar]] = defaultdict(list)
    for row in rows:
        who = FROM_STORE if row.outcome == "cached" else row.worker or "no worker"
        bars[who].append(Bar(row.began or row.time, row.time, kind_of(row)))
    hits = bars.pop(FROM_STORE, [])
    busiest = sorted(bars, key=lambda who: -sum(bar.stop - bar.start for bar in bars[who]))
    shown, rest = sorted(busiest[:_LANES]), busiest[_LANES:]
    lanes = [lane(who, bars[who], start, stop) for who in shown]
    if rest:
        together = [bar for who in rest for bar in bars[who]]
        lanes.append(lane(f"{len(rest)} more workers", together, start, stop))
    if hits:
        lanes.append(lane(FROM_STORE, hits, start, stop))
    many_days = stop - start > 86_400
    moments = [start + (stop - start) * step / 4 for step in range(5)]
    ticks = tuple(f"{datetime.fromtimestamp(at, UTC):{'%d %b %H:%M' if many_days else '%H:%M:%S'}}" for at in moments)
    return Clock(tuple(lanes), ticks, stop - start, len(bars))


def costs_of(
    rows: Iterable[LedgerRow], master_bytes: int, rates: CostSettings, samples: float = 0.0
) -> tuple[Cost, ...]:
    """What attempts and what is kept of them cost by the rates: failed ones too, cached ones nothing.

    Args:
        rows: the attempts.
        master_bytes: of masters that appeared.
        rates: of the profile.
        samples: seconds of workers besides.
    """
    rows = list(rows)
    seconds = sum(row.seconds for row in rows if row.outcome != "cached") + samples
    written = sum(row.bytes for row in rows if row.outcome == "done")
    months = f"{rates.months:g} months" if rates.months != 1 else "a month"
    return (
        Cost("workers", span(seconds), f"{rates.gpu_hour:g} an hour", price(rates, seconds / 3600, 0, 0)),
        Cost("segments", size(written), f"{rates.store_gb_month:g} a GB for {months}", price(rates, 0, written, 0)),
        Cost(
            "masters", size(master_bytes), f"{rates.master_gb_month:g} a GB for {months}",
            price(rates, 0, 0, master_bytes),
        ),
    )  # fmt: skip
