"""Machines with addresses of their own on one machine: Linux network namespaces on a bridge. Needs root and `ip`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

NET = "10.77.0"
HUB = f"{NET}.1"


def sh(command: str) -> str:
    """Run a command; raises with what it said."""
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


class Machines:
    """A hub and others around it. The bridge is the hub's, so this machine's own network is left alone."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._folder, self._started = folder, list[subprocess.Popen[bytes]]()
        self._prefix = f"remaster-{os.getpid()}"
        self.addresses = {"hub": HUB} | {name: f"{NET}.{number}" for number, name in enumerate(names, 11)}

    def __enter__(self) -> Machines:
        for name in self.addresses:
            sh(f"ip netns add {self._ns(name)}; ip -n {self._ns(name)} link set lo up")
        hub = self._ns("hub")
        sh(f"ip -n {hub} link add bridge type bridge; ip -n {hub} link set bridge up")
        sh(f"ip -n {hub} addr add {HUB}/24 dev bridge")
        for name, address in self.addresses.items():
            if name != "hub":
                other = self._ns(name)
                sh(f"ip -n {hub} link add {name} type veth peer name eth0 netns {other}")
                sh(f"ip -n {hub} link set {name} master bridge up; ip -n {other} link set eth0 up")
                sh(f"ip -n {other} addr add {address}/24 dev eth0")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            self.stop(process, signal.SIGKILL)
        for name in self.addresses:
            # What a killed parent left behind is in the namespace still, and is ours.
            for pid in sh(f"ip netns pids {self._ns(name)}").split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            sh(f"ip netns del {self._ns(name)}")

    def _ns(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def start(self, name: str, label: str, command: list[object], env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a program on a machine; what it says is in LABEL.log."""
        with (self._folder / f"{label}.log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._ns(name), *map(str, command)],
                env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        """Stop a program and what it started, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait(60)

    def cut(self, name: str) -> None:
        """Take a machine off the network."""
        sh(f"ip -n {self._ns('hub')} link set {name} down")

    def mend(self, name: str) -> None:
        """Put it back."""
        sh(f"ip -n {self._ns('hub')} link set {name} up")

    def until(self, name: str, command: list[object], env: dict[str, str], seconds: float = 120) -> None:
        """Wait until a command succeeds on a machine."""
        deadline = time.monotonic() + seconds
        while subprocess.run(
            ["ip", "netns", "exec", self._ns(name), *map(str, command)], env=env, capture_output=True, check=False
        ).returncode:
            logs = {path.name: path.read_text(errors="replace")[-1500:] for path in self._folder.glob("*.log")}
            assert time.monotonic() < deadline, f"{command} never succeeded; {logs}"
            time.sleep(0.5)
