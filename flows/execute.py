"""Running the library flow from a terminal: server, display, Ctrl-C. The flow itself is in `library`."""

from __future__ import annotations

import sys
from typing import Any

from flows.library import remaster_library
from flows.progress import showing
from flows.run import Run, RunFiles, Verdict
from flows.stopping import draining_on_interrupt
from tasks.errors import RemasterError
from tasks.store import Store
from vsr_model.errors import ModelError


def execute(run: Run) -> tuple[Verdict, str]:
    """Run a library to its end; returns the verdict and the report's URI.

    Raises:
        RemasterError, ModelError: the library could not be scanned, or the store or output cannot be used.
    """
    store = Store(run.store)
    store.check_writable()
    with draining_on_interrupt(), showing(live=sys.stderr.isatty()):
        state: Any = remaster_library(run, return_state=True)
    # A good one that has come back from Prefect's server, as after a lost answer, has no result to ask for.
    error = state.result(raise_on_failure=False) if state.is_failed() or state.is_crashed() else None
    if isinstance(error, RemasterError | ModelError):
        raise error
    verdict = RunFiles(store, run.id).read_verdict()
    if verdict is None:
        raise RemasterError(f"run {run.id} ended as {state.name}: {error or state.message}") from (
            error if isinstance(error, BaseException) else None
        )
    return verdict, store.uri(f"runs/{run.id}/report.html")
