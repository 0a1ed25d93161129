"""A machine that lacks what a test needs skips it; where nothing may be skipped that is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import VARIABLE, lacking

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_lacking_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        lacking("no browser")


def test_what_is_lacking_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"export {VARIABLE}=1" in (ROOT / ".ci/run").read_text()
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        lacking("no browser")
