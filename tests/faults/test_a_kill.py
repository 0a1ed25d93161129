"""The short form of `test_random_moments`: in one run an actor is killed, then the driver, each at a chosen moment."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from flows.run import RunFiles, list_runs
from flows.status import describe
from tasks.store import Store
from tests import mastered
from tests.clips import Clip, make
from tests.conftest import Remaster
from tests.faults import kills

SETTINGS: dict[str, object] = {"scale": 4, "shards.frames": 8, "retry.delay": 0.2, "master.codec": "h264",
                               "master.preset": "ultrafast"}  # fmt: skip


def test_an_actor_and_then_the_driver(
    remaster_env: dict[str, str], ray_cluster: str, remaster: Remaster, tmp_path: Path
) -> None:
    films, output = tmp_path / "films", tmp_path / "out"
    make(films / "film.mp4", Clip(frames=64, width=256, height=144, cuts=(30,)))
    wanted = mastered.masters_of(films, tmp_path / "alone", SETTINGS)
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    run, log, store = ["run", films, output, *settings], tmp_path / "log", output / ".remaster"
    chance = random.Random(7)

    driver = kills.start(run, remaster_env, log)
    kills.wait_until(lambda: len(kills.records(store)) >= chance.choice([1, 2]), driver, log)
    kills.wait_until(lambda: kills.busy_worker(ray_cluster) > 0, driver, log)
    kills.kill_if_alive(kills.busy_worker(ray_cluster))
    kills.wait_until(lambda: len(kills.records(store)) >= chance.choice([4, 5]), driver, log)
    kills.kill(driver.pid)
    driver.wait()
    done = kills.records(store)
    killed = RunFiles(Store(str(store)), list_runs(Store(str(store)))[-1])
    lost = {row.key for row in killed.read_unended()}
    assert lost and not lost & {row.key for row in killed.read_ledger() if row.outcome == "done"}
    assert f"by {socket.gethostname()}:{driver.pid}: in hand, or lost with its driver" in describe(killed)

    again = remaster(*run)
    assert again.returncode == 0, again.stderr
    assert (output / "film.mp4").read_bytes() == wanted["film.mp4"]
    ledger = RunFiles(Store(str(store)), list_runs(Store(str(store)))[-1]).read_ledger()
    assert not {row.key for row in ledger if row.outcome == "done"} & done
    assert not list((store / "leases").glob("*"))
    assert not list(output.rglob(".remaster-tmp-*"))
