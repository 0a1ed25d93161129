"""Starting the `remaster` command so that it can be killed in the right moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPOSITORY


def start(arguments: list[object], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env=env, cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 120
) -> None:
    """Wait for a moment of a run; fails if the run ends or the time is up before it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the run ended too early:\n{log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"the moment never came:\n{log.read_text(errors='replace')}"
        time.sleep(0.02)


def records(store: Path) -> set[str]:
    """Keys of the shards that are done."""
    return {path.stem for path in (store / "records").rglob("*.json")}


def descendants(pid: int) -> dict[int, str]:
    """Process ids and command lines of everything below a process."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = (int(stat.rsplit(")", 1)[1].split()[1]), command)
    below, frontier = {}, [pid]
    while frontier:
        above = frontier.pop()
        for child, (parent, command) in parents.items():
            if parent == above:
                below[child] = command
                frontier.append(child)
    return below


def worker_pids(driver: int) -> list[int]:
    """Process ids of Ray actors that hold a shard worker, below a driver that started Ray itself."""
    return [pid for pid, command in descendants(driver).items() if "ray::ShardActor" in command]


def worker_pid(driver: int) -> int:
    """Process id of one of them; 0 if there is none."""
    return next(iter(worker_pids(driver)), 0)


def busy_worker(ray_address: str) -> int:
    """Process id of an actor of a cluster that has a shard in hand; 0 if none."""
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"raylet/raylet" in command and f"--gcs-address={ray_address}".encode() in command.replace(b" ", b"="):
            for pid, name in descendants(int(entry.name)).items():
                if name.startswith("ray::ShardActor.upscale"):
                    return pid
    return 0


def alive(pids: dict[int, str]) -> dict[int, str]:
    """Those of some processes that still run."""
    running = {}
    for pid, command in pids.items():
        try:
            os.kill(pid, 0)
            if "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                running[pid] = command
        except OSError:
            continue
    return running


def kill(pid: int) -> None:
    """`kill -9`."""
    os.kill(pid, signal.SIGKILL)


def kill_if_alive(pid: int) -> bool:
    """`kill -9` of a process that may have ended; True if it had not."""
    try:
        kill(pid)
    except ProcessLookupError:
        return False
    return True
