"""The flow of a whole library: scan it, run every title's own flow, report, and end in an honest state."""

# No postponed annotations: a served flow goes to its process without the names that only annotations speak of.

import posixpath
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows import events
from flows.budget import Spending, spending_of, weight, why_not
from flows.job import pool_settings
from flows.known import note_run
from flows.progress import current_progress
from flows.reporting import write_run
from flows.results import results_block
from flows.run import BUDGET_SPENT, TITLES_AT_ONCE, Outcome, Run, RunFiles, Verdict
from flows.standing import Standings
from flows.stopping import draining_on_termination, is_draining
from flows.surfaces import board, follow_run, shortened, show_results
from flows.title import remaster_title
from tasks.errors import RemasterError, UsageError
from tasks.pool.pool import worker_pool
from tasks.records import Title
from tasks.scan import matching, naming, nothing_known, require_outside, scan
from tasks.store import Store
from vsr_model.errors import ModelError

_NAMED = 10
_WRITERS = 8


def _identified(run: Run) -> Run:
    """A deployed run gets its id when it begins, and keeps it when it is retried; it sorts by when it was due."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    if run.id or flow_run is None:
        return run
    due = (flow_run.expected_start_time or datetime.now(UTC)).astimezone(UTC)
    return run.model_copy(update={"id": f"{due:%Y%m%d-%H%M%S}-{flow_run.id.hex[-4:]}"})


def _run_name() -> str:
    context = FlowRunContext.get()
    assert context is not None and context.parameters is not None
    return _identified(context.parameters["run"]).id


@flow(name="remaster library", flow_run_name=_run_name, log_prints=False)
def remaster_library(run: Run) -> State[Any]:
    """Remaster a library.

    Ends Completed; or Failed, in a state called "Exceptions" if some titles are done, with a message that names those
    that are not; or Cancelled, in a state called "BudgetSpent" if it was for want of money. Everything it knows is also
    in the run's files on the store.

    Args:
        run: what is asked for.
    """
    with draining_on_termination(), board():
        return _remaster(_identified(run))


def _remaster(run: Run) -> State[Any]:
    files = RunFiles(Store(run.store), run.id)
    note_run(run.id, run.store)
    files.begin(run)
    try:
        titles, ended = _scan(run)
    except (RemasterError, ModelError) as error:
        with suppress(RemasterError):  # the store may be what is wrong
            files.write_verdict(Verdict(state="failed", message=str(error), finished=_now()))
        raise
    standing = sum(outcome.state == "done" for outcome in ended.values())
    files.write_titles(titles)
    current_progress().expect({title.name: weight(title) for title in titles})
    follow_run(run, current_progress())
    _note_outcomes(files, [(title, ended[title.name]) for title in titles if title.name in ended])
    new = [title for title in titles if title.name not in ended]
    made, refusal = _run_titles(run, new)
    if refusal:
        events.run_refused(run, refusal)
        return _end(
            run, list(ended.values()), Verdict(state="failed", message=f"not begun: {refusal}", finished=_now())
        )
    ended |= made
    outcomes = [ended[title.name] for title in titles]
    files.write_titles(titles, outcomes)
    return _end(run, outcomes, _verdict(outcomes, standing, spending_of(run)))


def _end(run: Run, outcomes: list[Outcome], verdict: Verdict) -> State[Any]:
    RunFiles(Store(run.store), run.id).write_verdict(verdict)
    reported = _report(run, outcomes, verdict, return_state=True)
    if not reported.is_completed():
        get_run_logger().warning("the run has no page, and is kept all the same: %s", reported.message)
    events.run_finished(run, verdict)
    message = shortened(verdict.message)
    if verdict.state == "completed":
        return Completed(message=message)
    if verdict.state == "stopped":
        return Cancelled(name=BUDGET_SPENT if spending_of(run).stopped else "Cancelled", message=message)
    return Failed(name="Exceptions" if verdict.state == "exceptions" else "Failed", message=message)


def _run_titles(run: Run, titles: list[Title]) -> tuple[dict[str, Outcome], str]:
    """Run the titles' flows; how each ended, by its name, or why none was begun."""
    if not titles:
        return {}, ""
    results_block(run.store)  # the titles' flows would race to be the first
    with worker_pool(pool_settings(run)) as pool, ThreadPoolExecutor(TITLES_AT_ONCE) as titles_at_once:
        if refusal := why_not(run, titles, pool):
            return {}, refusal
        # So that the end of a run is not one long title on one worker.
        longest_first = sorted(titles, key=weight, reverse=True)
        # A copied context each, so that every title's flow knows this one as its parent.
        flows = [titles_at_once.submit(copy_context().run, _run_title, run, title) for title in longest_first]
        return {outcome.title: outcome for outcome in (future.result() for future in flows)}, ""


