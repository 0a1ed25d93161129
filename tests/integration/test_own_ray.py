"""A Ray that a run starts for itself, in a process that knew nothing of it when Ray was imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import ray
from tasks.pool.host import RayHost
host = RayHost("", 1)
print(ray.get(ray.remote(lambda: 3).remote()), ray.util.get_node_ip_address())
host.close()
"""


@pytest.mark.slow
def test_it_is_on_loopback_and_asks_for_no_token(tmp_path: Path) -> None:
    """As for the workers of a Prefect pool, whose environment says nothing of Ray."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "127.0.0.1"]
    assert not (tmp_path / ".ray").exists()  # where Ray keeps the token that it asks for
