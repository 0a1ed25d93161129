"""A shard that kills three workers, each a real process that gets a real SIGKILL: what becomes of its title."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import assert_keeps
from tests.faulty import Faults
from tests.feed import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

POISON = 20
SETTINGS = (
    *("--model", "faulty", "--scale", "2", "--set", "shards.frames=10", "--set", "shards.cut_score=100"),
    *("--set", "retry.delay=0.1", "--set", "master.codec=h264", "--set", "master.preset=ultrafast"),
)


class Poisoned:
    """Runs of a film of five shards, of which the third kills whoever has it in hand."""

    def __init__(self, folder: Path, remaster: Remaster, env: dict[str, str]) -> None:
        self.source, self.output = make(folder / "library" / "film.mkv", Clip(frames=50)), folder / "out"
        self.store, self.master = self.output / ".remaster", self.output / "film.mkv"
        self.faults, self.remaster = Faults(folder / "faults"), remaster
        self.env = self.faults.env(env)
        self.faults.happen("kill", POISON)

    def run(self, policy: str, *more: object) -> subprocess.CompletedProcess[str]:
        policy = f"retry.quarantine={policy}"
        return self.remaster("run", self.source, self.output, *SETTINGS, "--set", policy, *more, env=self.env)

    def rerun(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        run = max((self.store / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns).name
        return self.remaster("rerun", run, "--store", self.store, *arguments, env=self.env)

    def attempts(self) -> dict[int, list[dict[str, object]]]:
        """Ledger rows of all runs, by first frame."""
        found: dict[int, list[dict[str, object]]] = {}
        for run in sorted((self.store / "runs").iterdir()):
            rows = pq.read_table(run / "ledger.parquet").to_pylist()
            for row in sorted(rows, key=lambda row: row["time"]):
                found.setdefault(row["start"], []).append(row)
        return found

    @property
    def report(self) -> str:
        (run,) = (self.store / "runs").iterdir()
        return (run / "report.html").read_text()


@pytest.fixture
def poisoned(remaster: Remaster, remaster_env: dict[str, str], tmp_path: Path) -> Poisoned:
    return Poisoned(tmp_path, remaster, remaster_env)


def test_held_back_until_somebody_decides(poisoned: Poisoned, prefect_api: str) -> None:
    result = poisoned.run("hold")
    assert result.returncode == 3, result.stdout + result.stderr
    assert "exceptions: 1 of 1 titles are not done: film.mkv: held back, with 4 of 5 shards made" in result.stderr
    assert "frames [20,30) are quarantined" in result.stderr
    assert "--title film.mkv --shard 2 --with model=lanczos" in result.stderr
    shard = f"remaster.shard.{poisoned.source} [20,30)"
    (told,) = events(prefect_api, "remaster.shard.quarantined", 1, resource={"id": [shard]})
    assert (told["payload"]["start"], told["payload"]["stop"]) == (20, 30)
    assert not poisoned.master.exists()
    for words in ("held", "[20,30)", "it took down 3 workers"):
        assert words in poisoned.report
    assert poisoned.faults.invocations().count(POISON) == 3

    deaths = poisoned.attempts()[POISON]
    assert [row["error"] for row in deaths] == ["WorkerLost", "WorkerLost", "Quarantined"]
    assert [row["attempt"] for row in deaths] == [1, 2, 3]
    assert len({row["worker"] for row in deaths}) == 3, "each time another process"
    assert all(row["began"] < row["time"] and row["seconds"] > 0 for row in deaths)  # type: ignore[operator]
    assert all(rows[0]["outcome"] == "done" for start, rows in poisoned.attempts().items() if start != POISON)

    # A person decides: this shard by another network, its neighbours as they are.
    decided = poisoned.rerun("--shard", 2, "--with", "model=bicubic", "--reason", "kills the network")
    assert decided.returncode == 0, decided.stdout + decided.stderr
    assert poisoned.faults.invocations() == []
    assert_keeps(poisoned.source, poisoned.master, 2)


def test_filled_by_a_classical_resize_which_is_said(poisoned: Poisoned) -> None:
    result = poisoned.run("fill")
    assert result.returncode == 3, result.stdout + result.stderr
    assert "shard film.mkv [20,30): filled in with model=lanczos" in result.stderr
    assert "filled in with model=lanczos" in poisoned.report
    assert_keeps(poisoned.source, poisoned.master, 2)
    receipt = json.loads((poisoned.output / "film.mkv.receipt.json").read_bytes())
    (filled,) = [shard for shard in receipt["shards"] if "settings" in shard]
    assert (filled["start"], filled["stop"], filled["settings"]["model"]) == (20, 30, "lanczos")
    assert any("filled in" in said for said in receipt["check"])

    # Once it kills no more it is made as asked, and nothing else is.
    poisoned.faults.happen("kill")
    poisoned.faults.invocations()
    assert poisoned.rerun().returncode == 0
    assert poisoned.faults.invocations() == [POISON]
    receipt = json.loads((poisoned.output / "film.mkv.receipt.json").read_bytes())
    assert receipt["check"] == []
    assert not [shard for shard in receipt["shards"] if "settings" in shard]


def test_failed_at_once_without_beginning_more(poisoned: Poisoned) -> None:
    poisoned.faults.happen("kill", 0)
    result = poisoned.run("fail", "--set", "shards.frames=2")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "frames [0,2). First: shard film.mkv [0,2): worker 0 died under it" in result.stderr
    assert not poisoned.master.exists()
    assert len(set(poisoned.faults.invocations())) < 25, "what had not begun was not begun"


def test_a_worker_that_hangs_is_killed_and_the_shard_is_made_by_the_next(poisoned: Poisoned) -> None:
    poisoned.faults.happen("kill")
    poisoned.faults.happen("hang-once", POISON)
    result = poisoned.run("hold", "--set", "retry.stall=3")
    assert result.returncode == 0, result.stdout + result.stderr
    hung, made = poisoned.attempts()[POISON]
    assert (hung["error"], made["outcome"], made["attempt"]) == ("WorkerLost", "done", 2)
    assert "not a frame in 3 s" in str(hung["message"])
    assert_keeps(poisoned.source, poisoned.master, 2)
