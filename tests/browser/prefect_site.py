"""A Prefect server with its pages, and a library on it that has been through something: what its pages are to show.

Of two titles one is done, with a shard that failed once, and two that were made anew since; the other is held.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from flows.links import VARIABLE
from tests.clips import Clip, make
from tests.conftest import PREFECT_PATIENCE, REPOSITORY, prefect_server_at
from tests.faulty import Faults
from tests.integration.test_deployments import Server, running, until

LIBRARY = "films"
NIGHTLY = f"remaster library/{LIBRARY}-nightly"
GOOD, HELD = "season 1/flower.mp4", "test picture.mkv"
SHARD = 11
# Frames at which shards of one title begin, and none of the other.
FAILS, BLACK = 4 * SHARD, 20
REASON = "too soft"
SETTINGS = (
    "--model", "faulty", "--scale", "2", "--workers", "2", "--settle", "0", "--set", f"shards.frames={SHARD}",
    "--set", "shards.shortest=4", "--set", "check.picture=hold", "--set", "retry.delay=0.5",
    "--set", "master.preset=ultrafast", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Where its pages are, and the flow runs to look at, as the server has them.

    Attributes:
        url: of the pages.
        masters: the library's output.
        server: what answers for them.
        night: the run in which one title ended well and the other is held.
        good, again: of the good title, in that night and when two of its shards were made anew.
        review: the one that asks a person about the other title, that night.
    """

    url: str
    masters: Path
    server: Server
    night: dict[str, Any]
    good: dict[str, Any]
    again: dict[str, Any]
    review: dict[str, Any]

    def asks_again(self) -> dict[str, Any]:
        """The flow run that asks about the title that was held, after another night."""
        self.server.ended(self.server.start(NIGHTLY))
        return until(lambda: _asking(self.server))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """URL of a folder on a web server, as an operator has one, for as long as the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def prefect_site(folder: Path) -> Iterator[Site]:
    """A server, for as long as the block lasts, on which all of that has happened."""
    for part in ("prefect", "ui", "home"):
        (folder / part).mkdir()
    films, masters = folder / LIBRARY, folder / "masters"
    (films / GOOD).parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "datasets/demo/flower.mp4", films / GOOD)
    make(films / HELD, Clip(frames=40, width=320, height=180, cuts=(BLACK,)))
    pages = {
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # it writes its address into its pages
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",  # see `tests.conftest.prefect_api`
    }
    with ExitStack() as stack:
        web = stack.enter_context(served(masters))
        api = stack.enter_context(prefect_server_at(folder / "prefect", **pages))
        server = Server(stack.enter_context(httpx.Client(base_url=api, timeout=PREFECT_PATIENCE)))
        faults = Faults(folder / "faults")
        env = faults.env({
            **os.environ, "PREFECT_API_URL": api, "PYTHONPATH": str(REPOSITORY), VARIABLE: f"{masters}={web}",
            "PREFECT_HOME": str(folder / "home"), "XDG_DATA_HOME": str(folder / "home"),
        })  # fmt: skip
        faults.happen("fail-once", FAILS)
        faults.happen("black", BLACK)
        serve = [sys.executable, "-m", "flows.cli", "serve", films, masters, *SETTINGS]
        stack.enter_context(running(serve, env, folder / "log", f"{LIBRARY}-review"))
        night = server.ended(server.start(NIGHTLY))
        asked = {"store": str(masters / ".remaster"), "title": GOOD, "shards": [2, 3], "reason": REASON}
        rerun = {"rerun": asked | {"settings": {"model": "bicubic"}}}
        server.ended(server.start(f"remaster rerun/{LIBRARY}-rerun", rerun))
        good, again = runs_of(server, GOOD)
        yield Site(api.removesuffix("/api"), masters, server, night, good, again, until(lambda: _asking(server)))


def runs_of(server: Server, title: str) -> list[dict[str, Any]]:
    """The flow runs of a title, the first one first."""
    return server.find("flow_runs", flow_runs={"name": {"any_": [title]}}, sort="START_TIME_ASC")


def _asking(server: Server) -> dict[str, Any] | None:
    asked = server.find("flow_runs", flows={"name": {"any_": ["remaster review"]}})
    return next((run for run in asked if run["state"]["name"] == "Suspended"), None)
