"""A cluster whose head is there and does not answer: whoever waits for it is told, and nothing waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.records import to_json
from tests.conftest import REPOSITORY
from tests.faults import kills
from tests.faults.test_lost_nodes import work_of_seconds
from tests.faults.theatre import Cluster

# A process of its own, as it never gets out of Ray by itself. Its limits are short. The worker hangs too, as it takes
# the head to kill it and to say that it died.
PROGRAM = """
import os, signal, sys
from pathlib import Path

from tasks.errors import UsageError, WorkerLost
from tasks.pool import host, pool
from tasks.pool.worker import WorkerSettings
from tasks.records import Work, from_json
from tests.faults import kills

address, head, node = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
work = from_json(Work, Path(sys.argv[4]).read_bytes())
host._ANSWER_SECONDS = host._LEAVE_SECONDS = pool._FETCH_SECONDS = pool._PROBE_SECONDS = 3.0
settings = pool.PoolSettings(WorkerSettings("lanczos"), workers=1, ray_address=address, stall=3.0)
workers = pool.WorkerPool(settings)

def stop_head_and_worker(leased):
    for pid in (head, *kills.worker_pids(node)):
        os.kill(pid, signal.SIGSTOP)

try:
    workers.run(work, lambda frames: None, stop_head_and_worker)
except WorkerLost as error:
    print("run:", error)
try:
    pool.WorkerPool(settings)
except UsageError as error:
    print("start:", error)
workers.close()
print("closed", flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_head_that_is_stuck_holds_up_no_shard_no_start_and_no_end(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    (tmp_path / "work.json").write_bytes(to_json(work_of_seconds(tmp_path)))
    cluster = Cluster(tmp_path, env)
    cluster.start(nodes=1)
    below = kills.descendants(cluster.nodes[0].pid)
    (head,) = [pid for pid, command in below.items() if "gcs/gcs_server" in command.split(" ")[0]]
    node = cluster.nodes[1].pid
    try:
        program = [sys.executable, "-c", PROGRAM, cluster.address, str(head), str(node), str(tmp_path / "work.json")]
        done = subprocess.run(program, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    finally:
        os.kill(head, signal.SIGCONT)
        cluster.stop()
    run, start, closed = done.stdout.splitlines()
    silent = f"the Ray cluster at {cluster.address} has not answered in 3 s"
    assert run.startswith("run: shard film.mkv [0,400): worker 0 died under it (not a frame in 3 s)"), run
    assert silent in run
    assert start.startswith(f"start: {silent}"), start
    assert closed == "closed"
    assert done.returncode == 1, "not by a signal, and not well: somebody should look"
    assert "Ray did not let go in 3 s" in done.stderr
    assert "it is ended" in done.stderr
