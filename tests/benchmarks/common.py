"""What the benchmarks share: how they report, what they run on, and the memory of a process."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def report(name: str, figures: dict[str, Any], line: str) -> None:
    """Print the figures as one JSON line, then as a sentence."""
    print(json.dumps({"benchmark": name, **machine(), **figures}), flush=True)
    print(f"{name}: {line}", flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on; the load is that of the last minute, our own included."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards. Ray's sockets need a short path, so it is right under the temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def memory(field: str) -> float:
    """A field of /proc/self/status in MB: VmHWM (highest so far) or VmRSS (now)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def child(module: str, *arguments: object, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a part of a benchmark in a process of its own; returns the JSON object it prints last."""
    result = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return answer


@dataclass(frozen=True)
class Lines:
    """A finished command: when it began and ended, and each line of its error output with when it came (epoch)."""

    began: float
    ended: float
    lines: tuple[tuple[float, str], ...]

    @property
    def seconds(self) -> float:
        """Wall time of the whole command."""
        return self.ended - self.began

    def when(self, text: str) -> float:
        """When the first line that holds `text` came."""
        for moment, line in self.lines:
            if text in line:
                return moment
        raise LookupError(f"no line holds {text!r}:\n" + "\n".join(line for _, line in self.lines))


def remaster(*arguments: object, home: Path, env: dict[str, str] | None = None) -> Lines:
    """Run the `remaster` command as its users do, with a Prefect home and pointers of its own."""
    own = {
        "PREFECT_HOME": str(home / "prefect"),
        "XDG_DATA_HOME": str(home / "data"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }
    began = time.time()
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    with subprocess.Popen(
        command, env={**os.environ, **own, **(env or {})}, cwd=REPOSITORY, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines = tuple((time.time(), line.rstrip()) for line in process.stderr)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n" + "\n".join(line for _, line in lines))
    return Lines(began, time.time(), lines)


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """URL of a Prefect server in a process of its own, with a fresh database."""
    # Not needed by benchmarks that never come here.
    import socket
    import urllib.error
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"
    try:
        deadline = time.monotonic() + 120
        while True:
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{url}/health", timeout=2),
            ):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((home / "log").read_text(errors="replace"))
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(20)
