"""A run whose process was killed does not stay "running" on a lasting Prefect server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flows.watchdog import SILENCE
from tests.conftest import REPOSITORY, prefect_server_at
from tests.faults import kills

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PROGRAM = """
import sys, time
from flows import environment
environment.prepare()
from prefect import flow
from flows.watchdog import watch

@flow(name="remaster library", flow_run_name=sys.argv[1])
def library():
    print("running", flush=True)
    time.sleep(600)

watch()
library()
"""


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prefect server that evaluates automations."""
    with prefect_server_at(tmp_path_factory.mktemp("prefect")) as url:
        yield url


def state_of(api: str, name: str) -> dict[str, Any]:
    query = {"flow_runs": {"name": {"any_": [name]}}}
    (run,) = httpx.post(f"{api}/flow_runs/filter", json=query, timeout=30).raise_for_status().json()
    state: dict[str, Any] = run["state"]
    return state


def test_a_killed_run_is_marked_and_a_living_one_is_not(prefect_api: str) -> None:
    env = {**os.environ, "PREFECT_API_URL": prefect_api, "PYTHONPATH": str(REPOSITORY)}
    runs = {
        name: subprocess.Popen([sys.executable, "-c", PROGRAM, name], env=env, stdout=subprocess.PIPE, text=True)
        for name in ("killed", "living")
    }
    try:
        for process in runs.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
        time.sleep(5)  # for the first sign of life to arrive
        kills.kill(runs["killed"].pid)
        deadline = time.monotonic() + 2 * SILENCE.total_seconds() + 60
        while state_of(prefect_api, "killed")["type"] != "CRASHED":
            assert time.monotonic() < deadline, state_of(prefect_api, "killed")
            time.sleep(2)
        assert "its process died" in state_of(prefect_api, "killed")["message"]
        assert state_of(prefect_api, "living")["type"] == "RUNNING"
    finally:
        for process in runs.values():
            kills.kill_if_alive(process.pid)
            process.communicate()
