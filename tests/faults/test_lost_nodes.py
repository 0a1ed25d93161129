"""Machines that go, with notice or without: their shard is made elsewhere, and not taken for one that kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from tasks.errors import WorkerLost
from tasks.plan import plan_title
from tasks.pool.pool import PoolSettings, WorkerPool
from tasks.pool.worker import WorkerSettings
from tasks.profile import read_profile
from tasks.records import Work
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from tests.conftest import REPOSITORY
from tests.faults.theatre import Cluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def work_of_seconds(folder: Path) -> Work:
    profile = read_profile(None, {"scale": 4, "shards.frames": 400})
    source = make(folder / "film.mkv", Clip(frames=400, width=320, height=240))
    (title,) = scan(str(source), str(folder / "out"), profile)
    return plan_title(title, profile, Store(str(folder / "store"))).work[0]


def take_back(cluster: Cluster) -> None:
    """As a provider does with machines of the spot market: a notice, and soon the end."""
    (node,) = [node for node in ray.nodes() if node["Alive"] and "CPU" in node["Resources"]]  # type: ignore[no-untyped-call]
    notice = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken back"]
    end = ["--deadline-remaining-seconds", "1"]
    drain = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", cluster.address]
    subprocess.run([*drain, "--node-id", node["NodeID"], *notice, *end], check=True, env=cluster.env, timeout=60)
    cluster.kill_node()


def at_first_news(go: Callable[[Cluster], None], cluster: Cluster) -> Callable[[int], None]:
    """Progress of a shard that has its machine go when it is told for the first time."""
    still_to_go = iter([go])

    def told(frames: int) -> None:
        for once in still_to_go:
            once(cluster)

    return told


def test_a_shard_whose_machines_go_is_made_once_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    work, cluster = work_of_seconds(tmp_path), Cluster(tmp_path, dict(os.environ))
    cluster.start(nodes=1)
    try:
        pool = WorkerPool(PoolSettings(WorkerSettings("lanczos"), workers=1, ray_address=cluster.address))
        for number, go in enumerate((Cluster.kill_node, take_back, Cluster.kill_node)):
            with pytest.raises(WorkerLost):
                pool.run(work, at_first_news(go, cluster))
            cluster.add_node(f"next-{number}")
        assert pool.run(work, lambda frames: None).frames == 400
        pool.close()
    finally:
        cluster.stop()
