"""A master is published by one of those who want it, and by none that lost its lease."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks import finish
from tasks.commit import done_record
from tasks.decided import plan_decided
from tasks.errors import LeaseLost, UnsupportedSource
from tasks.finish import finish_title, publish_title, sole_publisher
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, read_profile
from tasks.records import MasterRecord, Record
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from tests.contract import file_hash

SETTINGS = {"scale": 2, "shards.frames": 10, "master.codec": "h264", "master.preset": "ultrafast"}
PROFILE = read_profile(None, SETTINGS)


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

    def publish(self, profile: Profile = PROFILE, wait: Callable[[], None] = lambda: None) -> MasterRecord:
        with sole_publisher(self.plan.title, self.output, PROFILE.retry.lease, wait) as held:
            return publish_title(
                self.plan, profile, self.records, self.store, self.output, lambda frames: None, held.confirm
            )

    def leases(self) -> list[str]:
        return self.output.list(".remaster/leases")


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
    assert title.leases() == []
    assert title.publish() == one


def test_who_lost_the_lease_while_it_encoded_publishes_nothing(title: Title, monkeypatch: pytest.MonkeyPatch) -> None:
    write_master = finish.write_master

    def overtaken(*arguments: Any) -> Any:
        contents = write_master(*arguments)
        another = {"process": "elsewhere-12-34", "expires": time.time() + 60}
        (mine,) = title.leases()
        assert title.output.create(mine.replace(".0001", ".0002"), json.dumps(another).encode())
        return contents

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_master", overtaken)
        with pytest.raises(LeaseLost):
            title.publish()
    assert not any(file.endswith(".mkv") for file in title.output.list())
    assert title.store.list("masters") == []

    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        title.publish(wait=stop)


def test_a_file_that_nobody_here_made_is_never_replaced(title: Title) -> None:
    """Neither at the end, nor is anything made for it before."""
    place = Path(title.output.uri(title.plan.title.master))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"another film")
    with pytest.raises(UnsupportedSource, match=r"taken by a file that remaster did not make\. Move that file"):
        title.publish()
    with pytest.raises(UnsupportedSource, match="taken by a file"):
        plan_decided(title.plan.title, PROFILE, title.store, title.output)
    assert place.read_bytes() == b"another film"
    assert title.leases() == []
    place.unlink()
    made = title.publish()
    assert not Path(f"{place}.receipt.json").exists()  # as if it had been killed before that
    place.write_bytes(b"torn")
    assert title.publish().sha256 == made.sha256 == file_hash(place)


def test_what_a_receipt_speaks_of_is_ours(title: Title) -> None:
    """As of a library whose store and notes are gone."""
    place = Path(title.output.uri(title.plan.title.master))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"an older master")
    Path(f"{place}.receipt.json").write_bytes(b"{}")
    assert title.publish().sha256 == file_hash(place)


def test_drivers_with_other_settings_and_stores_want_the_same_place(title: Title, tmp_path: Path) -> None:
    """While one is between its master and its receipt, the other one's master does not take the place."""
    other = read_profile(None, {**SETTINGS, "master.quality": 30})
    place = title.output.uri(title.plan.title.master)
    meanwhile: list[MasterRecord] = []

    def publish_otherwise() -> None:
        meanwhile.append(title.publish(other))

    with sole_publisher(title.plan.title, title.output, 60.0, lambda: None) as held:
        mine = publish_title(
            title.plan, PROFILE, title.records, title.store, title.output, lambda frames: None, held.confirm
        )
        rival = threading.Thread(target=publish_otherwise)
        rival.start()
        time.sleep(1)
        assert not meanwhile
        assert file_hash(Path(place)) == mine.sha256  # of which the receipt would be written now
    rival.join(60)
    assert file_hash(Path(place)) == meanwhile[0].sha256 != mine.sha256
    assert title.leases() == []
