"""Makes the picture in docs/getting-started.md, of a server on which its commands were followed.

    python -m tests.browser.prefect_page [URL]

Chromium is the one that REMASTER_CHROMIUM names, or Playwright's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "prefect-nightly.png"
DEPLOYMENT = "remaster library/films-nightly"


def take(url: str, picture: Path = PICTURE) -> None:
    """Take the picture of the nightly deployment, with its schedule and what is upcoming."""
    deployment = httpx.get(f"{url}/api/deployments/name/{DEPLOYMENT}", timeout=30).raise_for_status().json()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("REMASTER_CHROMIUM"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 620}, timezone_id="Europe/Berlin")
        page.goto(f"{url}/deployments/deployment/{deployment['id']}?tab=Upcoming")
        page.get_by_text("Upcoming").first.click()
        page.get_by_text("Scheduled").locator("visible=true").first.wait_for(timeout=30_000)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take(*sys.argv[1:2] or ["http://127.0.0.1:4200"])
