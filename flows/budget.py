"""What a run may cost: whether it may begin, what it has spent, and that nothing new is begun once that is all of it.

Spent is what workers were paid for, failures too, and what was kept, by the profile's rates; it is counted from the
run's own files, so that a run that goes on in another process goes on counting. Another run counts from nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

from flows import events
from flows.planning import as_rows, keep
from flows.progress import current_progress
from flows.run import TITLES_AT_ONCE, Run, RunFiles, Spent
from flows.stopping import Stopped, is_draining
from tasks.commit import done_record
from tasks.errors import RemasterError, StoreFull
from tasks.estimate import Forecast, estimate, forecast, is_in_question, price, refusal
from tasks.hold import read_hold
from tasks.parts import part_name, plans_of
from tasks.pool.pool import SharedPool
from tasks.profile import CostSettings
from tasks.records import Record, Shard, Title, Work
from tasks.store import Store
from tasks.tables import LedgerRow
from vsr_model.errors import ModelError

_LOG = logging.getLogger("remaster.budget")
# Titles that are measured before a run begins; a plan measures all of them.
_MEASURED = 5


class Spending:
    """What one run has spent, what workers have in hand at this moment included. Thread-safe.

    Args:
        cost: rates and budget.
        rows: attempts that were paid for before.
        besides: what else was.
        reached: told once, when something is not begun for want of money, what is spent.
    """

    def __init__(
        self,
        cost: CostSettings,
        rows: Iterable[LedgerRow] = (),
        besides: Iterable[Spent] = (),
        reached: Callable[[float], None] = lambda spent: None,
    ) -> None:
        self._cost = cost
        self._lock = threading.Lock()
        self._spent = 0.0
        self._in_hand: dict[object, float] = {}
        self._stopped = False
        self._reached = reached
        for row in rows:
            self.add(row.seconds, row.bytes if row.outcome == "done" else 0)
        for spent in besides:
            self.add(spent.seconds, master_bytes=spent.master_bytes)

    def begin(self, attempt: object) -> None:
        """A worker has a shard in hand."""
        with self._lock:
            self._in_hand[attempt] = time.monotonic()

    def end(self, attempt: object, seconds: float, store_bytes: int) -> None:
        """It had it for so long, and so much was kept of it."""
        with self._lock:
            self._in_hand.pop(attempt, None)
        self.add(seconds, store_bytes)

    def add(self, seconds: float = 0.0, store_bytes: int = 0, master_bytes: int = 0) -> None:
        """So long a worker was at work, and so much was kept."""
        more = price(self._cost, seconds / 3600, store_bytes, master_bytes)
        with self._lock:
            self._spent += more

    def spent(self) -> float:
        """In the currency of the rates."""
        with self._lock:
            now = time.monotonic()
            seconds = sum(now - began for began in self._in_hand.values())
            return self._spent + price(self._cost, seconds / 3600, 0, 0)

    def leave(self, what: str) -> None:
        """Raise `Stopped` once the budget is spent."""
        if self._cost.budget and self.spent() >= self._cost.budget:
            with self._lock:
                first, self._stopped = not self._stopped, True
            if first:
                self._reached(self.spent())
            raise Stopped(f"{what}: not begun, {self.words()}")

    @property
    def stopped(self) -> bool:
        """True if something was not begun for want of money."""
        return self._stopped

    def words(self) -> str:
        """What was spent and what to do, for a person."""
        return (
            f"the budget is spent ({self.spent():.2f} of {self._cost.budget:.2f}). What is made is kept: run again, and"
            " it goes on from here with a new budget."
        )


_known: dict[str, Spending] = {}
_known_lock = threading.Lock()


def spending_of(run: Run) -> Spending:
    """The one of a run that all of its titles in this process share."""
    with _known_lock:
        if run.id not in _known:
            files = RunFiles(Store(run.store), run.id)
            reached = partial(events.budget_reached, run)
            _known[run.id] = Spending(run.profile.cost, files.read_ledger(), files.read_spent(), reached)
        return _known[run.id]


def spend(run: Run, spent: Spent) -> None:
    """Count what was spent besides shards, and note it for who goes on with the run in another process."""
    spending_of(run).add(spent.seconds, master_bytes=spent.master_bytes)
    try:
        if spent != Spent():
            RunFiles(Store(run.store), run.id).note_spent(spent)
    except RemasterError as error:  # what was made is there all the same
        _LOG.warning("what run %s spent is not all noted: %s", run.id, error)


def why_not(run: Run, titles: list[Title], pool: SharedPool) -> str:
    """Why a run of these titles must not begin, or nothing.

    Nothing is measured where no answer could forbid it: there is no budget, and the disk has room for anything. Else
    the longest few are, and those of the others that have no master are taken to be like them.
    """
    store, output, profile = Store(run.store), Store(run.output), run.profile
    wanted = [title for title in titles if not title.refused]
    if not is_in_question(wanted, profile, store, output):
        return ""

    sampled = 0.0
    made = {row.key for row in RunFiles(store, run.id).read_ledger() if row.outcome == "done"}

    def make(work: Work) -> Record:
        nonlocal sampled
        record = pool.run(work, lambda frames: None)
        sampled += record.seconds["total"]
        return record

    measured: dict[str, Forecast] = {}
    unknown: dict[str, str] = {}
    known = 0.0  # weight of what is measured
    longest = sorted(wanted, key=weight, reverse=True)
    for title in longest[:_MEASURED]:
        if is_draining():
            return ""  # each title says itself that it is not begun
        current_progress().phase(title.name, "measuring")
        shards: list[Shard] = []
        try:
            plans = plans_of(title, profile, store, output, run.revisions, run.id)
            shards = [shard for plan in plans for shard in plan.shards]
            for plan in plans:
                measured[plan.title.name] = forecast(plan, profile, store, output, make, run.force, made)
            known += weight(title)
        except (RemasterError, ModelError) as error:
            if isinstance(error, StoreFull) and not any(done_record(each, store) for each in shards):
                return f"{title.name}: there is no room for a sample of it. {error}"
            unknown[title.name] = str(error)  # its own flow will say so, and go further if it can
        spend(run, Spent(seconds=sampled))
        sampled = 0.0
    others = [title for title in longest[_MEASURED:] if known and not _is_there(title, store, output)]
    forecasts = [*measured.values(), *(_alike(title, measured.values(), weight(title) / known) for title in others)]
    workers = pool.start().size if any(each.shard_seconds for each in forecasts) else 1
    estimates = estimate(forecasts, profile.cost, workers, TITLES_AT_ONCE)
    keep(as_rows(estimates, unknown, workers), store, run.id)
    return refusal(estimates[-1], profile.cost, store, output)


def weight(title: Title) -> float:
    """What a title takes, against others: pixels times seconds."""
    probe = title.probe
    return probe.duration * probe.height * probe.width if probe else 0.0


def _is_there(title: Title, store: Store, output: Store) -> bool:
    """True if a title has a master, or one of its first part, published or waiting for a person."""
    if output.exists(title.master) or output.exists(replace(title, name=part_name(title.name, 1)).master):
        return True
    hold = read_hold(output.uri(title.master), store)
    return hold is not None and hold.state in ("waiting", "approved") and hold.source_stands()


def _alike(title: Title, measured: Collection[Forecast], share: float) -> Forecast:
    """What a title takes if it is like those that were measured, and has this share of their weight."""
    return Forecast(
        title=title.name,
        frames=round(share * sum(each.frames for each in measured)),
        shards=1,
        cached=0,
        shard_seconds=(share * sum(sum(each.shard_seconds) for each in measured),),
        finish_seconds=share * sum(each.finish_seconds for each in measured),
        store_bytes=round(share * sum(each.store_bytes for each in measured)),
        master_bytes=round(share * sum(each.master_bytes for each in measured)),
        on_cpu=any(each.on_cpu for each in measured),
    )
