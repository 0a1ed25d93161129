"""A pool on a cluster that has no GPU yet: Ray's real autoscaler starts nodes for its workers, as KubeRay does.

The nodes are processes of this machine (Ray's provider for its own tests), and say that they have a GPU each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tasks.pool.pool import GROWS_TO
from tests.clips import Clip, make
from tests.conftest import REPOSITORY, free_port
from tests.infra import INFRA

pytestmark = pytest.mark.timeout(580)

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


@pytest.fixture
def growing_cluster(tmp_path: Path) -> Iterator[str]:
    """Address of a head without anything, whose autoscaler may start two nodes with a GPU, one after the other."""
    port = free_port()
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    gpu = {"resources": {"CPU": 1, "GPU": 1, "object_store_memory": 100 << 20}, "node_config": {}}
    gpu |= {"min_workers": 0, "max_workers": 2}
    provider = {"type": "external", "module": PROVIDER, "launch_multiple": True, "gcs_address": f"127.0.0.1:{port}"}
    provider |= {"disable_node_updaters": True, "disable_launch_config_check": True, "head_node_id": FAKE_HEAD_NODE_ID}
    config = {
        "cluster_name": "growing", "max_workers": 2, "idle_timeout_minutes": 5, "upscaling_speed": 1.0,
        "provider": provider, "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, "gpu": gpu},
    }  # fmt: skip
    config |= {f"{kind}_commands": [] for kind in ("setup", "head_setup", "worker_setup", "initialization")}
    config |= {f"{kind}_start_ray_commands": [] for kind in ("head", "worker")}
    config |= {"file_mounts": {}, "cluster_synced_files": [], "auth": {}, "docker": {}}
    (tmp_path / "autoscaling.json").write_text(json.dumps(config))
    env = os.environ | {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1"}
    env |= {"RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--port", str(port), "--num-cpus", "0"]
    command += [f"--autoscaling-config={tmp_path}/autoscaling.json", "--include-dashboard", "false", "--block"]
    command += ["--object-store-memory", str(100 << 20), "--temp-dir", f"/tmp/remaster-ray-{port}"]
    command += ["--node-ip-address", "127.0.0.1", "--min-worker-port", "0", "--max-worker-port", "0"]
    log = tmp_path / "head.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while "--block" not in log.read_text(errors="replace"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_workers_that_are_not_there_yet_are_asked_for_and_come(
    growing_cluster: str, remaster_env: dict[str, str], tmp_path: Path
) -> None:
    source = make(tmp_path / "film.mkv", Clip(frames=200, width=640, height=360))
    command = [sys.executable, "-m", "flows.cli", "run", source, tmp_path / "out", "--model", "lanczos", "--scale", "4"]
    command += ["--set", "shards.frames=10", "--set", "shards.cut_score=100", "--set", "master.preset=ultrafast"]
    command += ["--ray-address", growing_cluster]
    run = subprocess.run(
        command, env=remaster_env | {GROWS_TO: "2"}, cwd=REPOSITORY, capture_output=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    assert (tmp_path / "out/film.mkv").exists()
    (ledger,) = (tmp_path / "out/.remaster/runs").glob("*/ledger.parquet")
    # Nobody said how many: as many as the cluster may have GPUs.
    assert len(set(pq.read_table(ledger)["worker"].to_pylist())) == 2


def test_the_manifest_lets_the_cluster_grow() -> None:
    (cluster,) = yaml.safe_load_all((INFRA / "kubernetes/raycluster.yaml").read_text())
    assert cluster["spec"]["enableInTreeAutoscaling"]
    assert cluster["spec"]["autoscalerOptions"]["version"] == "v2"
    groups = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    (driver,) = groups["driver"]["template"]["spec"]["containers"]
    assert {"name": GROWS_TO, "value": str(groups["gpu"]["maxReplicas"])} in driver["env"]
