"""An attempt leaves a row in the ledger however it ends, and a waiting shard gives its turn away."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.attempt import Attempt, Turns
from flows.budget import Spending
from flows.progress import Progress
from flows.run import Ledger, RunFiles
from tasks.errors import StoreError, WorkerLost
from tasks.profile import Profile
from tasks.records import Record, Shard
from tasks.store import Store
from tasks.tables import LedgerRow

SHARD = Shard("film.mkv", 3, 30, 40, 0, 0, "length", 0, 0, 0, 1.0, "k" * 64)
RECORD = Record(SHARD.key, "s" * 64, 1234, 10, 33.5, 31, {"total": 2.5}, "host:7:cuda", rung=2, made="tiles of 96 px")


class Title:
    """One attempt after the other, and what the ledger holds of them."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder))
        self.ledger, self.turns = Ledger(self.store, "run"), Turns(lambda: 1)

    def attempt(self, number: int = 1) -> Attempt:
        return Attempt(SHARD, number, self.ledger, Progress(), self.turns, lambda: None, Spending(Profile().cost))

    def rows(self) -> list[LedgerRow]:
        return RunFiles(self.store, "run").read_ledger()

    def unended(self) -> list[LedgerRow]:
        return RunFiles(self.store, "run").read_unended()


@pytest.fixture
def title(tmp_path: Path) -> Title:
    return Title(tmp_path)


def test_one_that_is_made(title: Title) -> None:
    attempt = title.attempt(2)
    attempt.taken("host:7:cuda")
    attempt.progress(4)
    attempt.done(RECORD)
    title.ledger.file()
    (row,) = title.rows()
    assert (row.title, row.index, row.start, row.stop, row.key) == ("film.mkv", 3, 30, 40, SHARD.key)
    assert (row.outcome, row.attempt, row.worker, row.rung, row.made) == ("done", 2, "host:7:cuda", 2, "tiles of 96 px")
    assert (row.seconds, row.frames, row.bytes, row.fidelity) == (2.5, 10, 1234, 33.5)
    assert 0 < row.began <= row.time
    assert row.driver.endswith(f":{os.getpid()}")


def test_one_that_fails_is_on_the_store_at_once(title: Title) -> None:
    attempt = title.attempt()
    attempt.taken("host:7:cuda")
    attempt.progress(4)
    attempt.failed(WorkerLost("it died"))
    (row,) = title.rows()
    assert (row.outcome, row.error, row.message) == ("failed", "WorkerLost", "it died")
    assert (row.worker, row.frames, row.bytes) == ("host:7:cuda", 4, 0)
    assert 0 < row.began <= row.time
    assert row.seconds >= 0
    assert math.isnan(row.fidelity)


def test_one_whose_driver_is_killed_is_on_record_from_its_beginning(title: Title) -> None:
    attempt = title.attempt(2)
    attempt.taken("host:7:cuda")
    (row,) = title.unended()
    assert (row.outcome, row.attempt, row.worker, row.key) == ("begun", 2, "host:7:cuda", SHARD.key)
    assert row.driver.endswith(f":{os.getpid()}") and 0 < row.began <= row.time
    assert title.rows() == []
    table = pq.read_table(Path(title.store.root) / "runs/run/ledger.parquet")
    assert table["outcome"].to_pylist() == ["begun"]


@pytest.mark.parametrize("end", ["done", "failed"])
def test_one_that_ends_leaves_its_end_alone(end: str, title: Title) -> None:
    attempt = title.attempt()
    attempt.taken("host:7:cuda")
    attempt.done(RECORD) if end == "done" else attempt.failed(WorkerLost("it died"))
    title.ledger.file()
    assert [row.outcome for row in title.rows()] == [end]
    assert title.unended() == []
    assert len(title.store.list("runs/run/ledger.parquet")) == 1


def test_a_beginning_that_could_not_be_removed_is_no_attempt_without_an_end(
    title: Title, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: Store, key: str) -> None:
        raise StoreError(f"{key}: not today")

    attempt = title.attempt()
    attempt.taken("host:7:cuda")
    attempt.done(RECORD)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "delete", refuse)
        title.ledger.file()
    assert len(title.store.list("runs/run/ledger.parquet")) == 2
    assert (len(title.rows()), title.unended()) == (1, [])


def test_one_that_no_worker_ever_had(title: Title) -> None:
    title.attempt().failed(WorkerLost("no worker is left"))
    title.attempt(0).hit(RECORD)
    title.ledger.file()
    failed, hit = title.rows()
    assert (failed.worker, failed.began, failed.seconds) == ("", 0.0, 0.0)
    assert (hit.outcome, hit.worker, hit.began, hit.frames, hit.bytes) == ("cached", "", 0.0, 10, 1234)


def test_who_waits_for_a_turn_hears_that_the_pool_is_larger() -> None:
    """A pool that joins a cluster shows how many workers it has once it has started."""
    workers = [1]
    turns = Turns(lambda: workers[0])
    turns.take()
    threads = [threading.Thread(target=turns.take) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.1)
    assert all(thread.is_alive() for thread in threads)
    workers[0] = 3
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_a_shard_that_waits_for_another_driver_gives_its_turn_away(title: Title) -> None:
    title.turns.take()
    got = threading.Event()

    def another() -> None:
        title.turns.take()
        got.set()
        title.turns.leave()

    thread = threading.Thread(target=another)
    thread.start()
    assert not got.wait(0.1)
    with title.attempt().waiting():
        assert got.wait(20)
    thread.join()
    title.turns.leave()
