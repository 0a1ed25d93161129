"""One shard on its way through a title's flow: told to the display, and written to the ledger when a worker has it in
hand and however it ends.

Also who may begin: a title has a number of turns, and a shard that somebody else has in hand takes none.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from prefect import get_run_logger

from flows.budget import Spending
from flows.progress import Progress
from flows.run import Ledger
from tasks.pool import metrics
from tasks.records import Record, Shard
from tasks.tables import LedgerRow
from tasks.upscale import Watch

_ASK_SECONDS = 1.0  # after which somebody who waits asks again how many turns there are


class Turns:
    """So many shards at a time want a worker; those that wait for another driver do not count. Thread-safe.

    How many is asked anew while somebody waits: how large a pool is shows once it has started.
    """

    def __init__(self, number: Callable[[], int]) -> None:
        self._number, self._taken = number, 0
        self._left = threading.Condition()

    def take(self) -> None:
        """Wait for a turn."""
        with self._left:
            while self._taken >= self._number():
                self._left.wait(_ASK_SECONDS)
            self._taken += 1

    def leave(self) -> None:
        """Give a turn back."""
        with self._left:
            self._taken -= 1
            self._left.notify()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let somebody else have this turn for as long as the block lasts."""
        self.leave()
        try:
            yield
        finally:
            self.take()


class Attempt(Watch):
    """One attempt of one shard.

    Args:
        shard: which one.
        number: of the attempt, from 1 on; 0 for a hit that no task had to look for.
        ledger, progress: where it is told.
        turns: of the title.
        leave: raises if nothing new is to be begun.
        spending: of the run.
    """

    def __init__(
        self, shard: Shard, number: int, ledger: Ledger, progress: Progress, turns: Turns, leave: Callable[[], None],
        spending: Spending,
    ) -> None:  # fmt: skip
        self._shard, self._number, self._ledger, self._progress = shard, number, ledger, progress
        self._turns, self._leave, self._spending = turns, leave, spending
        self._worker, self._began, self._frames = "", 0.0, 0
        self._beginning = ""

    def begin(self) -> None:
        """Raise if the run or title is to end."""
        self._leave()

    def taken(self, worker: str) -> None:
        """Note who has it, and since when."""
        self._worker, self._began = worker, time.time()
        self._beginning = self._ledger.begin(self._row("begun"))
        self._spending.begin(self)

    def progress(self, frames: int) -> None:
        """Show it."""
        self._frames = frames
        self._progress.advance(self._shard.title, self._shard.index, frames)

    def said(self, level: int, words: str) -> None:
        """Pass it on to the log of the task, where whoever looks at the shard sees it."""
        get_run_logger().log(level, "%s: %s", self._worker, words)

    def waiting(self) -> AbstractContextManager[None]:
        """Let another shard have the worker's turn."""
        return self._turns.left()

    def done(self, record: Record) -> None:
        """It was made."""
        self._note("done", record=record, seconds=record.seconds["total"])
        self._spending.end(self, record.seconds["total"], record.size)
        self._progress.advance(self._shard.title, self._shard.index, record.frames)

    def hit(self, record: Record) -> None:
        """It was there already."""
        self._worker, self._began = "", 0.0
        self._note("cached", record=record)
        self._progress.advance(self._shard.title, self._shard.index, record.frames, cached=True)

    def failed(self, error: BaseException) -> None:
        """It came to nothing."""
        seconds = time.time() - self._began if self._began else 0.0
        self._note("failed", error=error, seconds=seconds)
        self._spending.end(self, seconds, 0)
        self._ledger.file()  # what went wrong is what one looks for after the driver died as well

    def _note(
        self, outcome: str, record: Record | None = None, error: BaseException | None = None, seconds: float = 0.0
    ) -> None:
        row = self._row(outcome, record, error, seconds)
        self._ledger.add(row, self._beginning)
        if record is None:
            metrics.count("remaster_failures", error=row.error)
        else:
            metrics.count("remaster_shards", outcome=outcome, rung=str(row.rung))
            metrics.count("remaster_segment_bytes", row.bytes, outcome=outcome)

    def _row(
        self, outcome: str, record: Record | None = None, error: BaseException | None = None, seconds: float = 0.0
    ) -> LedgerRow:
        shard = self._shard
        return LedgerRow(
            time=time.time(), title=shard.title, index=shard.index, start=shard.start, stop=shard.stop, key=shard.key,
            attempt=self._number, outcome=outcome, error=type(error).__name__ if error else "",
            message=str(error or ""), began=self._began, driver=f"{socket.gethostname()}:{os.getpid()}",
            worker=record.worker if record and outcome == "done" else self._worker,
            rung=record.rung if record else 0, made=record.made if record else "", seconds=round(seconds, 4),
            frames=record.frames if record else self._frames, bytes=record.size if record else 0,
            fidelity=record.fidelity if record else float("nan"),
        )  # fmt: skip
