"""A run as data on the store: what was asked, how each title ended, and every attempt of every shard.

All of it can be read without Prefect and without Ray.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from flows.request import Request
from tasks.errors import RemasterError, StoreDamaged
from tasks.profile import Profile
from tasks.records import CadenceNote, Revision, Shard, Title
from tasks.seal import opened, sealed, sealed_page
from tasks.store import Store
from tasks.tables import (
    LedgerRow,
    ledger_table,
    read_ledger_table,
    read_shards_table,
    read_titles_table,
    shards_table,
    titles_table,
)

_LOG = logging.getLogger("remaster.run")
# Titles on the way at once: while one is upscaled the next is planned and the one before is finished.
TITLES_AT_ONCE = 3
# What Prefect calls the end of a run for want of money, so that it can be told from one that a person cancelled.
BUDGET_SPENT = "BudgetSpent"
_LEDGER_ROWS, _LEDGER_SECONDS = 500, 5.0
_BEGUN = "begun-"  # first letters of the names of files in the ledger that say that an attempt was begun
_RUN_AGAIN = "Restore it from a copy, or start the library again with `remaster run`: what is made is not made again."
_DELETE_IT = "Restore it from a copy, or delete it: what it says is lost then, and nothing else."

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Run(Request):
    """What was asked for: enough to do it again.

    What is no part of the schema is not for a person to fill in.

    Attributes:
        profile: complete, with defaults filled in.
        id: names the run; sorts by time. Empty until a deployed run begins: see `flows.library`.
        rerun_of: id of the run this one repeats.
        titles: glob of title names that a repetition is confined to, within `only`. Empty: all.
        revisions: shards that are made otherwise than the rest.
    """

    profile: Profile = Field(description="What the masters are, and how hard to try.")
    id: SkipJsonSchema[str] = ""
    rerun_of: SkipJsonSchema[str] = ""
    titles: SkipJsonSchema[str] = ""
    revisions: SkipJsonSchema[tuple[Revision, ...]] = ()


class Outcome(BaseModel):
    """How a title ended.

    Attributes:
        state: "done"; "check" (mastered, but the check found something); "held" (a person is to decide: shards are
            quarantined, or the master's picture has faults and it waits); "failed"; "refused"; "left" (for a later
            run, as it still changes).
        reason: why, and what to do; empty when done.
        master: URI, of one that waits where it does; empty if there is none. Of a title made in parts, the first one's.
        parts: URIs of the masters of a title that was made in parts.
        frames, shards: of the title; cached: shards that needed no work.
        failed_shards: names and reasons.
        checks: contract, whether it holds, what was seen.
        remarks: what an operator should know although nothing failed.
        seconds: wall time.
        report: store key of the page that shows all of it; empty if it was not in hand.
        size: of the master, in bytes.
        cadence: what was seen of it and done about it, once it is planned.
        doubts: what of its source is damaged, or does not say when it is shown.
    """

    model_config = ConfigDict(frozen=True)

    title: str
    state: Literal["done", "check", "held", "failed", "refused", "left"]
    reason: str = ""
    master: str = ""
    frames: int = 0
    shards: int = 0
    cached: int = 0
    failed_shards: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, bool, str], ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
    report: str = ""
    size: int = 0
    cadence: CadenceNote | None = None
    doubts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def masters(self) -> tuple[str, ...]:
        """URIs of all that were made of it."""
        return self.parts or ((self.master,) if self.master else ())


class Spent(BaseModel):
    """What a run spent besides its shards.

    Attributes:
        seconds: of workers, on samples.
        master_bytes: of masters that appeared.
    """

    seconds: float = 0.0
    master_bytes: int = 0


class Verdict(BaseModel):
    """How a run ended: Prefect's state in one word, and a sentence that names what failed."""

    state: Literal["completed", "exceptions", "failed", "stopped"]
    message: str
    finished: str


