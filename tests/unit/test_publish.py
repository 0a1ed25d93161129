"""A master is published by one of those who want it, and by none that lost its lease."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks import finish
from tasks.commit import done_record
from tasks.errors import LeaseLost
from tasks.finish import finish_title, master_key, publish_title
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, read_profile
from tasks.records import MasterRecord, Record
from tasks.scan import scan
from tasks.store import Store, lease
from tests.clips import Clip, make

PROFILE = read_profile(None, {"scale": 2, "shards.frames": 10, "master.codec": "h264", "master.preset": "ultrafast"})


class Title:
    """A title whose shards are done."""

    def __init__(self, folder: Path) -> None:
        source = make(folder / "film.mkv", Clip(frames=20))
        self.store, self.output = Store(str(folder / "store")), Store(str(folder / "out"))
        (title,) = scan(str(source), self.output.root, PROFILE)
        self.plan: Plan = plan_title(title, PROFILE, self.store)
        worker = ShardWorker(WorkerSettings("lanczos", threads=1))
        self.records: list[Record] = [worker.upscale(work) for work in self.plan.work]
        assert [done_record(shard, self.store) for shard in self.plan.shards] == self.records

    def publish(self) -> MasterRecord:
        return publish_title(
            self.plan, PROFILE, self.records, self.store, self.output, lambda frames: None, lambda: None
        )

    @property
    def key(self) -> str:
        return master_key(self.plan, PROFILE, self.records, self.output)


@pytest.fixture
def title(tmp_path: Path) -> Title:
    return Title(tmp_path)


def test_of_several_at_once_one_finishes_and_the_others_find_its_master(
    title: Title, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[Profile] = []

    def counted(plan: Plan, profile: Profile, *rest: Any) -> MasterRecord:
        finished.append(profile)
        return finish_title(plan, profile, *rest)

    monkeypatch.setattr(finish, "finish_title", counted)
    begin = threading.Barrier(3)

    def publish(_: int) -> MasterRecord:
        begin.wait()
        return title.publish()

    with ThreadPoolExecutor(3) as threads:
        one, *others = threads.map(publish, range(3))
    assert others == [one, one]
    assert len(finished) == 1
    assert title.store.list("leases") == []
    assert title.publish() == one


def test_who_lost_the_lease_while_it_encoded_publishes_nothing(title: Title, monkeypatch: pytest.MonkeyPatch) -> None:
    write_master = finish.write_master

    def overtaken(*arguments: Any) -> Any:
        contents = write_master(*arguments)
        another = {"process": "elsewhere-12-34", "expires": time.time() + 60}
        assert title.store.create(f"leases/{title.key}.0002", json.dumps(another).encode())
        return contents

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_master", overtaken)
        with pytest.raises(LeaseLost):
            title.publish()
    assert title.output.list() == []
    assert title.store.list("masters") == []
    assert lease.claim(title.store, title.key, 60) is None


def test_waiting_for_another_drivers_master_ends_when_the_run_does(title: Title) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    held = lease.claim(title.store, title.key, 60)
    assert held is not None
    with held, pytest.raises(Stop):
        publish_title(title.plan, PROFILE, title.records, title.store, title.output, lambda frames: None, stop)
