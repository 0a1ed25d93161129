"""`kill -9` at a random moment, of anything: run again, and it is as if nothing had happened.

Everything is real and of several processes: an S3 server that holds sources, segments and masters, a lasting Prefect
server, a Ray cluster of three nodes, the command. One round kills one thing at one moment; REMASTER_FAULT_ROUNDS says
how many rounds each thing gets (20), and the moments follow from the round's number.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.run import RunFiles, list_runs
from flows.watchdog import FIRST_SILENCE
from tasks.records import record_place
from tasks.store import Store
from tasks.verify import verify
from tests import mastered
from tests.clips import Clip, make
from tests.conftest import PREFECT_PATIENCE, REPOSITORY
from tests.faults import kills
from tests.faults.theatre import Cluster, ObjectStore, PostgreSQL, PrefectServer, await_true
from tests.s3 import S3Server, use

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

ROUNDS = range(int(os.environ.get("REMASTER_FAULT_ROUNDS", "20")))
WORKERS = 2
SETTINGS = {"scale": 4, "shards.frames": 8, "retry.delay": 0.2, "retry.lease": 5, "master.codec": "h264",
            "master.preset": "ultrafast"}  # fmt: skip
# The noise makes segments of several parts.
LIBRARY = {"film.mp4": Clip(frames=24, width=320, height=180, cuts=(14,), grain=90), "short.mkv": Clip(frames=40)}
_SCRATCH = Path(tempfile.gettempdir())


@dataclass
class Stage:
    """All that runs, and what an undisturbed run makes.

    Attributes:
        wanted: its masters, by name.
        seconds: that it takes.
        working: that its workers live.
        hit: whether one lived at the moment of each round that was to kill one.
    """

    objects: ObjectStore
    s3: S3Server
    prefect: PrefectServer
    cluster: Cluster
    wanted: dict[str, bytes]
    seconds: float
    working: float
    home: Path
    hit: list[bool] = field(default_factory=list)

    def env(self) -> dict[str, str]:
        """Of the command."""
        return {
            **{name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"},
            **self.s3.env, "PREFECT_API_URL": self.prefect.api, "RAY_ADDRESS": self.cluster.address,
            "PREFECT_HOME": str(self.home / "prefect"), "XDG_DATA_HOME": str(self.home / "data"),
        }  # fmt: skip

    def begin(self, name: str, which: str = "", workers: int = WORKERS, **env: str) -> Disturbed:
        """Start a run on a store of its own, or of those that are called so."""
        log = self.home / f"{name}{which}.log"
        return Disturbed(self, f"s3://{self.s3.bucket}/{name}", log, workers, env)


class Disturbed:
    """A run that something happens to, and the same run again."""

    def __init__(self, stage: Stage, root: str, log: Path, workers: int, env: dict[str, str]) -> None:
        self.stage, self.log, self._workers, self._env = stage, log, workers, env
        self.output, self.store = f"{root}/masters", Store(f"{root}/work")
        self.process = self._start(log)

    def _start(self, log: Path) -> subprocess.Popen[bytes]:
        settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
        arguments = ["run", f"s3://{self.stage.s3.bucket}/films", self.output, "--store", self.store.root]
        return kills.start([*arguments, "--workers", self._workers, *settings], {**self.stage.env(), **self._env}, log)

    def wait(self, seconds: float = 400) -> int:
        """Exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.words()}") from None

    def words(self) -> str:
        """What the command said."""
        return self.log.read_text(errors="replace")

    def until(self, moment: float, of: float | None = None) -> None:
        """Let a share of the time pass that an undisturbed run takes, or of so many seconds."""
        deadline = time.monotonic() + moment * (of or self.stage.seconds)
        while time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.01)

    def done(self) -> set[str]:
        """Keys of shards that have a record."""
        return {place.rsplit("/", 1)[1].removesuffix(".json") for place in self.store.list("records")}

    def errors(self) -> set[str]:
        """Classes of what went wrong in the attempts of the first run, which has ended."""
        ledger = RunFiles(self.store, list_runs(self.store)[-1]).read_ledger()
        return {row.error for row in ledger if row.outcome == "failed"}

    def require_nothing_lost(self, done: set[str]) -> None:
        """Run again and hold everything against an undisturbed run; `done` is what was done at the kill."""
        before = set(list_runs(self.store))
        self.log = self.log.with_suffix(".again.log")
        self.process = self._start(self.log)
        assert self.wait() == 0, self.words()
        (run,) = set(list_runs(self.store)) - before
        files = RunFiles(self.store, run)
        made = [row.key for row in files.read_ledger() if row.outcome == "done"]
        assert not files.read_unended(), "the end of every attempt is noted"
        assert not set(made) & done, "what was done is not done again"
        assert len(made) == len(set(made))
        output = Store(self.output)
        assert {name: output.read(name) for name in self.stage.wanted} == self.stage.wanted
        assert not self.store.list("leases"), "leases are given back"
        assert all(self.store.exists(record_place(key)) for key in made)
        uploads = self.stage.s3.boto().list_multipart_uploads(Bucket=self.stage.s3.bucket)
        assert not uploads.get("Uploads"), "no upload is left half-way"
        assert not self.store.temporaries() and not output.temporaries()
        assert not list(_SCRATCH.glob(".remaster-tmp-*")), "no scratch is left"
        bad = [finding for finding in verify(self.store.root, "", {}) if not finding.ok]
        assert not bad, "all that is kept proves itself"
        await_true(lambda: not self.stage.cluster.actors(), "no worker lives on", 60)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("objects", "prefect", "ray", "home")}
    films = folders["home"] / "films"
    for name, clip in LIBRARY.items():
        make(films / name, clip)
    objects, prefect = ObjectStore(folders["objects"]), PrefectServer(folders["prefect"])
    with pytest.MonkeyPatch.context() as patch:
        try:
            s3 = objects.start()
            use(s3.env, patch)
            s3.boto().create_bucket(Bucket=s3.bucket)
            for path in films.iterdir():
                Store(f"s3://{s3.bucket}/films").put_file(path, path.name)
            patch.setenv("PYTHONPATH", str(REPOSITORY))  # for Ray's workers
            cluster = Cluster(folders["ray"], dict(os.environ))
            prefect.start()
            cluster.start(nodes=WORKERS)
            stage = Stage(objects, s3, prefect, cluster, {}, 0.0, 0.0, folders["home"])
            began = time.monotonic()
            undisturbed = stage.begin("undisturbed")
            await_true(cluster.actors, "a worker lives")
            working = time.monotonic()
            await_true(lambda: not cluster.actors(), "the workers have done their work")
            stage.working = time.monotonic() - working
            assert undisturbed.wait() == 0, undisturbed.words()
            stage.seconds = time.monotonic() - began
            stage.wanted = mastered.masters_of(films, folders["home"] / "alone", SETTINGS)
            undisturbed.require_nothing_lost(undisturbed.done())
            yield stage
            hit = f"{sum(stage.hit)} of {len(stage.hit)} kills of a worker hit one"
            print(f"an undisturbed run takes {stage.seconds:.0f} s; {hit}")
            _no_run_is_stuck(prefect)
        finally:
            for end in (cluster.stop, prefect.kill, objects.stop):
                end()


