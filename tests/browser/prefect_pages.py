"""Makes the pictures of Prefect in docs/ui.md: a server, a library of three titles and two runs, all of its own.

    python -m tests.browser.prefect_pages [FOLDER]

In between a title is changed, so that the second run shows what is cached beside what is made. Chromium is the one that
REMASTER_CHROMIUM names, or Playwright's own; the pictures are for a person to look at before they are kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from flows import environment
from tests.conftest import REPOSITORY, free_port

SETTINGS = ("--scale", "2", "--set", "shards.frames=12", "--set", "master.preset=ultrafast", "--workers", "2")
VIEW = {"width": 1180, "height": 660}
PATIENCE_MS = 60_000


def main(folder: Path = REPOSITORY / "docs") -> None:
    """Two runs, then the pictures."""
    environment.prepare()
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch)) as url:
        env = os.environ | {"PREFECT_API_URL": f"{url}/api", "PYTHONPATH": str(REPOSITORY)}
        films, masters = Path(scratch) / "films", Path(scratch) / "masters"
        (films / "season 1").mkdir(parents=True)
        clip = REPOSITORY / "datasets/demo/flower.mp4"
        for name in ("flower.mp4", "season 1/one.mp4"):
            shutil.copy(clip, films / name)
        run = [sys.executable, "-m", "flows.cli", "run", films, masters, *SETTINGS]
        subprocess.run([*run, "--only", "flower.mp4"], env=env, check=True)
        subprocess.run([*run, "--model", "bicubic"], env=env, check=True)
        subprocess.run(run, env=env, check=True)
        take(url, folder)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server with its pages, for as long as the block lasts."""
    port = free_port()
    env = os.environ | {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/api/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def take(url: str, folder: Path) -> None:
    """The pictures of the latest run."""
    with httpx.Client(base_url=f"{url}/api", timeout=30) as client, sync_playwright() as playwright:
        run = newest(client, "remaster library")
        title = newest(client, "remaster title", "season 1/one.mp4")
        browser = playwright.chromium.launch(executable_path=os.environ.get("REMASTER_CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW, timezone_id="Europe/Berlin", color_scheme="light")
        shoot(page, f"{url}/runs/flow-run/{run['id']}", "season 1/one.mp4", folder / "prefect-run.png")
        shoot(page, f"{url}/runs/flow-run/{title['id']}?tab=Task+Runs", "Cached", folder / "prefect-title.png")
        shoot(page, f"{url}/runs/flow-run/{run['id']}?tab=Artifacts", "report and masters", folder / "prefect-artifacts.png")
        browser.close()


def shoot(page: Page, place: str, shown: str, picture: Path) -> None:
    """Take the picture of a page once it shows some words."""
    page.goto(place)
    page.get_by_text(shown).locator("visible=true").first.wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(1500)  # what slides or fades in
    page.screenshot(path=picture)


def newest(client: httpx.Client, flow: str, name: str = "") -> dict[str, Any]:
    """The flow run that was begun last."""
    query: dict[str, Any] = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
    if name:
        query["flow_runs"] = {"name": {"any_": [name]}}
    (found,) = client.post("/flow_runs/filter", json=query).raise_for_status().json()
    return dict(found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
