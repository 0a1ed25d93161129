"""A real browser for the tests of pages: the Chromium of this machine, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.browser import chromium as browsers
from tests.needs import lacking


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Playwright's handle of a headless Chromium."""
    if find_spec("playwright") is None:
        lacking("playwright is not installed: pip install playwright")
    program = browsers.installed()
    if program is None:
        lacking("no Chromium on this machine's PATH; on Debian: apt-get install chromium")
    with browsers.chromium(program) as browser:
        yield browser