def _no_run_is_stuck(prefect: PrefectServer) -> None:
    """Runs whose process was killed are marked so before long."""

    def running() -> list[dict[str, Any]]:
        query = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED", "CANCELLING"]}}}}
        found: list[dict[str, Any]] = httpx.post(
            f"{prefect.api}/flow_runs/filter", json=query, timeout=PREFECT_PATIENCE
        ).json()
        return found

    longest = FIRST_SILENCE.total_seconds() + 120
    await_true(lambda: not running(), "every run that was killed has ended in Prefect too", longest)


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def served(request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage with Prefect's server on a database of either kind."""
    if request.param == "SQLite":
        yield stage
        return
    if PostgreSQL.programs() is None:
        pytest.skip("no PostgreSQL is installed: apt-get install postgresql")
    database = PostgreSQL()
    prefect = PrefectServer(tmp_path_factory.mktemp("prefect-on-postgresql"), database.url)
    try:
        database.start()
        prefect.start()
        yield replace(stage, prefect=prefect)
        _no_run_is_stuck(prefect)
    finally:
        if prefect.process is not None:
            prefect.kill()
        database.stop()


def moment(what: str, number: int) -> random.Random:
    """The chance of one round."""
    return random.Random(f"{what} {number}")


@pytest.mark.parametrize("number", ROUNDS)
def test_the_driver(stage: Stage, number: int) -> None:
    chance = moment("driver", number)
    run = stage.begin(f"driver-{number}")
    run.until(chance.random())
    kills.kill_if_alive(run.process.pid)
    run.process.wait()
    run.require_nothing_lost(run.done())


@pytest.mark.parametrize("number", ROUNDS)
def test_one_of_two_drivers(stage: Stage, number: int) -> None:
    """They share the store, and the shards; the other one goes on alone."""
    chance = moment("two", number)
    one, other = (stage.begin(f"two-{number}", which, workers=1) for which in ("-one", "-other"))
    one.until(chance.random())
    kills.kill_if_alive(one.process.pid)
    one.process.wait()
    assert other.wait() == 0, other.words()
    other.require_nothing_lost(other.done())


@pytest.mark.parametrize("number", ROUNDS)
def test_an_actor(stage: Stage, number: int) -> None:
    chance = moment("actor", number)
    run = stage.begin(f"actor-{number}")
    await_true(stage.cluster.actors, "a worker lives")
    run.until(chance.random(), stage.working)
    victims = sorted(stage.cluster.actors())
    stage.hit.append(bool(victims) and kills.kill_if_alive(chance.choice(victims)))
    assert run.wait() == 0, run.words()
    assert run.errors() <= {"WorkerLost"}
    run.require_nothing_lost(run.done())


@pytest.mark.parametrize("number", ROUNDS)
def test_a_node(stage: Stage, number: int) -> None:
    chance = moment("node", number)
    run = stage.begin(f"node-{number}")
    run.until(chance.random())
    stage.cluster.kill_node()
    stage.cluster.add_node(f"node-{number}")
    assert run.wait() == 0, run.words()
    assert run.errors() <= {"WorkerLost"}
    run.require_nothing_lost(run.done())


@pytest.mark.parametrize("number", ROUNDS)
def test_the_prefect_server(served: Stage, number: int) -> None:
    """The run may end badly without it; it ends, and another one goes on."""
    name = f"prefect-{'postgresql-' if served.prefect.database else ''}{number}"
    _restarted_under_a_run(served, name, served.prefect.kill, served.prefect.start)


@pytest.mark.parametrize("number", ROUNDS)
def test_the_object_store(stage: Stage, number: int) -> None:
    _restarted_under_a_run(stage, f"objects-{number}", stage.objects.kill, stage.objects.start)


def _restarted_under_a_run(stage: Stage, name: str, kill: Callable[[], None], start: Callable[[], object]) -> None:
    chance = moment(name, 0)
    run = stage.begin(name)
    run.until(chance.random())
    kill()
    time.sleep(chance.uniform(0, 8))
    start()
    assert run.wait() in (0, 1, 2, 3), run.words()  # 2: an endpoint that never answered looks misspelt
    assert "Traceback (most recent call last)" not in run.words(), "it ends with a sentence"
    run.require_nothing_lost(run.done())


@pytest.mark.parametrize("number", ROUNDS)
def test_a_machine_that_is_taken_back(stage: Stage, number: int) -> None:
    """SIGTERM, and a deadline that is sometimes too short."""
    chance = moment("term", number)
    patience = chance.choice([0.2, 1.0, 25.0])
    run = stage.begin(f"term-{number}", REMASTER_DRAIN=str(patience))
    run.until(chance.random())
    run.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = run.wait()
    assert code in (0, 3, 128 + signal.SIGTERM, -signal.SIGTERM), run.words()
    assert time.monotonic() - began < patience + 30
    run.require_nothing_lost(run.done())
