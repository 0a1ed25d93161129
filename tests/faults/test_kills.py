"""`kill -9` in the middle of a run loses nothing: the bytes are the same, and only what was in flight is done again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import file_hash
from tests.faults import kills

pytestmark = pytest.mark.slow

# Long enough to be caught in the middle, short enough for a test.
CLIP = Clip(frames=80, width=256, height=144, cuts=(30,))
SETTINGS = (
    *("--scale", "4", "--set", "shards.frames=8", "--set", "retry.delay=0.2"),
    *("--set", "master.codec=h264", "--set", "master.preset=ultrafast"),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("library") / "film.mp4", CLIP)


@pytest.fixture(scope="module")
def undisturbed(source: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("undisturbed")
    result = remaster("run", source, output, *SETTINGS)
    assert result.returncode == 0, result.stderr
    return file_hash(output / "film.mp4")


@pytest.fixture
def own_ray(remaster_env: dict[str, str]) -> dict[str, str]:
    """The environment of a run that starts Ray itself, so that its processes hang on the driver."""
    return {**remaster_env, "RAY_ADDRESS": ""}


def attempts(output: Path) -> list[dict[str, object]]:
    """Ledger rows of the latest run."""
    run = max((output / ".remaster" / "runs").iterdir(), key=lambda p: (p / "run.json").stat().st_mtime)
    rows: list[dict[str, object]] = pq.read_table(run / "ledger.parquet").to_pylist()
    return rows


def test_a_killed_driver_loses_at_most_the_shards_in_flight(
    source: Path, undisturbed: str, own_ray: dict[str, str], remaster: Remaster, tmp_path: Path
) -> None:
    store, log = tmp_path / ".remaster", tmp_path / "log"
    driver = kills.start(["run", source, tmp_path, *SETTINGS], own_ray, log)
    kills.wait_until(lambda: len(kills.records(store)) >= 3, driver, log)
    below = kills.descendants(driver.pid)
    kills.kill(driver.pid)
    driver.wait()
    done = kills.records(store)
    assert not (tmp_path / "film.mp4").exists()

    run = next((store / "runs").iterdir()).name
    status = remaster("status", run, "--store", store)
    assert "cut off" in status.stdout
    result = remaster("rerun", run, "--store", store, env=own_ray)
    assert result.returncode == 0, result.stderr
    assert file_hash(tmp_path / "film.mp4") == undisturbed
    worked = [row for row in attempts(tmp_path) if row["outcome"] == "done"]
    assert not {row["key"] for row in worked} & done
    # The actor may still finish the shard in its hands before it learns that nobody waits for it.
    assert 0 <= len(kills.records(store)) - len(worked) - len(done) <= 1

    deadline = time.monotonic() + 90  # Ray's agents look for their node once a minute
    while (left := kills.alive(below)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, "processes of the killed run live on"


def test_a_killed_actor_costs_its_shard_another_attempt_and_nothing_else(
    source: Path, undisturbed: str, own_ray: dict[str, str], tmp_path: Path
) -> None:
    store, log = tmp_path / ".remaster", tmp_path / "log"
    driver = kills.start(["run", source, tmp_path, *SETTINGS], own_ray, log)
    kills.wait_until(lambda: len(kills.records(store)) >= 2, driver, log)
    kills.kill(kills.worker_pid(driver.pid))
    assert driver.wait(120) == 0, log.read_text(errors="replace")
    assert file_hash(tmp_path / "film.mp4") == undisturbed
    rows = attempts(tmp_path)
    failed = [row for row in rows if row["outcome"] == "failed"]
    assert [row["error"] for row in failed] == ["WorkerLost"]
    # Killed between its record and its answer, it had done the shard, and the next attempt finds that.
    ended = [row for row in rows if row["outcome"] in ("done", "cached")]
    assert len(ended) == len({row["key"] for row in ended}) == len(kills.records(store))
    retried = next(row for row in ended if row["key"] == failed[0]["key"])
    assert retried["attempt"] == 2
    assert [row for row in ended if row["outcome"] == "cached"] in ([], [retried])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_once_a_run_drains_and_goes_on_later(
    source: Path, undisturbed: str, own_ray: dict[str, str], remaster: Remaster, tmp_path: Path, number: signal.Signals
) -> None:
    store, log = tmp_path / ".remaster", tmp_path / "log"
    driver = kills.start(["run", source, tmp_path, *SETTINGS], own_ray, log)
    kills.wait_until(lambda: len(kills.records(store)) >= 2, driver, log)
    driver.send_signal(number)
    assert driver.wait(60) == 3, log.read_text(errors="replace")
    done = kills.records(store)
    assert 2 <= len(done) < CLIP.frames // 8
    assert "stopped" in log.read_text(errors="replace")
    assert not list((store / "segments").rglob("*tmp*"))
    result = remaster("rerun", next((store / "runs").iterdir()).name, "--store", store)
    assert result.returncode == 0, result.stderr
    assert file_hash(tmp_path / "film.mp4") == undisturbed
    assert not {row["key"] for row in attempts(tmp_path) if row["outcome"] == "done"} & done
