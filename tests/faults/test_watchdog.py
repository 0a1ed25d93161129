"""A run whose process was killed does not stay "running" on a lasting Prefect server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.watchdog import FIRST_SILENCE, SILENCE
from tests import mastered
from tests.conftest import PREFECT_PATIENCE, REPOSITORY, prefect_server_at
from tests.faults import kills
from tests.faults.theatre import await_true
from tests.faulty import Faults
from tests.integration.test_deployments import Server

pytestmark = pytest.mark.timeout(600)

PROGRAM = """
import sys, time
from datetime import timedelta
from flows import environment
environment.prepare()
from prefect import flow
from flows import watchdog

watchdog.FIRST_SILENCE = timedelta(seconds=100)  # instead of minutes

@flow(name="remaster library", flow_run_name=sys.argv[1])
def library():
    print("running", flush=True)
    time.sleep(600)

watchdog.watch()
library()
"""


@pytest.fixture(scope="module")
def watchful_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prefect server that evaluates automations."""
    with prefect_server_at(tmp_path_factory.mktemp("prefect")) as url:
        yield url


def state_of(api: str, name: str) -> dict[str, Any]:
    query = {"flow_runs": {"name": {"any_": [name]}}}
    (run,) = httpx.post(f"{api}/flow_runs/filter", json=query, timeout=PREFECT_PATIENCE).raise_for_status().json()
    state: dict[str, Any] = run["state"]
    return state


def leave(api: str, flow: str, name: str, state: str) -> None:
    """A flow run as a process leaves it that dies at that moment."""
    with httpx.Client(base_url=api, timeout=PREFECT_PATIENCE) as client:
        flow_id = client.post("/flows/", json={"name": flow}).raise_for_status().json()["id"]
        run = client.post("/flow_runs/", json={"flow_id": flow_id, "name": name, "state": {"type": "PENDING"}})
        if state != "PENDING":
            to = {"state": {"type": state}, "force": True}
            client.post(f"/flow_runs/{run.json()['id']}/set_state", json=to).raise_for_status()


@pytest.mark.faults
def test_a_killed_run_of_a_deployment_is_marked_whichever_flow_it_is_of(
    watchful_api: str, remaster_env: dict[str, str], tmp_path: Path
) -> None:
    """The machine dies with all on it, while `remaster rerun` has a library's run in hand, and that a title's."""
    films, output, faults = tmp_path / "films", tmp_path / "out", Faults(tmp_path / "faults")
    made = mastered.remaster(mastered.library(films), str(output), str(output / ".remaster"))
    env = faults.env(remaster_env) | {"PREFECT_API_URL": watchful_api}
    faults.happen("hang-once", 0)
    served = kills.start(["serve", films, output, "--workers", "1"], env, tmp_path / "log")
    rerun = {"store": made.store, "settings": {"model": "faulty"}}
    try:
        with httpx.Client(base_url=watchful_api, timeout=PREFECT_PATIENCE) as client:
            server, log = Server(client), tmp_path / "log"
            kills.wait_until(lambda: "films-rerun" in log.read_text(), served, log)
            killed = server.start("remaster rerun/films-rerun", {"rerun": rerun})
            kills.wait_until(lambda: not (faults.folder / "hang-once").exists(), served, log, 240)
            for pid in (served.pid, *kills.descendants(served.pid)):
                kills.kill_if_alive(pid)
            of_it = [killed, *server.below(killed)]
            assert len(of_it) == 3, "a library's run and a title's are part of it"
            await_true(
                lambda: all(server.flow_run(each)["state"]["type"] == "CRASHED" for each in of_it),
                "each is marked", 2 * SILENCE.total_seconds() + 60,
            )  # fmt: skip
            assert all("its process died" in server.flow_run(each)["state"]["message"] for each in of_it)
    finally:
        for pid in (*kills.descendants(served.pid), served.pid):
            kills.kill_if_alive(pid)
        served.wait()


@pytest.mark.slow
def test_a_killed_run_is_marked_and_a_living_one_is_not(watchful_api: str) -> None:
    """At whatever moment it dies: before its first sign of life, and a title's before it runs at all."""
    assert FIRST_SILENCE > 4 * SILENCE, "a machine may be busy"
    env = {**os.environ, "PREFECT_API_URL": watchful_api, "PYTHONPATH": str(REPOSITORY)}
    runs = {
        name: subprocess.Popen([sys.executable, "-c", PROGRAM, name], env=env, stdout=subprocess.PIPE, text=True)
        for name in ("killed", "living")
    }
    try:
        for process in runs.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
        leave(watchful_api, "remaster library", "silent", "RUNNING")
        leave(watchful_api, "remaster title", "film.mkv", "PENDING")
        leave(watchful_api, "remaster library", "waiting for a machine", "PENDING")
        time.sleep(5)  # for the first sign of life to arrive
        kills.kill(runs["killed"].pid)
        deadline = time.monotonic() + 2 * SILENCE.total_seconds() + 60
        for name in ("killed", "silent", "film.mkv"):
            while state_of(watchful_api, name)["type"] != "CRASHED":
                assert time.monotonic() < deadline, (name, state_of(watchful_api, name))
                time.sleep(2)
            assert "its process died" in state_of(watchful_api, name)["message"]
        assert state_of(watchful_api, "waiting for a machine")["type"] == "PENDING"
        assert state_of(watchful_api, "living")["type"] == "RUNNING"
    finally:
        for process in runs.values():
            kills.kill_if_alive(process.pid)
            process.communicate()
