"""Makes the pictures of Prefect in docs/ui.md: a server, a library of two titles and two runs, all of its own.

    python -m tests.browser.prefect_pages [FOLDER]

The second run makes some shards of a title anew, so that it shows what is cached beside what is made. Chromium is the
one that REMASTER_CHROMIUM names, or Playwright's own; the pictures are for a person to look at before they are kept.
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

SETTINGS = ("--scale", "2", "--set", "shards.frames=12", "--workers", "2")
AGAIN = ("--shard", "2", "--shard", "3", "--reason", "too soft", "--with", "model=bicubic")
TITLE = "season 1/one.mp4"
WIDTH = 1180
PATIENCE_MS = 60_000


def main(folder: Path = REPOSITORY / "docs") -> None:
    """Two runs, then the pictures."""
    environment.prepare()
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch)) as url:
        env = os.environ | {"PREFECT_API_URL": f"{url}/api", "PYTHONPATH": str(REPOSITORY)}
        films, masters = Path(scratch) / "films", Path(scratch) / "masters"
        for name in ("flower.mp4", TITLE):
            (films / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / "datasets/demo/flower.mp4", films / name)
        command = [sys.executable, "-m", "flows.cli"]
        subprocess.run([*command, "run", films, masters, *SETTINGS], env=env, check=True)
        again = ["rerun", "--store", masters / ".remaster", "--title", TITLE, *AGAIN]
        subprocess.run([*command, *again], env=env, check=True)
        take(url, folder)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server with its pages, for as long as the block lasts."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # it writes its address into its pages
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
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
    """The pictures: artifacts of the first run, the title's tasks in the second, a picture of the title."""
    with httpx.Client(base_url=f"{url}/api", timeout=30) as client, sync_playwright() as playwright:
        first = find(client, "flow_runs", flows={"name": {"any_": ["remaster library"]}}, sort="START_TIME_ASC")
        title = find(client, "flow_runs", flow_runs={"name": {"any_": [TITLE]}}, sort="START_TIME_DESC")
        image = find(client, "artifacts", artifacts={"type": {"any_": ["image"]}}, sort="CREATED_DESC")
        browser = playwright.chromium.launch(executable_path=os.environ.get("REMASTER_CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 600}, timezone_id="Europe/Berlin")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{url}/runs/flow-run/{first['id']}")
        page.get_by_text("Artifacts", exact=True).locator("visible=true").last.click()
        shoot(page, "2/2 titles", folder / "prefect-run.jpg", 1080)
        page.goto(f"{url}/runs/flow-run/{title['id']}")
        page.get_by_text("Task Runs", exact=True).locator("visible=true").last.click()
        page.get_by_placeholder("Search by run name").locator("visible=true").fill("shard")
        shoot(page, "Cached", folder / "prefect-title.jpg", 1150)
        page.goto(f"{url}/artifacts/artifact/{image['id']}")
        shoot(page, "enlarged by", folder / "prefect-picture.jpg", 540)
        browser.close()


def shoot(page: Page, shown: str, picture: Path, height: int) -> None:
    """Take the picture of a page, so high, once it shows some words."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.get_by_text(shown).locator("visible=true").first.wait_for()
    page.wait_for_timeout(2000)  # what slides or fades in
    page.screenshot(path=picture, type="jpeg", quality=72)


def find(client: httpx.Client, kind: str, **query: Any) -> dict[str, Any]:
    """The first of these."""
    found = client.post(f"/{kind}/filter", json=query | {"limit": 1}).raise_for_status().json()
    return dict(found[0])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
