"""What the tasks of one title's flow share, and how they are tried again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from prefect.client.schemas.objects import State, TaskRun

from flows.attempt import Attempt, Turns
from flows.budget import spending_of
from flows.progress import Progress
from flows.run import Ledger, Run, RunFiles
from flows.stopping import Stopped, stop_if_draining
from tasks.errors import LeaseLost, is_permanent
from tasks.hold import Decision, Hold
from tasks.plan import Plan, network_of
from tasks.pool.pool import PoolSettings, SharedPool
from tasks.pool.worker import WorkerSettings, gpus_here
from tasks.records import Record, Title
from tasks.store import Store
from tasks.store.lease import Lease

# Shards that wait for a worker beyond those that have one; more of them would only look busy in the UI.
_WAITING_SHARDS = 2
_CLUSTER = 32  # workers that a cluster is taken to have until it says how many
_LONGEST_DELAY = 300.0


class Job:
    """What the tasks of one title share. A plain object: Prefect neither walks into it nor writes it down."""

    def __init__(self, run: Run, title: Title, pool: SharedPool, ledger: Ledger, progress: Progress) -> None:
        self.run, self.title, self.pool, self.ledger, self.progress = run, title, pool, ledger, progress
        self.store, self.output = Store(run.store), Store(run.output)
        self.files = RunFiles(self.store, run.id)
        # Before the pool has started, which it does not for shards that are all done, its size is not known.
        usual = run.workers or (_CLUSTER if run.ray_address else gpus_here() or 1)
        self.turns = Turns(lambda: (pool.size or usual) + _WAITING_SHARDS)
        self.spending = spending_of(run)
        self.plan: Plan | None = None
        self.asked = ""  # hash of the plan, but for revisions
        self.hold: Hold | None = None  # what a person decided of its master, or is to
        self.hold_planned: Hold | None = None  # the same when it was planned
        self.place: Lease | None = None
        self.records: list[Record] = []
        self.master_bytes = 0  # of a master that appeared
        self.cached: set[int] = set()
        self.called_off = ""  # why no more of its shards are begun
        self.is_part = False  # of a title of the run, which is none itself

    @property
    def planned(self) -> Plan:
        """The plan, which the first task made."""
        assert self.plan is not None
        return self.plan

    @property
    def held(self) -> Lease:
        """The lease of the master's place, which the flow has asked for."""
        assert self.place is not None
        return self.place

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What persons said of the title's master as it is asked for now."""
        return self.hold.decisions if self.hold is not None and self.hold.plan == self.asked else ()

    def is_forced(self, index: int) -> bool:
        """True if a shard is to be made even if it is done."""
        again = any(each.index == index and each.revision.again for each in self.planned.revised)
        return (self.run.force or again) and self.planned.shards[index].key not in self._made

    @cached_property
    def _made(self) -> set[str]:
        """What was to be made again and was, in this or an earlier try of the same run."""
        return {row.key for row in self.files.read_ledger() if row.outcome == "done"}

    def leave(self, what: str) -> None:
        """Raise if nothing new is to be begun."""
        stop_if_draining(what)
        if self.called_off:
            raise Stopped(f"{what}: not begun, as its title fails: {self.called_off}")

    def attempt(self, index: int, number: int) -> Attempt:
        """One attempt of a shard."""
        shard = self.planned.shards[index]
        leave = partial(self._leave_shard, f"shard {shard.name}")
        return Attempt(shard, number, self.ledger, self.progress, self.turns, leave, self.spending)

    def _leave_shard(self, what: str) -> None:
        """Raise if no worker is to begin it; only then does it cost anything."""
        self.leave(what)
        self.spending.leave(what)


def pool_settings(run: Run) -> PoolSettings:
    """The pool a run works with."""
    worker = WorkerSettings(**vars(network_of(run.profile)))
    return PoolSettings(worker, run.workers, run.ray_address, run.profile.retry.stall)


def called(name: str) -> Callable[[], str]:
    """A task run's name as it is: Prefect fills in the braces of a plain string, and titles may have some."""
    return lambda: name


def worth_retrying(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Prefect's question after a failure. A lost lease is for the flow to ask for anew."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, BaseException) and (is_permanent(error) or isinstance(error, LeaseLost)))


def retrying(run: Run) -> dict[str, Any]:
    """Prefect's retry options from the profile: exponential back-off with jitter."""
    retry = run.profile.retry
    delays = [min(retry.delay * 2**i, _LONGEST_DELAY) for i in range(min(retry.attempts - 1, 50))]
    return {"retries": retry.attempts - 1, "retry_delay_seconds": delays or 0, "retry_jitter_factor": 0.5}
