"""How a run ended, as a terminal hears of it: by its verdict, whatever came back from Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import execute
from flows.run import Run, RunFiles, Verdict
from tasks.errors import RemasterError, UsageError
from tasks.profile import Profile
from tasks.store import Store
from vsr_model.errors import ModelError


def ended(state: State[Any], verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Verdict, str]:
    """What a run says whose flow ended in a state, with a verdict of that message if any."""
    run = Run(library=str(tmp_path), output=str(tmp_path / "out"), profile=Profile(), id="a-run")
    files = RunFiles(Store(run.store), run.id)

    def flow(run: Run, return_state: bool) -> State[Any]:
        files.begin(run)
        if verdict:
            state_of = "completed" if state.is_completed() else "failed"
            files.write_verdict(Verdict(state=state_of, message=verdict, finished=datetime.now(UTC).isoformat()))
        return state

    monkeypatch.setattr(execute, "remaster_library", flow)
    return execute.execute(run)


def test_a_good_end_without_a_result_is_a_good_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect's server gives it when its answer was lost and asked for again."""
    verdict, report = ended(Completed(message="all done"), "all done", tmp_path, monkeypatch)
    assert (verdict.state, verdict.message) == ("completed", "all done")
    assert report.endswith("/runs/a-run/report.html")


@pytest.mark.parametrize("error", [UsageError("no title matches"), ModelError("no such network")])
def test_what_kept_a_run_from_beginning_is_raised(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error), match=str(error)):
        ended(Failed(message="failed", data=error), str(error), tmp_path, monkeypatch)


def test_titles_that_failed_are_in_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, _ = ended(Failed(message="1 of 2 titles"), "1 of 2 titles", tmp_path, monkeypatch)
    assert (verdict.state, verdict.message) == ("failed", "1 of 2 titles")


def test_an_end_without_a_verdict_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemasterError, match="run a-run ended as Completed"):
        ended(Completed(message="all done"), "", tmp_path, monkeypatch)