def new_run_id() -> str:
    """An id such as `20260131-094501-k3f9`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def place(run_id: str, *parts: str) -> str:
    """Store key of something that belongs to a run."""
    return "/".join(("runs", run_id, *parts))


class RunFiles:
    """Reads and writes a run's files. Thread-safe.

    All that read raise StoreDamaged where something is not as it was written.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._id = run_id
        self._ledger: dict[str, list[LedgerRow]] = {}

    def earlier(self) -> Iterator[RunFiles]:
        """The files of the runs of the same store before this one, the latest first."""
        for run in reversed(list_runs(self._store)):
            if run < self._id:
                yield RunFiles(self._store, run)

    @property
    def store(self) -> Store:
        """Where they are."""
        return self._store

    def begin(self, run: Run) -> None:
        """Note what was asked for. What an earlier try of the same run came to counts no more: it goes on."""
        self._store.delete(place(self._id, "verdict.json"))
        for file in self._store.list(place(self._id, "outcomes")):
            self._store.delete(file)
        self.write_run(run)

    def write_run(self, run: Run) -> None:
        """Note what was asked for."""
        self._write("run.json", data=_sealed(run))

    def read_run(self) -> Run:
        """What was asked for. Raises FileNotFoundError if the store knows no such run."""
        return self._read(_opened(Run), place(self._id, "run.json"), _RUN_AGAIN)

    def write_titles(self, titles: list[Title], outcomes: Iterable[Outcome] = ()) -> None:
        """Note what the library holds and, of titles that have ended, what was seen when they were planned."""
        ended = list(outcomes)
        notes = {outcome.title: outcome.cadence for outcome in ended if outcome.cadence is not None}
        doubts = {outcome.title: outcome.doubts for outcome in ended}
        self._write("titles.parquet", data=titles_table(titles, notes, doubts))

    def read_titles(self, name: str = "") -> list[Title]:
        """What the library holds, or of it only the title called `name`; empty before the scan has ended."""
        file = place(self._id, "titles.parquet")
        try:
            return self._read(lambda data: read_titles_table(data, name), file, _RUN_AGAIN)
        except FileNotFoundError:
            return []

    def write_shards(self, title: Title, shards: tuple[Shard, ...]) -> None:
        """Note how a title is cut."""
        self._write("shards.parquet", f"{title.id}.parquet", data=shards_table(shards))

    def read_shards(self, title: Title | None = None) -> list[Shard]:
        """Every shard planned so far, or those of one title."""
        files = self._store.list(place(self._id, "shards.parquet"))
        if title is not None:
            files = [file for file in files if file.endswith(f"/{title.id}.parquet")]
        return [shard for file in files for shard in self._read(read_shards_table, file, _RUN_AGAIN)]

    def write_outcome(self, title: Title, outcome: Outcome) -> None:
        """Note how a title ended."""
        self._write("outcomes", f"{title.id}.json", data=_sealed(outcome))

    def read_outcome(self, title: Title) -> Outcome | None:
        """How a title ended; None if it has not."""
        file = place(self._id, "outcomes", f"{title.id}.json")
        try:
            return self._read(_opened(Outcome), file, _DELETE_IT)
        except FileNotFoundError:
            return None

    def read_outcomes(self) -> list[Outcome]:
        """How titles ended so far, in order of name."""
        files = self._store.list(place(self._id, "outcomes"))
        found = [self._read(_opened(Outcome), file, _DELETE_IT) for file in files]
        return sorted(found, key=lambda outcome: outcome.title)

    def write_verdict(self, verdict: Verdict) -> None:
        """Note how the run ended."""
        self._write("verdict.json", data=_sealed(verdict))

    def read_verdict(self) -> Verdict | None:
        """How the run ended; None while it goes on, or if it was cut off."""
        try:
            return self._read(_opened(Verdict), place(self._id, "verdict.json"), _DELETE_IT)
        except FileNotFoundError:
            return None

    def write_report(self, page: str) -> str:
        """Keep the report; returns its URI."""
        return self._write("report.html", data=sealed_page(page))

    def note_spent(self, spent: Spent) -> None:
        """Note what was spent besides what the ledger tells of."""
        self._write("spent", f"{secrets.token_hex(8)}.json", data=_sealed(spent))

    def read_spent(self) -> list[Spent]:
        """What was spent besides what the ledger tells of."""
        files = self._store.list(place(self._id, "spent"))
        return [self._read(_opened(Spent), file, _DELETE_IT) for file in files]

    def read_ledger(self) -> list[LedgerRow]:
        """Every attempt whose end is noted so far, in order of time."""
        for file in self._store.list(place(self._id, "ledger.parquet")):
            if not _is_beginning(file) and file not in self._ledger:  # none of them ever changes
                self._ledger[file] = self._read(read_ledger_table, file, _DELETE_IT)
        return sorted((row for rows in self._ledger.values() for row in rows), key=lambda row: row.time)

    def read_unended(self) -> list[LedgerRow]:
        """Attempts that were begun and whose end is not noted, in order of time.

        A worker has them in hand just now, or they were lost with their driver.
        """
        begun: list[LedgerRow] = []
        for file in filter(_is_beginning, self._store.list(place(self._id, "ledger.parquet"))):
            with suppress(FileNotFoundError):  # it has ended meanwhile
                begun += self._read(read_ledger_table, file, _DELETE_IT)
        ended = {(row.driver, row.key, row.began) for row in self.read_ledger()} if begun else set()
        found = [row for row in begun if (row.driver, row.key, row.began) not in ended]
        return sorted(found, key=lambda row: row.time)

    def _write(self, *parts: str, data: bytes) -> str:
        key = place(self._id, *parts)
        self._store.write(key, data)
        return self._store.uri(key)

    def _read(self, parse: Callable[[bytes], T], file: str, remedy: str) -> T:
        data = self._store.read(file)
        try:
            return parse(data)
        except ValueError as error:
            why = str(error).splitlines()[0]
            raise StoreDamaged(f"{self._store.uri(file)}: is damaged ({why}). {remedy}") from error


