"""What a pool counts when it takes a worker back; on real actors in the integration tests."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.pool import pool as pools
from tasks.pool.pool import WorkerPool


@pytest.mark.parametrize(("there", "coming", "retired"), [(2, 0, True), (1, 0, False), (1, 3, False), (2, 3, True)])
def test_the_last_worker_that_is_there_is_kept_for_longer(
    there: int, coming: int, retired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that an autoscaler is still to find a machine for can take nobody's place yet."""
    killed: list[Any] = []
    monkeypatch.setattr(pools.ray, "kill", killed.append)
    pool: Any = object.__new__(WorkerPool)
    pool._lock, pool._idle = threading.Lock(), queue.Queue()
    pool._usable, pool._pending = there + coming, coming
    pool._give_back(SimpleNamespace(deaths=pools._DEATHS_PER_ACTOR, actor="actor", number=0))
    assert killed == (["actor"] if retired else [])
    assert pool._idle.qsize() == (0 if retired else 1)
