"""A whole run on a store that fails: what passes is got over; what lasts is said, with title, shard and what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.run import RunFiles, list_runs
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.faults import proxy as wire
from tests.faults.proxy import Fault, Proxy, Rule, every, in_front_of, refuse
from tests.faults.test_bad_stores import MIXED
from tests.s3 import S3Place

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SETTINGS: dict[str, object] = {"scale": 2, "shards.frames": 8, "retry.delay": 0.1, "retry.attempts": 2,
                               "master.preset": "ultrafast"}  # fmt: skip

Run = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def proxy(s3: S3Place) -> Iterator[Proxy]:
    with in_front_of(s3.server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def films(tmp_path: Path) -> Path:
    make(tmp_path / "films" / "film.mkv", Clip(frames=24))
    return tmp_path / "films"


@pytest.fixture
def run(s3: S3Place, proxy: Proxy, films: Path, remaster: Remaster) -> Run:
    """The command, on a store and output behind the proxy."""
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    env = {**s3.server.env, "AWS_ENDPOINT_URL": proxy.endpoint, "RAY_ADDRESS": ""}
    return lambda: remaster("run", films, f"{s3.root}/out", "--store", f"{s3.root}/work", *settings, env=env)


def require_undisturbed(s3: S3Place, films: Path, folder: Path) -> None:
    """The master is what it is without any of this, and nothing is left lying about."""
    wanted = mastered.masters_of(films, folder, SETTINGS)
    assert {name: Store(f"{s3.root}/out").read(name) for name in wanted} == wanted
    assert not s3.server.boto().list_multipart_uploads(Bucket=s3.server.bucket).get("Uploads")
    assert not Store(f"{s3.root}/work").list("leases")


def test_one_request_in_twenty_goes_wrong(s3: S3Place, proxy: Proxy, run: Run, films: Path, tmp_path: Path) -> None:
    proxy.rule = wire.sometimes(1, 0.05, MIXED)
    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert len(proxy.faults()) > 3
    proxy.rule = lambda exchange: None
    require_undisturbed(s3, films, tmp_path / "alone")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (refuse(503, "SlowDown"), r"SlowDown.*see that the store is well, then run again"),
        (refuse(400, "ExpiredToken"), r"The credentials have expired. Log in again"),
    ],
    ids=["503", "expired"],
)
def test_records_cannot_be_written(
    s3: S3Place, proxy: Proxy, run: Run, films: Path, tmp_path: Path, fault: Fault, said: str
) -> None:
    proxy.rule = every(fault, "create", key="/work/records/")
    ended = run()
    assert ended.returncode == 1
    first, _, last = said.partition(".*")
    assert "film.mkv: 3 of 3 shards failed (film.mkv [0,8), film.mkv [8,16), film.mkv [16,24))" in ended.stderr
    assert first in ended.stderr and last in ended.stderr
    assert "Traceback (most recent call last)" not in ended.stderr
    assert Store(f"{s3.root}/work").list("records") == []
    assert not Store(f"{s3.root}/out").exists("film.mkv")
    proxy.rule = lambda exchange: None
    again = run()
    assert again.returncode == 0, again.stderr
    require_undisturbed(s3, films, tmp_path / "alone")


@pytest.mark.parametrize("rule", [wire.LaggingList(4), every(wire.slow(0.2))], ids=["a list that lags", "slow"])
def test_late_answers_cost_time_and_nothing_else(
    s3: S3Place, proxy: Proxy, run: Run, films: Path, remaster: Remaster, tmp_path: Path, rule: Rule
) -> None:
    proxy.rule = rule
    ended = run()
    assert ended.returncode == 0, ended.stderr
    cleaned = remaster("clean", f"{s3.root}/work", "--yes", env={**s3.server.env, "AWS_ENDPOINT_URL": proxy.endpoint})
    assert cleaned.returncode == 0 or "no run here speaks of any shard" in cleaned.stderr, cleaned.stderr
    again = run()
    assert again.returncode == 0, again.stderr
    proxy.rule = lambda exchange: None
    store = Store(f"{s3.root}/work")
    ends = [[row.outcome for row in RunFiles(store, name).read_ledger()] for name in list_runs(store)]
    assert ends == [["done"] * 3, ["cached"] * 3], "nothing that is needed is cleaned away, and nothing is made twice"
    require_undisturbed(s3, films, tmp_path / "alone")
