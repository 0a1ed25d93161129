"""Only what failed or was rejected is made again, whichever way one asks; the network counts how often it is asked."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    TaskRunFilter,
    TaskRunFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from flows.run import Run
from tasks.profile import read_profile
from tests.clips import Clip, make
from tests.conftest import REPOSITORY, Remaster
from tests.contract import assert_keeps, file_hash
from tests.faulty import Faults

SHARDS = 40
BAD = (4 * 7, 4 * 20, 4 * 39)
SETTINGS = (
    *("--model", "faulty", "--scale", "2", "--set", "shards.frames=4", "--set", "shards.cut_score=100"),
    *("--set", "retry.attempts=1", "--set", "master.codec=h264", "--set", "master.preset=ultrafast"),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("library") / "film.mp4", Clip(frames=4 * SHARDS, width=32, height=24))


class Injected:
    """Runs of one library in which the network fails where it is told to."""

    def __init__(self, source: Path, folder: Path, remaster: Remaster, env: dict[str, str]) -> None:
        self.source, self.output, self.remaster = source, folder / "out", remaster
        self.faults = Faults(folder / "faults")
        self.env = self.faults.env(env)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.remaster("run", self.source, self.output, *SETTINGS, *arguments, env=self.env)

    def rerun(self, *arguments: object, run: str = "") -> subprocess.CompletedProcess[str]:
        return self.remaster("rerun", run or self.id, "--store", self.output / ".remaster", *arguments, env=self.env)

    @property
    def id(self) -> str:
        """Of the latest run."""
        return max((self.output / ".remaster" / "runs").iterdir(), key=lambda p: p.stat().st_mtime_ns).name

    def ledger(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pq.read_table(
            self.output / ".remaster" / "runs" / self.id / "ledger.parquet"
        ).to_pylist()
        return rows

    def fail_once(self) -> None:
        """A first run in which three shards fail."""
        self.faults.env(self.env)
        self.faults.happen("fail", *BAD)
        result = self.run()
        assert result.returncode == 1, result.stdout + result.stderr
        assert "3 of 40 shards failed; frames [28,32), [80,84), [156,160)" in result.stderr
        assert sorted(self.faults.invocations()) == [4 * shard for shard in range(SHARDS)]
        assert not (self.output / "film.mp4").exists()
        self.faults.happen("fail")


@pytest.fixture
def injected(source: Path, remaster: Remaster, remaster_env: dict[str, str], tmp_path: Path) -> Injected:
    return Injected(source, tmp_path, remaster, remaster_env)


@pytest.mark.slow
def test_of_forty_shards_three_fail_and_three_are_made_again(injected: Injected) -> None:
    injected.fail_once()
    first = {str(row["error"]) for row in injected.ledger() if row["outcome"] == "failed"}
    assert first == {"RuntimeError"}
    result = injected.rerun()
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(injected.faults.invocations()) == list(BAD)
    outcomes = [row["outcome"] for row in injected.ledger()]
    assert (outcomes.count("done"), outcomes.count("cached")) == (3, SHARDS - 3)
    assert_keeps(injected.source, injected.output / "film.mp4", 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_plain_second_run_does_the_same(injected: Injected) -> None:
    injected.fail_once()
    result = injected.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(injected.faults.invocations()) == list(BAD)
    assert_keeps(injected.source, injected.output / "film.mp4", 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rejected_shard_is_made_otherwise_and_its_neighbours_stay(injected: Injected, remaster: Remaster) -> None:
    assert injected.run().returncode == 0
    injected.faults.invocations()
    first, before = injected.id, file_hash(injected.output / "film.mp4")

    # As it was, but on purpose: nothing changes.
    again = injected.rerun("--shard", 5)
    assert again.returncode == 0, again.stdout + again.stderr
    assert injected.faults.invocations() == [20]
    assert file_hash(injected.output / "film.mp4") == before

    otherwise = injected.rerun("--shard", 5, "--with", "model=bicubic", "--reason", "it rings")
    assert otherwise.returncode == 0, otherwise.stdout + otherwise.stderr
    assert injected.faults.invocations() == []
    rows = injected.ledger()
    assert [(row["start"], row["outcome"]) for row in rows if row["outcome"] != "cached"] == [(20, "done")]
    assert file_hash(injected.output / "film.mp4") != before
    said = "film.mp4 [20,24): made with model=bicubic: it rings"
    report = (injected.output / ".remaster" / "runs" / injected.id / "report.html").read_text()
    assert said in report
    receipt = json.loads((injected.output / "film.mp4.receipt.json").read_bytes())
    assert [(s["start"], s["settings"], s["reason"]) for s in receipt["shards"] if "settings" in s] == [
        (20, {"model": "bicubic"}, "it rings")
    ]
    assert remaster("verify", injected.output, injected.output / ".remaster").returncode == 0

    # A repetition of it keeps what was decided, and one of the first run goes back, without any work.
    assert injected.rerun().returncode == 0
    assert json.loads((injected.output / "film.mp4.receipt.json").read_bytes()) == receipt
    assert injected.rerun(run=first).returncode == 0
    assert file_hash(injected.output / "film.mp4") == before
    assert injected.faults.invocations() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_force_makes_all_of_it_again(injected: Injected) -> None:
    assert injected.run().returncode == 0
    assert len(injected.faults.invocations()) == SHARDS
    before = file_hash(injected.output / "film.mp4")
    assert injected.run("--force").returncode == 0
    assert len(injected.faults.invocations()) == SHARDS
    assert file_hash(injected.output / "film.mp4") == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_retry_button_of_prefect_does_the_same(injected: Injected, prefect_api: str, tmp_path: Path) -> None:
    """A served deployment: the button sets the state of a failed run to scheduled, and its runner begins it again."""
    serve = "from flows.library import remaster_library; remaster_library.serve('retried')"
    log = tmp_path / "log"
    with log.open("wb") as out:
        env = {**injected.env, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        serving = subprocess.Popen([sys.executable, "-c", serve], env=env, cwd=REPOSITORY, stdout=out, stderr=out)
    try:
        # Not bare requests: a server on SQLite answers with 503 while it is busy, and clients ask again.
        with SyncPrefectClient(prefect_api) as client:
            deployment = _wait_for(lambda: _deployment(client), serving, log)
            injected.faults.happen("fail", *BAD)
            run = Run(
                id="20260101-000000-aaaa", library=str(injected.source), output=str(injected.output),
                store=str(injected.output / ".remaster"), profile=read_profile(None, _as_overrides(SETTINGS)),
            )  # fmt: skip
            parameters = {"run": run.model_dump(mode="json")}
            created = client.create_flow_run_from_deployment(deployment, parameters=parameters, state=Scheduled()).id
            failed = _wait_for(lambda: _ended(client, created), serving, log)
            assert failed.state and failed.state.is_failed() and failed.run_count == 1, failed
            assert len(injected.faults.invocations()) == SHARDS
            injected.faults.happen("fail")
            retry = Scheduled(name="AwaitingRetry", message="Retry from the UI")
            assert client.set_flow_run_state(created, retry).status == SetStateStatus.ACCEPT
            done = _wait_for(lambda: _ended(client, created, count=2), serving, log)
            assert done.state and done.state.is_completed(), done
            states = _last_states(client, created)
    finally:
        serving.terminate()  # not SIGINT, which a suite run in a shell's background has them ignore
        try:
            serving.wait(60)
        finally:
            serving.kill()  # one that hangs is this test's failure, and no later one's
            serving.wait(10)
    assert sorted(injected.faults.invocations()) == list(BAD)
    assert sorted(states.values()).count("Cached") == SHARDS - 3
    assert_keeps(injected.source, injected.output / "film.mp4", 2)


T = TypeVar("T")


def _wait_for(look: Callable[[], T | None], process: subprocess.Popen[bytes], log: Path) -> T:
    deadline = time.monotonic() + 240
    while (found := look()) is None:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.5)
    return found


def _deployment(client: SyncPrefectClient) -> UUID | None:
    with contextlib.suppress(ObjectNotFound):
        return client.read_deployment_by_name("remaster library/retried").id
    return None


def _ended(client: SyncPrefectClient, run: UUID, count: int = 1) -> FlowRun | None:
    found = client.read_flow_run(run)
    return found if found.state and found.state.is_final() and found.run_count >= count else None


def _last_states(client: SyncPrefectClient, run: UUID) -> dict[str, str | None]:
    """State of the latest task of each shard, by the shard's name."""
    within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    latest = max(client.read_flow_runs(flow_run_filter=within), key=lambda each: str(each.start_time))
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[latest.id])),
        task_run_filter=TaskRunFilter(name=TaskRunFilterName(like_="shard ")),
    )
    return {task.name: task.state_name for task in tasks}


def _as_overrides(arguments: tuple[str, ...]) -> dict[str, Any]:
    """The settings of a command line, as a profile takes them."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    named = {
        (value.split("=")[0] if option == "--set" else option[2:]): value.split("=")[-1] for option, value in pairs
    }
    return {name: int(value) if value.isdigit() else value for name, value in named.items()}
