"""The flow of one title: plan, upscale its shards, finish, check, certify, show. Can be deployed and retried alone."""

# No postponed annotations: a served flow goes to its process without the names that only annotations speak of.

import posixpath
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.assets import materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed

from flows import events
from flows.assets import asset, describe, nothing_made
from flows.budget import spend
from flows.gate import hold_back, overtaken
from flows.job import Job, called, pool_settings, retrying, worth_retrying
from flows.parts import remaster_parts
from flows.progress import current_progress
from flows.reporting import write_title
from flows.results import StoreResults, master_cache_key, results_block
from flows.run import Ledger, Outcome, Run, RunFiles, Spent
from flows.shards import upscale_all, what_failed
from flows.standing import Standings
from flows.stopping import stop_if_draining
from flows.surfaces import board, shortened, show_check, show_page, show_picture
from tasks.check import check_master
from tasks.decided import plan_decided
from tasks.errors import (
    LeaseLost,
    RemasterError,
    SizeChanges,
    SourceChanged,
    SourceError,
    StoreError,
    UnsupportedSource,
)
from tasks.finish import is_held, master_key, publish_title, sole_publisher
from tasks.grades import grades_of
from tasks.hold import read_hold
from tasks.pictures import likeness_of, pictures_of
from tasks.pool.pool import worker_pool
from tasks.preview import preview_title
from tasks.receipt import make_receipt, publish_receipt
from tasks.records import CheckResult, MasterRecord, Record, Title, from_json, to_json
from tasks.remarks import remarks
from tasks.report import page_place
from tasks.review import settle, still_approved
from tasks.scan import examine, list_library, naming
from tasks.signing import signer
from tasks.store import Store
from tasks.trust import doubts
from tasks.verdict import has_to_wait
from vsr_model.errors import ModelError


@flow(name="remaster title", flow_run_name="{name}", validate_parameters=True, log_prints=False)
def remaster_title(run: Run, name: str) -> State[Any]:
    """Remaster one title of a run's library.

    Ends Completed, or Failed with a message that names the shards or contracts that failed. How it ended is also in the
    run's own files.

    Args:
        run: what was asked for.
        name: of the title, its path within the library.
    """
    with board():
        outcome = _ended(run, name)
        events.title_finished(run, outcome)
    if outcome.state == "done":
        return Completed(message=f"{name}: {outcome.frames} frames, master at {', '.join(outcome.masters)}")
    return Failed(name="Held" if outcome.state == "held" else "Failed", message=shortened(outcome.reason))


def _ended(run: Run, name: str) -> Outcome:
    """How the title ended, written down."""
    store = Store(run.store)
    title = _find_title(run, name, store)
    with worker_pool(pool_settings(run)) as pool, Ledger(store, run.id) as ledger:
        return _written(Job(run, title, pool, ledger, current_progress()), _remaster)


def _written(job: Job, remaster: Callable[[Job], Outcome]) -> Outcome:
    """How a title, or a part of one, ended, with its page and a note of it."""
    began = time.perf_counter()
    run, title = job.run, job.title
    try:
        outcome = remaster(job)
    except (RemasterError, ModelError) as error:
        reason = naming(title.name, str(error))
        outcome = Outcome(title=title.name, state="failed", reason=reason, remarks=title.remarks)
    outcome = outcome.model_copy(
        update={"seconds": round(time.perf_counter() - began, 3), "report": page_place(run.id, title)}
    )
    # A page is no part of the master either.
    _report.with_options(task_run_name=called(f"report {title.name}"))(job, outcome, return_state=True)
    try:
        job.files.write_outcome(title, outcome)
    except StoreError as error:
        if not outcome.reason:
            raise
        # A disk that is full is full for this too, but it is not what the title ended by.
        raise type(error)(f"{outcome.reason} Nor can this be noted: {error}") from error
    job.progress.end(outcome)
    return outcome


