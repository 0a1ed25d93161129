"""`remaster plan`: what a run would do and what it would take, printed, and kept in the store if there is one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.run import TITLES_AT_ONCE
from tasks.errors import RemasterError
from tasks.estimate import Estimate, Forecast, estimate, forecast, refusal
from tasks.parts import plans_of
from tasks.plan import Plan, network_of
from tasks.pool.worker import ShardWorker, WorkerSettings, gpus_here, sharing
from tasks.profile import Profile
from tasks.records import Record, Title, Work
from tasks.remarks import remarks
from tasks.scan import scan
from tasks.store import Store
from tasks.tables import estimates_table

# Wide enough for any title where nobody watches; a terminal has a width of its own.
_WIDE = 200


def show_plan(
    library: str, output: Store, store: Store, profile: Profile, workers: int, as_json: bool
) -> tuple[list[dict[str, Any]], int]:
    """Plan and measure a library, and print it.

    Args:
        library: normalised URI.
        output: where masters would go.
        store: where frame tables are kept, and what is done is looked for.
        profile: of the run.
        workers: of the run; 0: one a GPU of this machine, or one.
        as_json: print one JSON object, and nothing else.

    Returns:
        The rows of the table, for all titles last; and how many titles were refused.

    Raises:
        UsageError: there is no such library.
    """
    workers = workers or gpus_here() or 1
    make = _OwnWorker(profile, workers)
    forecasts: list[Forecast] = []
    refused: dict[str, str] = {}
    for title in scan(library, output.root, profile):
        why = title.refused
        plans: list[Plan] = []
        if not why:
            try:
                plans = plans_of(title, profile, store, output)
                forecasts += [forecast(plan, profile, store, output, make) for plan in plans]
            except RemasterError as error:
                why = str(error)
        if why:
            refused[title.name] = why
        if not as_json:
            _print_title(title, plans, why)
    estimates = estimate(forecasts, profile.cost, workers, TITLES_AT_ONCE)
    rows = as_rows(estimates, refused, workers)
    why = refusal(estimates[-1], profile.cost, store, output)
    if as_json:
        print(json.dumps({"titles": rows[:-1], "total": rows[-1], "refusal": why}))
    else:
        _print_table(rows, profile)
        print(_how_it_begins(why, refused, len(forecasts)))
    return rows, len(refused)


def _how_it_begins(refusal: str, refused: dict[str, str], planned: int) -> str:
    if refusal:
        return f"a run would be refused: {refusal}"
    if not planned:
        return "a run would make nothing: every title is refused"
    return f"a run may begin, without what is refused: {', '.join(refused)}" if refused else "a run may begin"


def as_rows(estimates: list[Estimate], refused: dict[str, str], workers: int) -> list[dict[str, Any]]:
    """Rows of the table of estimates, in order of name, for all titles last."""
    *titles, total = ({"refused": "", "workers": workers, **asdict(each)} for each in estimates)
    without = dict.fromkeys(total, 0)
    titles += [without | {"title": name, "refused": why, "workers": workers} for name, why in refused.items()]
    return [*sorted(titles, key=lambda row: str(row["title"])), total]


def keep(rows: Iterable[dict[str, Any]], store: Store, name: str) -> str:
    """File the rows in a store; returns their URI."""
    key = f"estimates/{name}.parquet"
    store.write(key, estimates_table(rows))
    return store.uri(key)


class _OwnWorker:
    """Carries orders out in this process, by the class that Ray's actors run. Loads its network when it must."""

    def __init__(self, profile: Profile, workers: int) -> None:
        # Workers of one machine share its cores.
        self._settings, self._neighbours = WorkerSettings(**vars(network_of(profile))), gpus_here() or workers
        self._worker: ShardWorker | None = None

    def __call__(self, work: Work) -> Record:
        if self._worker is None:
            self._worker = ShardWorker(sharing(self._settings, self._neighbours))
        return self._worker.upscale(work)


def _print_title(title: Title, plans: list[Plan], why: str) -> None:
    if why:
        print(f"{title.name}\n  refused: {why}")
        plans = []
    for plan in plans:
        print(f"{plan.title.name}  ->  {plan.title.master}\n  {len(plan.shown)} frames in {len(plan.shards)} shards")
        for shard in plan.shards:
            warm = f", {shard.warm_up} warm-up frames" if shard.warm_up else ""
            print(f"    {shard.index:>4}  [{shard.start},{shard.stop})  starts at {shard.cut}{warm}")
        for remark in (*remarks(plan), *plan.title.remarks):
            print(f"  note: {remark}")
    for remark in () if plans else title.remarks:
        print(f"  note: {remark}")
    sys.stdout.flush()


def _print_table(rows: list[dict[str, Any]], profile: Profile) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("title", overflow="fold")
    for name in ("frames", "shards", "cached", "GPU hours", "store GB", "masters GB", "price", "done in"):
        table.add_column(name, justify="right")
    for row in rows:
        if not row["refused"]:
            table.add_row(Text(row["title"] or "all"), *_cells(row))
    console = Console(highlight=False, width=None if Console().is_terminal else _WIDE)
    console.print(table)
    workers = rows[-1]["workers"]
    network = f"{profile.model} x{profile.scale}"
    print(f"measured with {rows[-1]['sampled']} frames by {network} on this machine; done in: with {workers} workers")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['frames']:,}", f"{row['shards']:,}", f"{row['cached']:,}", f"{row['gpu_hours']:.3f}",
        f"{row['store_bytes'] / 1e9:.3f}", f"{row['master_bytes'] / 1e9:.3f}", f"{row['price']:.2f}",
        clock(row["hours"] * 3600),
    )  # fmt: skip


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
