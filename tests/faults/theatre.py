"""Everything that a run hangs on, as processes that can be killed: object store, Prefect server, Ray cluster, driver.

Each is started by the means its users have (`ray start`, `prefect server start`, `infra/dev/object-store.sh`, the
`remaster` command), listens on loopback, and can be started again in the same place after a kill.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY, free_port
from tests.faults import kills
from tests.s3 import SCRIPT, S3Server, environment


def await_true(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait for something; fails when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)


@dataclass
class ObjectStore:
    """SeaweedFS on a port and in a folder that outlast it."""

    folder: Path
    port: int = 0

    def start(self) -> S3Server:
        """Start it, the first time on any port, later on the same."""
        search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        arguments = [str(SCRIPT), "start", str(self.folder), *([str(self.port)] if self.port else [])]
        env = {**os.environ, "PATH": search}
        endpoint = subprocess.run(arguments, env=env, check=True, stdout=subprocess.PIPE, text=True, timeout=240).stdout
        self.port = int(endpoint.rsplit(":", 1)[1])
        return S3Server(
            endpoint=endpoint.strip(), bucket="library", reader_env={},
            env=environment(endpoint.strip(), "testkey", "testsecret"),
        )  # fmt: skip

    def kill(self) -> None:
        """`kill -9`."""
        pid = int((self.folder / "pid").read_text())
        kills.kill(pid)
        await_true(lambda: not kills.alive({pid: ""}), "the object store is gone")

    def stop(self) -> None:
        """For good, data and all."""
        env = {**os.environ, "STOP_SECONDS": "0"}
        subprocess.run([str(SCRIPT), "stop", str(self.folder)], env=env, check=True, timeout=60)
        shutil.rmtree(self.folder / "data", ignore_errors=True)


@dataclass
class PostgreSQL:
    """PostgreSQL as Debian packages it, with its files in a folder of its own. It does not run as root."""

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def programs() -> Path | None:
        """The folder of its programs; None where it is not installed."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        elsewhere = shutil.which("pg_ctl")
        return found[-1] if found else Path(os.path.realpath(elsewhere)).parent if elsewhere else None

    @property
    def url(self) -> str:
        """As Prefect takes it."""
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/prefect"

    @property
    def folder(self) -> Path:
        """Not below pytest's folders, which are for their owner only."""
        return Path(f"/tmp/remaster-postgresql-{self.port}")

    def start(self) -> None:
        """Start it with an empty database."""
        programs, become = self.programs(), []
        assert programs is not None
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        data, here = self.folder / "db", ["-h", "127.0.0.1", "-p", str(self.port)]
        with tempfile.TemporaryFile() as log:
            made = [*become, programs / "initdb", "--pgdata", data, "--username=prefect", "--auth=trust", "--no-sync"]
            subprocess.run(made, check=True, stdout=log, stderr=log, timeout=120)
            server = [*become, programs / "postgres", "-D", data, "-k", self.folder, *here, "-c", "fsync=off"]
            self.process = subprocess.Popen(server, stdout=log, stderr=log, start_new_session=True)
            ready = [programs / "pg_isready", *here, "-q"]
            await_true(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL answers")
            subprocess.run([programs / "createdb", *here, "-U", "prefect", "prefect"], check=True, timeout=60)

    def stop(self) -> None:
        """For good, data and all."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class PrefectServer:
    """A lasting Prefect server: its database is a SQLite file in a folder, or where a URL says."""

    folder: Path
    database: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        env = {**os.environ, "PREFECT_HOME": str(self.folder), "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
        env |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database} if self.database else {}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        await_true(self._answers, "the Prefect server answers", 180)

    def kill(self) -> None:
        """`kill -9`, of whatever belongs to it but for its database."""
        assert self.process is not None
        for pid in (self.process.pid, *kills.descendants(self.process.pid)):
            kills.kill(pid)
        self.process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False


@dataclass
class Cluster:
    """A Ray cluster of a head, on which no worker fits, and nodes of one worker each."""

    folder: Path
    env: dict[str, str]
    port: int = field(default_factory=free_port)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, nodes: int) -> None:
        """Start the head and its nodes."""
        head = ["--head", "--port", str(self.port), "--include-dashboard", "false", "--num-cpus", "0"]
        self._start("head", [*head, "--temp-dir", f"/tmp/remaster-ray-{self.port}"])
        for number in range(nodes):
            self.add_node(f"node-{number}")

    def add_node(self, name: str) -> None:
        """One more node."""
        self._start(name, ["--address", self.address, "--num-cpus", "1"])

    def kill_node(self) -> None:
        """`kill -9` of the node that was added last, with all that runs on it."""
        node = self.nodes.pop()
        for pid in (node.pid, *kills.descendants(node.pid)):
            kills.kill_if_alive(pid)
        node.wait()

    def actors(self) -> dict[int, str]:
        """Process ids and names of shard workers."""
        below = (kills.descendants(node.pid) for node in self.nodes)
        return {pid: name for each in below for pid, name in each.items() if name.startswith("ray::ShardActor")}

    def stop(self) -> None:
        """All of it."""
        for process in reversed(self.nodes):
            for pid in (*kills.descendants(process.pid), process.pid):
                kills.kill_if_alive(pid)
            process.wait()
        shutil.rmtree(f"/tmp/remaster-ray-{self.port}", ignore_errors=True)

    def _start(self, name: str, arguments: list[str]) -> None:
        log = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.log"
        common = ["--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 << 20), "--disable-usage-stats"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.ray_node", "start", *arguments, *common, "--block"],
                env=self.env, cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(process)
        await_true(lambda: "--block" in log.read_text(errors="replace"), f"ray {name} is up")