class Ledger:
    """Files attempts as Parquet: that they were begun at once, how they ended within seconds, and then only that.

    So a driver that is killed leaves word of all it had in hand. Thread-safe; use as a context manager.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._id = run_id
        self._rows: list[LedgerRow] = []
        self._noted: list[LedgerRow] = []
        self._beginnings: list[str] = []  # of attempts that have ended: store keys
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clerk = threading.Thread(target=self._file_now_and_then, name=f"ledger {run_id}", daemon=True)

    def begin(self, row: LedgerRow) -> str:
        """Note that an attempt was begun; returns what `add` wants to know of that."""
        file = place(self._id, "ledger.parquet", f"{_BEGUN}{int(row.began * 1e6)}-{secrets.token_hex(4)}.parquet")
        try:
            self._store.write(file, ledger_table([row]))
        except RemasterError as error:  # as of `file`
            _LOG.warning("that shard %d of %s was begun is not written: %s", row.index, row.title, error)
        return file

    def add(self, row: LedgerRow, beginning: str = "") -> None:
        """Note how an attempt ended."""
        with self._lock:
            self._rows.append(row)
            self._noted.append(row)
            self._beginnings += [beginning] if beginning else []
            many = len(self._rows) >= _LEDGER_ROWS
        if many:
            self.file()

    def noted(self, title: str) -> list[LedgerRow]:
        """Every attempt of a title's shards that was noted here, in order of time."""
        with self._lock:
            return [row for row in self._noted if row.title == title]

    def file(self) -> None:
        """Write what has been noted since the last time."""
        with self._lock:
            rows, self._rows = self._rows, []
            beginnings, self._beginnings = self._beginnings, []
        if not rows:
            return
        name = f"{int(rows[0].time * 1e6)}-{secrets.token_hex(4)}.parquet"
        try:
            self._store.write(place(self._id, "ledger.parquet", name), ledger_table(rows))
        except RemasterError as error:
            # A ledger that cannot be written now must not fail the work it tells of; it is tried again with the next.
            _LOG.warning("%d rows of the ledger are not written yet: %s", len(rows), error)
            with self._lock:
                self._rows, self._beginnings = rows + self._rows, beginnings + self._beginnings
            return
        try:
            for file in beginnings:
                self._store.delete(file)
        except RemasterError as error:  # who reads them finds the ends too
            _LOG.warning("the ledger keeps word of attempts that have ended: %s", error)

    def __enter__(self) -> Ledger:
        self._clerk.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._clerk.join()
        self.file()

    def _file_now_and_then(self) -> None:
        while not self._over.wait(_LEDGER_SECONDS):
            self.file()


def _is_beginning(file: str) -> bool:
    return file.rpartition("/")[2].startswith(_BEGUN)


def _sealed(value: BaseModel) -> bytes:
    return sealed(value.model_dump_json(indent=1).encode())


def _opened(kind: type[M]) -> Callable[[bytes], M]:
    return lambda data: kind.model_validate_json(opened(data))


def list_runs(store: Store) -> list[str]:
    """Ids of the runs a store knows, oldest first."""
    return sorted({key.split("/")[1] for key in store.list("runs") if key.endswith("/run.json")})
