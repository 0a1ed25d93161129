"""The Chromium of this machine, as all tests and pictures of pages start it: with a profile that is new, and quiet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# It may be root's, has no GPU, and asks for nothing but the page.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def installed() -> str | None:
    """The program: the one that REMASTER_CHROMIUM names, or what is on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("REMASTER_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def chromium(program: str | None = None) -> Iterator[Any]:
    """Playwright's handle of a headless Chromium; its own if no program is named. The profile's folder is temporary."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