def _note_outcomes(files: RunFiles, ended: list[tuple[Title, Outcome]]) -> None:
    """Write down how titles ended that there was nothing to do for."""
    with ThreadPoolExecutor(_WRITERS) as writers:
        list(writers.map(lambda pair: files.write_outcome(*pair), ended))
    for _, outcome in ended:
        current_progress().end(outcome)


def _run_title(run: Run, title: Title) -> Outcome:
    """Run a title's flow; a title that ends badly, however badly, does not end the library."""
    files = RunFiles(Store(run.store), run.id)
    try:
        state = remaster_title(run, title.name, return_state=True)
        outcome = files.read_outcome(title)
        if outcome is not None:
            return outcome
        error: object = state.result(raise_on_failure=False) or state.message or state.name
    except (RemasterError, httpx.HTTPError) as failed:  # the store or Prefect's server does not answer
        error = failed
    reason = naming(title.name, str(error))
    outcome = Outcome(title=title.name, state="failed", reason=reason)
    with suppress(RemasterError):
        files.write_outcome(title, outcome)
    current_progress().end(outcome)
    events.title_finished(run, outcome)
    return outcome


def _scan(run: Run) -> tuple[list[Title], dict[str, Outcome]]:
    """The titles, and how those ended that there is nothing to do for."""
    scanned: tuple[list[Title], dict[str, Outcome]]
    scanned = _scan_task.with_options(task_run_name=lambda: f"scan {run.library}")(run)
    return scanned


@task(cache_policy=NO_CACHE, persist_result=False)
def _scan_task(run: Run) -> tuple[list[Title], dict[str, Outcome]]:
    require_outside(run.store, run.library, "store")
    store, output = Store(run.store), Store(run.output)
    store.check_writable()
    output.check_writable()
    standing = Standings(run)
    known = standing.find if run.new_only else nothing_known
    titles = matching(matching(scan(run.library, run.output, run.profile, run.settle, known), run.only), run.titles)
    if not titles:
        raise UsageError(f"{run.library}: no title matches {(run.titles or run.only)!r}.")
    swept = store.sweep_below() + output.sweep(
        *{posixpath.dirname(t.master) for t in titles if t.container and not t.refused}
    )
    if swept:
        get_run_logger().info("removed %d half-written files and folders of processes that are gone", swept)
    left = {title.name: Outcome(title=title.name, state="left", reason=title.left) for title in titles if title.left}
    stand = {t.name: standing.outcomes[t.name] for t in titles if t.name in standing.outcomes and not t.refused}
    get_run_logger().info("%d titles: %d stand, %d are left for a later run", len(titles), len(stand), len(left))
    return titles, stand | left


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="report")
def _report(run: Run, outcomes: list[Outcome], verdict: Verdict) -> str:
    uri = write_run(run, outcomes, verdict)
    show_results(run, outcomes, verdict, uri)
    return uri


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _verdict(outcomes: list[Outcome], standing: int, spending: Spending) -> Verdict:
    left = [o for o in outcomes if o.state == "left"]
    bad = [o for o in outcomes if o.state not in {"done", "left"}]
    taken = len(outcomes) - len(left)
    good = taken - len(bad)
    finished = _now()
    more = (f", {standing} of them before" if standing else "") + (f"; {_named(left)}" if left else "")
    if not bad:
        return Verdict(state="completed", message=f"{good} of {good} titles done{more}", finished=finished)
    message = f"{len(bad)} of {taken} titles are not done: {_named(bad + left)}"
    something = good > 0 or any(o.state in {"check", "held"} for o in bad)
    if spending.stopped:
        message = f"{spending.words()} {message}"
        return Verdict(state="stopped", message=message[0].upper() + message[1:], finished=finished)
    if is_draining():
        return Verdict(state="stopped", message=message, finished=finished)
    return Verdict(state="exceptions" if something else "failed", message=message, finished=finished)


def _named(outcomes: list[Outcome]) -> str:
    more = f"; and {len(outcomes) - _NAMED} more" if len(outcomes) > _NAMED else ""
    return "; ".join(o.reason for o in outcomes[:_NAMED]) + more
