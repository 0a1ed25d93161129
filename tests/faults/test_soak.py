"""A long run among small disasters: it ends complete, and takes no more memory or files at its end than before."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.run import RunFiles, list_runs
from tasks.store import Store
from tests.clips import Clip, make
from tests.faults import kills

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5400)]

TITLES = int(os.environ.get("REMASTER_SOAK_TITLES", "300"))
KILLS = 0.02  # of titles
WORKERS = 2
SAMPLE_EVERY = 3  # shards


@dataclass
class Usage:
    """What a process takes, sampled as time goes by."""

    resident: list[int] = field(default_factory=list)  # MiB
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def sample(self, pid: int) -> None:
        """Take one more sample, if it still runs."""
        try:
            self._sample(pid)
        except (FileNotFoundError, ProcessLookupError, KeyError):
            return

    def _sample(self, pid: int) -> None:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        self.resident.append(int(status["VmRSS"].split()[0]) // 1024)
        self.threads.append(int(status["Threads"]))
        self.files.append(len(os.listdir(f"/proc/{pid}/fd")))

    @staticmethod
    def of_quarter(samples: list[int], quarter: int) -> float:
        """Median of a quarter of the samples."""
        size = len(samples) // 4
        return statistics.median(samples[quarter * size : (quarter + 1) * size])


def test_a_library_of_many_titles_while_workers_are_killed(remaster_env: dict[str, str], tmp_path: Path) -> None:
    for number in range(TITLES):
        times = [frame + frame // 6 * (number + 1) for frame in range(12)]  # or all would be one film
        make(tmp_path / "films" / f"{number:03}.mp4", Clip(frames=12, pts=times))
    chance = random.Random(10)
    kill_at = sorted(chance.randrange(TITLES * 9 // 10) for _ in range(round(TITLES * KILLS)))
    log, out = tmp_path / "log", tmp_path / "out"
    settings = ("--scale", "2", "--set", "master.codec=h264", "--set", "master.preset=ultrafast", "--set")
    arguments = ["run", tmp_path / "films", out, "--workers", WORKERS, *settings, "retry.delay=0.2"]
    driver = kills.start(arguments, {**remaster_env, "RAY_ADDRESS": ""}, log)
    usage, of_workers, killed, sampled = Usage(), Usage(), 0, 0
    while _goes_on(driver):
        done = len(kills.records(out / ".remaster"))
        if done >= sampled + SAMPLE_EVERY:
            sampled = done
            usage.sample(driver.pid)
            for worker in kills.worker_pids(driver.pid):
                of_workers.sample(worker)
        if killed < len(kill_at) and done > kill_at[killed]:
            workers = kills.worker_pids(driver.pid)
            killed += bool(workers) and kills.kill_if_alive(chance.choice(workers))
    assert driver.returncode == 0, log.read_text(errors="replace")[-3000:]
    assert killed == len(kill_at)
    assert len(list(out.glob("*.mp4"))) == TITLES
    store = Store(str(out / ".remaster"))
    (run,) = list_runs(store)
    ledger = RunFiles(store, run).read_ledger()
    lost = [row for row in ledger if row.outcome == "failed"]
    assert {row.error for row in lost} <= {"WorkerLost"}
    made = [row.key for row in ledger if row.outcome == "done"]
    assert len(made) == len(set(made)) == len(kills.records(out / ".remaster")), "every shard is made once"
    print(f"{TITLES} titles, {killed} kills, {len(lost)} shards tried again")
    for who, taken in (("driver", usage), ("workers", of_workers)):
        limits = (("MiB", taken.resident, 60), ("files", taken.files, 20), ("threads", taken.threads, 20))
        for name, samples, slack in limits:
            early, late = Usage.of_quarter(samples, 1), Usage.of_quarter(samples, 3)
            print(f"{who}, {name}: {early:.0f} in the second quarter, {late:.0f} in the last")
            assert late <= early + slack, f"{name} of the {who} grow: {samples}"


def _goes_on(driver: subprocess.Popen[bytes]) -> bool:
    try:
        driver.wait(0.2)
    except subprocess.TimeoutExpired:
        return True
    return False