def _remaster(job: Job) -> Outcome:
    """As a whole, or in parts if its picture changes size."""
    try:
        return _as_a_whole(job)
    except SizeChanges as changes:
        return remaster_parts(job, changes, partial(_written, remaster=_part))


def _part(job: Job) -> Outcome:
    try:
        return _as_a_whole(job)
    except SizeChanges as changes:  # even so
        return Outcome(title=job.title.name, state="refused", reason=str(changes), remarks=job.title.remarks)


def _as_a_whole(job: Job) -> Outcome:
    """The stages in order; raises what makes the title fail as a whole, or `SizeChanges`."""
    run, title = job.run, job.title
    if title.refused:
        return Outcome(title=title.name, state="refused", reason=title.refused)
    stop_if_draining(title.name)
    block = results_block(run.store)
    try:
        _plan.with_options(task_run_name=called(f"plan {title.name}"), **retrying(run))(job)
    except SizeChanges:
        raise
    except (SourceError, SourceChanged, UnsupportedSource) as error:
        return Outcome(title=title.name, state="refused", reason=str(error), remarks=title.remarks)
    ends = upscale_all(job, block)
    plan = job.planned
    base = Outcome(
        title=title.name, state="failed", frames=len(plan.shown), shards=len(plan.shards), cached=len(job.cached),
        remarks=title.remarks + remarks(plan), cadence=plan.reading.note(), doubts=tuple(doubts(title, plan.timeline)),
    )  # fmt: skip
    job.records = [end for end in ends if isinstance(end, Record)]
    failed = what_failed(job, ends)
    if failed:
        return base.model_copy(update=failed)
    for _ in range(run.profile.retry.attempts):
        try:
            return _deliver(job, block, base)
        except LeaseLost as lost:
            get_run_logger().warning("%s: %s", title.name, lost)
    raise LeaseLost(f"{title.name}: its place was lost {run.profile.retry.attempts} times while its master was made.")


def _deliver(job: Job, block: StoreResults, base: Outcome) -> Outcome:
    """Master, check and receipt, with their place to ourselves, so that they belong together."""
    run, title = job.run, job.title
    job.progress.phase(title.name, "finishing")
    leave = partial(job.leave, f"{title.name}: its master")
    leave()
    with sole_publisher(title, job.output, run.profile.retry.lease, leave) as job.place:
        job.hold = read_hold(job.output.uri(title.master), job.store)
        return overtaken(job, base) or _publish(job, block, base)


def _publish(job: Job, block: StoreResults, base: Outcome) -> Outcome:
    run, title = job.run, job.title
    made = asset(job.output.uri(title.master), posixpath.basename(title.master))
    finish = _finish.with_options(
        [made], asset_deps=[asset(title.uri, title.name)], task_run_name=called(f"finish {title.name}"),
        result_storage=block, **retrying(run),
    )  # fmt: skip
    master = from_json(MasterRecord, finish(job))
    job.progress.phase(title.name, "checking")
    check = _check.with_options(task_run_name=called(f"check {title.name}"), **retrying(run))
    result = check(job, master)
    accepted = job.hold is not None and job.hold.accepts(master, result)
    if job.hold is not None and accepted:
        job.hold = still_approved(job.hold, job.asked, job.store)
    if has_to_wait(result.faults, run.profile) and not accepted:
        hold = hold_back.with_options(task_run_name=called(f"hold {title.name}"), **retrying(run))
        held: Outcome = hold(job, master, result, base)
        return held
    receipt = _receipt.with_options(task_run_name=called(f"receipt {title.name}"), **retrying(run))
    certified = receipt(job, master, result)
    # A picture to look at is no part of the master: without it the title is done all the same.
    _preview.with_options(task_run_name=called(f"preview {title.name}"))(job, return_state=True)
    done = base.model_copy(
        update={
            "master": master.uri, "size": master.size, "checks": result.lines, "state": "done",
            "report": page_place(run.id, title),
        }
    )  # fmt: skip
    filled = any(each.revision.filled for each in job.planned.revised)
    if job.hold is not None and (result.passed or accepted or not (result.faults or filled)):
        settle(job.hold, job.asked, master.key, job.store)
    if result.passed or accepted:
        done = done.model_copy(update={"remarks": (*done.remarks, *(each.words for each in job.decisions))})
        Standings(run).note(title, done, certified)
        return done
    broken = "; ".join(f"{name}: {seen}" for name, ok, seen in result.lines if not ok)
    reason = f"{title.name}: the master is at {master.uri}, but its check found: {broken}"
    return done.model_copy(update={"state": "check", "reason": reason})


