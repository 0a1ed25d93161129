"""Makes the picture in docs/report.md, of the report of a title.

    python -m tests.browser.report_page PAGE

Chromium is the one that REMASTER_CHROMIUM names, this machine's, or Playwright's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.browser.chromium import chromium, installed

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "report.jpg"


def take(page_file: Path, picture: Path = PICTURE) -> None:
    """Take the picture of a title's page, as far as its curves and workers."""
    with chromium(installed()) as browser:
        page = browser.new_page(viewport={"width": 1060, "height": 1480})
        page.goto(page_file.resolve().as_uri())
        page.screenshot(path=picture, type="jpeg", quality=66)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
