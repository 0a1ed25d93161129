"""Real servers for the tests, started once a session: Prefect, Ray, S3. Nothing here is a mock."""

from __future__ import annotations

import os

from flows import environment

environment.prepare()
# For the cluster of the tests, which is on loopback, and for those who join it; read when Ray is imported.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
if not os.path.exists("/dev/nvidiactl"):
    os.environ["TRITON_INTERPRET"] = "1"  # kernels run step by step on the CPU; read when Triton is imported
# Threads that wait for work sleep: two processes of tests with a thread a core each have no core to spin on.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # changes no bit; read when torch is imported

import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import urllib.error  # noqa: E402
import urllib.request  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from tests.s3 import s3, s3_server  # noqa: E402, F401

REPOSITORY = Path(__file__).resolve().parents[1]
# Seconds for an answer of Prefect's server: on SQLite it stands still for a minute now and then (see `prefect_api`).
PREFECT_PATIENCE = 150.0
SHARED_CLIPS = REPOSITORY.parent / "shared" / "clips"

Remaster = Callable[..., "subprocess.CompletedProcess[str]"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prefect_server_at(home: Path, **settings: str) -> Iterator[str]:
    """URL of a Prefect server in a process of its own, with its files in a folder, for as long as the block lasts."""
    port = free_port()
    own = {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api"}
    env = {**os.environ, "PREFECT_SERVER_LOGGING_LEVEL": "ERROR", **own, **settings}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}/api"
        _await(f"{url}/health", server, home / "log")
        yield url
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of this session's Prefect server.

    It takes automations and does not evaluate them: with SQLite that makes it stand still for a minute now and then,
    its only thread waiting for a lock that is released by the same thread.
    """
    with prefect_server_at(tmp_path_factory.mktemp("prefect"), PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED="false") as url:
        yield url


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Ray cluster of this session's own: head, node manager and object store as real processes."""
    folder = tmp_path_factory.mktemp("ray")
    port = free_port()
    ray = [str(Path(sys.executable).with_name("ray"))]
    # Unix sockets have short paths.
    start = [*ray, "start", "--head", "--port", str(port), "--num-cpus", "4", "--include-dashboard", "false"]
    start += ["--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 << 20), "--disable-usage-stats"]
    start += ["--temp-dir", f"/tmp/remaster-ray-{port}", "--block"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while "--block" not in (folder / "log").read_text(errors="replace"):
            assert head.poll() is None and time.monotonic() < deadline, (folder / "log").read_text(errors="replace")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(30)


@pytest.fixture(scope="session")
def remaster_env(prefect_api: str, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which the command finds the session's servers and keeps its pointers to itself."""
    home = tmp_path_factory.mktemp("home")
    return {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"},
        "PREFECT_API_URL": prefect_api,
        "RAY_ADDRESS": ray_cluster,
        "PREFECT_HOME": str(home / "prefect"),
        "XDG_DATA_HOME": str(home / "data"),
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.fixture(scope="session")
def remaster(remaster_env: dict[str, str]) -> Remaster:
    """Run the `remaster` command as its users do, in a process of its own."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = 280
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env={**remaster_env, **(env or {})},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """The folder of evaluation clips; tests that need it are skipped where it is absent."""
    if not SHARED_CLIPS.is_dir():
        pytest.skip(f"no evaluation clips at {SHARED_CLIPS}")
    return SHARED_CLIPS


def _await(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer in {seconds} s:\n{log.read_text(errors='replace')}")
