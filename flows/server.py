"""A Prefect server for one run, when no shared one is configured: on loopback, in a process that dies with the run.

Prefect's own temporary server outlives a driver that is killed outright; this one watches its parent.
Run as a module it is that process: `python -m flows.server PORT PARENT_PID`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from flows import environment
from tasks.errors import RemasterError, UsageError

_START_SECONDS = 120.0
_WATCH_SECONDS = 1.0
_DRAIN_SECONDS = 10.0


@contextmanager
def prefect_server() -> Iterator[None]:
    """Have a Prefect API for as long as the block lasts: the configured one, or one of this run's own.

    Raises:
        RemasterError: the run's own server does not start (the message holds its last words), or a configured one does
            not answer.
    """
    if _configured():
        from flows.watchdog import watch

        with _server_errors():
            watch()
            yield
        return
    environment.pass_proxies_by("127.0.0.1")
    with _started() as url:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield
            finally:
                _drain()


@contextmanager
def _started() -> Iterator[str]:
    """URL of a server's API for as long as the block lasts."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryFile() as log, ExitStack() as ends:
        with _one_at_a_time():
            server = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(port), str(os.getpid())],
                stdout=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C in the terminal is for the run: the server must outlast its draining.
                start_new_session=True,
            )
            ends.callback(_end, server)
            _await(url, server, log)
        yield url


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Runs that begin together wait for each other's server: the first one makes the tables of all, of Prefect's home.

    Where no file can be made or locked, as on some network drives, nobody waits.
    """
    with ExitStack() as held:
        with suppress(OSError):
            file = held.enter_context((_home() / "remaster-server.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _home() -> Path:
    """Prefect's folder: Prefect makes it only for those who come by its own commands."""
    from prefect.settings import get_current_settings

    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    return home


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


@contextmanager
def lasting_server() -> Iterator[None]:
    """Have the configured Prefect server for as long as the block lasts.

    Raises:
        UsageError: none is configured.
        RemasterError: it does not answer.
    """
    if not _configured():
        raise UsageError(
            "deployments need a Prefect server that lasts, and PREFECT_API_URL names none. Start one with `prefect"
            " server start`, and set PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    with prefect_server():
        yield


@contextmanager
def _server_errors() -> Iterator[None]:
    """Say in a sentence that the configured server is gone."""
    import httpx
    from prefect.settings import get_current_settings

    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "reach API" not in str(error):
            raise
        raise RemasterError(
            f"Prefect's server at {get_current_settings().api.url} does not answer ({error}). What is done is kept: see"
            " that it runs, then run again."
        ) from error


def _drain() -> None:
    """Let what is still on its way to the server arrive, or it would complain at the end of the process."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=_DRAIN_SECONDS)


def _configured() -> bool:
    """True if the environment or Prefect's active profile names a server; an empty name is none, as Prefect has it."""
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def _await(url: str, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 (of this machine)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    server.kill()
    log.seek(0)
    said = log.read().decode(errors="replace").strip()
    raise RemasterError(f"Prefect's server does not start on {url}: {said[-2000:] or 'it said nothing'}")


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _serve(port: int, parent: int) -> None:
    import uvicorn

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    environment.prepare()
    _home()  # the database does not open without
    # What Prefect sets for its own temporary server: no pages to serve, no services that only a lasting one needs.
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    _serve(int(sys.argv[1]), int(sys.argv[2]))
