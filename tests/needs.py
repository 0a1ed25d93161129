"""What a test needs of a machine and does not find there: a reason to skip it, or in CI to fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

# Set by .ci/run, which installs what tests need: there a test that was skipped would pass for one that was run.
VARIABLE = "REMASTER_NO_SKIP"


def lacking(what: str) -> NoReturn:
    """Skip the test, or fail where nothing may be skipped."""
    if os.environ.get(VARIABLE):
        pytest.fail(f"{what} ({VARIABLE} is set)", pytrace=False)
    pytest.skip(what)