def _master_key(context: TaskRunContext, arguments: dict[str, Any]) -> str:
    job = arguments["job"]
    return master_cache_key(master_key(job.planned, job.run.profile, job.records, job.output))


@task(cache_policy=NO_CACHE, retry_condition_fn=worth_retrying, persist_result=False)
def _plan(job: Job) -> None:
    job.progress.phase(job.title.name, "planning")
    run = job.run
    decided = plan_decided(job.title, run.profile, job.store, job.output, run.revisions, run.id)
    job.plan, job.asked, job.hold_planned = decided.plan, decided.asked, decided.hold
    job.files.write_shards(job.title, job.plan.shards)
    get_run_logger().info("%d frames in %d shards", len(job.plan.shown), len(job.plan.shards))


@materialize(
    "remaster://master",  # which one it is, each run of the task says
    by="remaster", cache_key_fn=_master_key, persist_result=True, result_serializer="json",
    retry_condition_fn=worth_retrying,
)  # fmt: skip
def _finish(job: Job) -> str:
    new = False

    def commit() -> None:
        nonlocal new
        job.held.confirm()
        new = True

    made = publish_title(job.planned, job.run.profile, job.records, job.store, job.output, _finishing(job), commit)
    job.master_bytes = made.size if new else job.master_bytes
    spend(job.run, Spent(master_bytes=made.size if new else 0))
    if is_held(made.uri):
        nothing_made()
    describe(
        job.output.uri(job.title.master),
        {"frames": made.frames, "bytes": made.size, "sha256": made.sha256, "run": job.run.id},
    )
    return to_json(made).decode()


def _finishing(job: Job) -> Callable[[int], None]:
    return lambda frames: job.progress.phase(job.title.name, f"finishing {frames}/{len(job.planned.shown)}")


@task(cache_policy=NO_CACHE, retry_condition_fn=worth_retrying, persist_result=False)
def _check(job: Job, master: MasterRecord) -> CheckResult:
    plan, profile = job.planned, job.run.profile
    likeness = None if profile.check.picture == "off" else likeness_of(master, plan, job.store)
    grades = grades_of(master, plan, job.store) if profile.check.vmaf else None
    result = check_master(plan, profile, master, job.records, likeness, grades)
    show_check(job.title, result)
    return result


@task(cache_policy=NO_CACHE, retry_condition_fn=worth_retrying, persist_result=False)
def _receipt(job: Job, master: MasterRecord, check: CheckResult) -> str:
    checksums = pictures_of(master, job.store)
    receipt = make_receipt(job.planned, job.run.profile, job.records, master, check, checksums, job.decisions)
    job.held.confirm()
    return publish_receipt(receipt, job.output, signer())


@task(cache_policy=NO_CACHE, persist_result=False)
def _preview(job: Job) -> None:
    show_picture(job.title, preview_title(job.planned, job.records, job.store))


@task(cache_policy=NO_CACHE, persist_result=False)
def _report(job: Job, outcome: Outcome) -> None:
    show_page(job.title, write_title(job, outcome))


def _find_title(run: Run, name: str, store: Store) -> Title:
    """The title as scanned; looked up afresh if this run has not scanned it."""
    for title in RunFiles(store, run.id).read_titles(name):
        return title
    for found, uri in list_library(run.library, run.profile.sequence.rate()):
        if found == name:
            return examine(found, uri, run.profile)
    raise SourceError(f"{name}: is not in the library {run.library}.")
