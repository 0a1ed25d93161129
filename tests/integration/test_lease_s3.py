"""Leases on a real S3 server: the conditional write decides there too, and what it costs is known."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.errors import LeaseLost
from tasks.store import Store, lease
from tasks.store.lease import Lease
from tasks.store.s3_client import client
from tests.s3 import S3Place


@pytest.fixture
def store(s3: S3Place) -> Store:
    return Store(s3.root)


def test_of_many_that_ask_at_once_one_gets_it(store: Store) -> None:
    begin = threading.Barrier(8)

    def ask(_: int) -> Lease | None:
        begin.wait()
        return lease.claim(store, "film", 60)

    with ThreadPoolExecutor(8) as threads:
        (winner,) = [held for held in threads.map(ask, range(8)) if held]
    with winner:
        winner.confirm()
        assert lease.claim(store, "film", 60) is None
    assert store.list() == []


def test_it_is_renewed_while_its_holder_works_and_taken_over_when_it_does_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "MARGIN", 0.5)
    away = lease.claim(store, "film", 3)
    assert away is not None
    time.sleep(4)
    away.confirm()
    assert lease.claim(store, "film", 3) is None
    away._left.set()  # as if its process was stopped
    lease.wait(store, "film", lambda: None)
    second = lease.claim(store, "film", 3)
    assert second is not None and second.number == 2
    with pytest.raises(LeaseLost), away:
        away.confirm()
    with second:
        second.confirm()
    assert store.list() == []


def test_alone_it_costs_one_create_and_one_delete(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for method in ("head_object", "get_object", "put_object", "delete_object", "list_objects_v2"):
        monkeypatch.setattr(client().s3, method, _counted(getattr(client().s3, method), method, made))
    held = lease.claim(store, "film", 60)
    assert held is not None
    with held:
        # A create looks before, and afterwards whose object is there: not every server keeps to the condition.
        assert made == ["head_object", "put_object", "head_object"]
    assert made[3:] == ["delete_object"]


def _counted(method, name, made):
    async def counted(**parameters):
        made.append(name)
        return await method(**parameters)

    counted.__name__ = name
    return counted
