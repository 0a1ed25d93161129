"""docs/getting-started.md, word for word: every command and click in it, in order, but for the installation."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.conftest import PREFECT_PATIENCE, REPOSITORY, free_port
from tests.faults.theatre import await_true

SERVES, NIGHTLY = "remaster serve", "films-nightly"
STILL = 61.0  # a served library's `--settle`, and a second
# Commands that keep their terminal, and what they say once they are there.
LASTING = {"prefect server start": "Check out the dashboard", SERVES: NIGHTLY}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def shell(tmp_path: Path) -> tuple[Path, dict[str, str], int]:
    """A folder that looks like the clone with its environment, what its shells have, and the server's port."""
    programs = tmp_path / "clone" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    for name, module in (("remaster", "flows.cli"), ("prefect", "prefect")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    demo = tmp_path / "clone" / "datasets" / "demo"
    demo.mkdir(parents=True)
    shutil.copy(REPOSITORY / "datasets/demo/flower.mp4", demo)
    port = free_port()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_") and name != "RAY_ADDRESS"
    }
    env |= {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONPATH": str(REPOSITORY)}
    return tmp_path / "clone", env | {"PREFECT_SERVER_API_PORT": str(port)}, port


@contextmanager
def terminal(block: str, says: str, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """A block in a terminal of its own, from when it has said something on, ended as Ctrl-C ends it."""
    log = folder.parent / f"{abs(hash(block))}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-ec", block], cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while says not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def click_through(page: Any, url: str) -> None:
    """See the next nights, and do not wait for them."""
    page.set_default_timeout(60_000)
    page.goto(f"{url}/deployments")
    page.get_by_text(NIGHTLY, exact=True).first.click()
    page.get_by_text("Upcoming", exact=True).locator("visible=true").last.click()
    page.get_by_text("Scheduled").locator("visible=true").first.wait_for()
    page.get_by_text("02:00:00 AM").locator("visible=true").first.wait_for()
    page.get_by_role("button", name="Run", exact=True).locator("visible=true").first.click()
    page.get_by_text("Quick run", exact=True).locator("visible=true").click()
    form = page.get_by_role("dialog")
    form.get_by_text("Library", exact=True).wait_for()
    form.get_by_role("button", name="Run", exact=True).click()
    form.wait_for(state="hidden")


def carry_out(block: str, folder: Path, env: dict[str, str], is_over: Callable[[], bool]) -> None:
    """A block in a shell, until it ends.

    `prefect ... --watch` waits for the event of a run's end. Prefect's server loses one now and then whose evaluation
    finds SQLite locked for a minute; then it is the run that has to have ended.
    """
    process = subprocess.Popen(
        ["bash", "-ec", block], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=200 if "--watch" in block else 400)
        assert process.returncode == 0, block + said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        assert "--watch" in block and is_over(), block + said


def begun(nights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in nights if run["start_time"]]


def seconds_still(folder: Path) -> float:
    """Since the latest change of a file in a folder."""
    return time.time() - max(file.stat().st_ctime for file in folder.iterdir())


def runs_on(port: int) -> list[dict[str, Any]]:
    found = (
        httpx.post(f"http://127.0.0.1:{port}/api/flow_runs/filter", json={}, timeout=PREFECT_PATIENCE)
        .raise_for_status()
        .json()
    )
    return [run for run in found if run["deployment_id"]]


def ended(nights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((run for run in nights if run["end_time"]), key=lambda run: str(run["end_time"]))


def test_a_new_user_ends_with_a_scheduled_run(shell: tuple[Path, dict[str, str], int], chromium: Any) -> None:
    folder, env, port = shell
    text = (REPOSITORY / "docs/getting-started.md").read_text().replace("4200", str(port))
    install, *blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert "pip install" in install
    films = folder / "try" / "films"
    with ExitStack() as terminals:
        told = of_the_shell(install)
        for block in blocks:
            says = next((says for command, says in LASTING.items() if command in block), "")
            if says:
                terminals.enter_context(terminal(block, says, folder, env))
                if SERVES in block:
                    # A person takes longer to come here; what has just been copied would be left for a later run.
                    await_true(lambda: seconds_still(films) > STILL, "the films lie still")
                    page = chromium.new_page(timezone_id="Europe/Berlin")
                    click_through(page, f"http://127.0.0.1:{port}")
                    page.close()
                    await_true(lambda: bool(ended(runs_on(port))), "the run that was clicked ends")
                continue
            carry_out(told + block, folder, env, lambda: all(run["end_time"] for run in begun(runs_on(port))))
            told += of_the_shell(block)
        nights = runs_on(port)
    scheduled = [run for run in nights if run["state"]["type"] == "SCHEDULED"]
    local = {
        datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Europe/Berlin")) for run in scheduled
    }
    assert len(local) >= 3 and {(when.hour, when.minute) for when in local} == {(2, 0)}
    over = ended(nights)
    assert [run["state"]["name"] for run in over] == ["Completed"] * 4
    clicked, before, left, taken = (str(run["state"]["message"]) for run in over)
    assert clicked == before == "2 of 2 titles done, 2 of them before"
    assert left.startswith("2 of 2 titles done, 2 of them before; three.mp4: changed")
    assert taken == "3 of 3 titles done, 2 of them before"
    assert {path.name for path in (folder / "try/masters").glob("*.mp4")} == {"one.mp4", "two.mp4", "three.mp4"}


def of_the_shell(block: str) -> str:
    """What a terminal still knows when the next block is typed into it."""
    return "".join(line for line in block.splitlines(keepends=True) if line.startswith((". ", "export ")))
