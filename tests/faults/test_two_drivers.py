"""Two runs at once on one library and one store: every shard is made once, both end well, and there is one master."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.store.lease import MARGIN
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.contract import file_hash
from tests.faults import kills
from tests.faulty import Faults

pytestmark = pytest.mark.slow

LIBRARY = {
    "film.mp4": Clip(frames=200, width=256, height=144, cuts=(30,)),
    "short/one.mkv": Clip(frames=40, width=192, height=108),
    "short/two.mp4": Clip(frames=80, width=256, height=144, cuts=(11, 25)),
}
LEASE = 3
SETTINGS = (
    *("--scale", "4", "--set", "shards.frames=8", "--set", "retry.delay=0.2", "--set", f"retry.lease={LEASE}"),
    *("--set", "master.codec=h264", "--set", "master.preset=ultrafast"),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    for name, clip in LIBRARY.items():
        (folder / name).parent.mkdir(exist_ok=True)
        make(folder / name, clip)
    return folder


@pytest.fixture(scope="module")
def alone(library: Path, remaster: Remaster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the masters of a single run."""
    output = tmp_path_factory.mktemp("alone")
    result = remaster("run", library, output, *SETTINGS)
    assert result.returncode == 0, result.stderr
    return masters(output)


@pytest.fixture
def own_ray(remaster_env: dict[str, str]) -> dict[str, str]:
    """The environment of runs that start Ray themselves, as on two machines."""
    return {**remaster_env, "RAY_ADDRESS": ""}


class Driver:
    """A run that was started beside another one."""

    def __init__(
        self, name: str, library: Path, output: Path, env: dict[str, str], folder: Path, *more: object
    ) -> None:
        self.store = output / ".remaster"
        self.log = folder / f"{name}.log"
        self.process = kills.start(["run", library, output, *SETTINGS, *more], env, self.log)

    def ledger(self) -> list[dict[str, object]]:
        """Attempts of the run, which names itself at its end."""
        (run,) = re.findall(r"^run: +(\S+)", self.log.read_text(errors="replace"), re.MULTILINE)
        rows: list[dict[str, object]] = pq.read_table(self.store / "runs" / run / "ledger.parquet").to_pylist()
        return rows

    def made(self) -> list[object]:
        """Keys of the shards that it worked on."""
        return [row["key"] for row in self.ledger() if row["outcome"] == "done"]

    def lease(self) -> Path | None:
        """A lease it holds, of a shard that is not done."""
        for path in self.store.glob("leases/[!m]*"):  # those of places begin with "master-"
            try:
                held = json.loads(path.read_text())["process"].split("-")[1] == str(self.process.pid)
            except (OSError, ValueError):
                continue
            if held and path.stem not in kills.records(self.store):
                return path
        return None

    def stop_in_mid_shard(self) -> Path:
        """Halt the driver and its worker with a shard in hand; returns its lease."""
        while True:
            kills.wait_until(lambda: self.lease() is not None, self.process, self.log)
            self.signal(signal.SIGSTOP)
            lease = self.lease()
            if lease is not None and len(kills.records(self.store)) >= 2:
                return lease
            self.signal(signal.SIGCONT)
            time.sleep(0.1)

    def signal(self, number: int) -> None:
        worker = kills.worker_pid(self.process.pid)
        os.kill(self.process.pid, number)
        if worker:
            os.kill(worker, number)

    def ends_well(self) -> None:
        try:
            assert self.process.wait(200) == 0, self.log.read_text(errors="replace")
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log.read_text(errors="replace")) from None


def masters(output: Path) -> dict[str, str]:
    return {name: file_hash(output / name) for name in LIBRARY}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.json")}


def test_every_shard_is_made_once_by_one_of_them(library: Path, remaster_env: dict[str, str], tmp_path: Path) -> None:
    """None begins before both have a shard in hand: one that is slow to start would find all of it done."""
    output, faults = tmp_path / "out", Faults(tmp_path / "faults")
    env = faults.env(remaster_env)
    faults.meet(2)
    drivers = [Driver(name, library, output, env, tmp_path, "--model", "faulty") for name in ("one", "two")]
    for driver in drivers:
        driver.ends_well()
    made = Counter(key for driver in drivers for key in driver.made())
    assert set(made.values()) == {1}
    assert set(made) == kills.records(output / ".remaster")
    assert all(driver.made() for driver in drivers), "they shared the work"
    for driver in drivers:
        assert {row["key"] for row in driver.ledger() if row["outcome"] in ("done", "cached")} == set(made)
    alone = tmp_path / "alone"
    Driver("alone", library, alone, env, tmp_path, "--model", "faulty").ends_well()
    assert masters(output) == masters(alone)
    assert len(contents(output / ".remaster" / "masters")) == len(LIBRARY)
    assert len(list((output / ".remaster" / "segments").rglob("*.mkv"))) == len(made)
    assert not list((output / ".remaster").glob("leases/*"))


def test_what_a_killed_driver_held_is_taken_over_when_its_lease_has_run_out(
    library: Path, alone: dict[str, str], own_ray: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = Driver("first", library, output, own_ray, tmp_path)
    lease = first.stop_in_mid_shard()
    # As if it was another machine's: of its own the second driver would see that the process is gone.
    left = json.loads(lease.read_text())
    lease.write_text(json.dumps({**left, "process": "elsewhere-12-34"}))
    for pid in (first.process.pid, *kills.descendants(first.process.pid)):
        kills.kill(pid)
    first.process.wait()
    done = kills.records(first.store)
    assert lease.stem not in done
    second = Driver("second", library, output, own_ray, tmp_path)
    second.ends_well()
    (taken,) = [row for row in second.ledger() if row["key"] == lease.stem]
    assert taken["outcome"] == "done"
    assert taken["time"].timestamp() > left["expires"] + MARGIN  # type: ignore[attr-defined]
    assert not set(second.made()) & done
    assert masters(output) == alone
    assert not list(first.store.glob("leases/*"))
    assert not list(output.rglob(".remaster-tmp-*")), "the killed worker's scratch"


def test_a_driver_that_was_away_changes_nothing_when_it_comes_back(
    library: Path, alone: dict[str, str], own_ray: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = Driver("first", library, output, own_ray, tmp_path)
    lease = first.stop_in_mid_shard()
    second = Driver("second", library, output, own_ray, tmp_path)
    second.ends_well()
    assert lease.stem in second.made()
    before = contents(output / ".remaster" / "records") | contents(output / ".remaster" / "masters")
    first.signal(signal.SIGCONT)
    first.ends_well()
    assert contents(output / ".remaster" / "records") | contents(output / ".remaster" / "masters") == before
    assert masters(output) == alone
    assert not list(first.store.glob("leases/*"))
