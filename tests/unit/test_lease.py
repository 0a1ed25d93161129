"""Leases: one holder at a time, taken over when it is gone, and nothing left behind by those who leave."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import LeaseLost, StoreError
from tasks.store import Store, lease
from tasks.store.lease import Lease

LONG = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def agreeing_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MARGIN", 0.0)


def claimed(store: Store, seconds: float = LONG) -> Lease:
    held = lease.claim(store, "film", seconds)
    assert held is not None
    return held


def left_by(store: Store, number: int, expires: float, process: str = "elsewhere-12-34") -> None:
    """A lease of a process that gives no sign of life any more."""
    store.write(f"leases/film.{number:04d}", json.dumps({"process": process, "expires": expires}).encode())


def paused(held: Lease) -> None:
    """Its holder's process is stopped: nothing renews it."""
    held._left.set()
    held._heart.join()


def test_one_holder_at_a_time_and_the_next_when_it_has_left(store: Store) -> None:
    with claimed(store) as held:
        held.confirm()
        assert lease.claim(store, "film", LONG) is None
        with lease.claim(store, "another film", LONG) as other:  # type: ignore[union-attr]
            other.confirm()
    assert store.list("leases") == []
    with claimed(store):
        pass


@pytest.mark.parametrize("left", [0, 2])
def test_of_many_that_ask_at_once_one_gets_it(store: Store, left: int) -> None:
    for number in range(left):
        left_by(store, number + 1, expires=time.time() - LONG)
    begin = threading.Barrier(16)

    def ask(_: int) -> Lease | None:
        begin.wait()
        return lease.claim(store, "film", LONG)

    with ThreadPoolExecutor(16) as threads:
        (winner,) = [held for held in threads.map(ask, range(16)) if held]
    assert winner.number == left + 1
    with winner:
        winner.confirm()


def test_a_lease_that_ran_out_is_taken_over_but_not_before_every_clock_says_so(store: Store) -> None:
    left_by(store, 1, expires=time.time() - lease.MARGIN + 1)
    assert lease.claim(store, "film", LONG) is None
    left_by(store, 1, expires=time.time() - lease.MARGIN - 1)
    with claimed(store) as held:
        assert held.number == 2
    assert store.list("leases") == [], "the thing is there: nobody needs the old one"


def test_a_lease_lives_as_long_as_its_holder_works(store: Store, agreeing_clocks: None) -> None:
    with claimed(store, seconds=1.5) as held:
        for _ in range(15):
            time.sleep(0.2)
            held.confirm()
            assert lease.claim(store, "film", LONG) is None


def test_a_holder_that_was_away_knows_that_it_lost(store: Store, agreeing_clocks: None) -> None:
    late = claimed(store, seconds=0.2)
    paused(late)
    time.sleep(0.3)
    with pytest.raises(LeaseLost):
        late.confirm()
    second = claimed(store)
    with pytest.raises(LeaseLost), late:
        late.confirm()
    second.confirm()
    assert lease.claim(store, "film", LONG) is None, "the late one's end freed what was not its own any more"
    with second:
        pass
    assert store.list("leases") == []


def test_a_higher_number_counts_more_than_a_holders_own_clock(store: Store) -> None:
    held = claimed(store)
    left_by(store, 2, expires=time.time() + LONG)  # by one whose clock is an hour ahead
    with pytest.raises(LeaseLost), held:
        held.confirm()
    assert len(store.list("leases")) == 2, "it would be free below a live one"
    assert lease.claim(store, "film", LONG) is None


def test_a_dead_lease_above_ones_own_takes_nothing_away(store: Store) -> None:
    left_by(store, 2, expires=time.time() - LONG)  # by one that was killed while it removed them
    with claimed(store) as held:
        assert held.number == 1
        held.confirm()


def test_a_renewal_that_arrives_too_late_does_not_bring_a_lease_back(
    store: Store, agreeing_clocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def slowly(self: Store, key: str, data: bytes) -> None:
        time.sleep(0.5)
        write(self, key, data)

    monkeypatch.setattr(Store, "write", slowly)
    held = claimed(store, seconds=0.3)
    time.sleep(0.8)
    with pytest.raises(LeaseLost), held:
        held.confirm()


def test_a_store_that_fails_for_a_moment_costs_no_lease(
    store: Store, agreeing_clocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = Store.write, [StoreError("503")]

    def failing(self: Store, key: str, data: bytes) -> None:
        if failures:
            raise failures.pop()
        write(self, key, data)

    monkeypatch.setattr(Store, "write", failing)
    with claimed(store, seconds=0.9) as held:
        time.sleep(1.2)
        held.confirm()


def test_who_gives_up_lets_the_next_one_try_at_once(store: Store) -> None:
    left_by(store, 1, expires=time.time() - LONG)
    with pytest.raises(RuntimeError), claimed(store):
        raise RuntimeError
    assert store.list("leases") == ["leases/film.0001"], "numbers are taken away from the lowest up, or one's own"
    with claimed(store) as held:
        assert held.number == 2


def test_a_lease_of_a_killed_process_of_this_machine_is_free_at_once(store: Store) -> None:
    script = (
        "import sys, time; from tasks.store import Store, lease\n"
        "held = lease.claim(Store(sys.argv[1]), 'film', 600); print(held.number, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, store.root], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        assert lease.claim(store, "film", LONG) is None
        process.kill()
    with claimed(store) as held:
        assert held.number == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"process": "a", "expires": "soon"}'])
def test_a_torn_lease_is_nobodys(store: Store, content: bytes) -> None:
    store.write("leases/film.0001", content)
    with claimed(store) as held:
        assert held.number == 2
    assert store.list("leases") == []


def test_a_lease_with_a_changed_byte_is_nobodys(store: Store) -> None:
    """Or one digit of when it runs out would keep everybody waiting for years."""
    claimed(store)
    whole = store.read("leases/film.0001")
    assert lease.claim(store, "film", 60) is None
    digit = whole.index(b'"expires": 1') + len(b'"expires": ')
    store.write("leases/film.0001", whole[:digit] + b"9" + whole[digit + 1 :])
    with claimed(store) as held:
        assert held.number == 2


def test_waiting_ends_when_the_holder_leaves(store: Store) -> None:
    held, looks = claimed(store), []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 2:
            with held:
                pass

    lease.wait(store, "film", look)
    assert len(looks) == 2
    lease.wait(store, "film", look)
    assert len(looks) == 2, "nobody holds it: no waiting"


def test_waiting_ends_when_the_lease_runs_out(store: Store, agreeing_clocks: None) -> None:
    left_by(store, 1, expires=time.time() + 0.5)
    lease.wait(store, "film", lambda: None)
    assert claimed(store).number == 2


def test_waiting_ends_when_it_is_told_to(store: Store) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with claimed(store), pytest.raises(Stop):
        lease.wait(store, "film", stop)
