"""The flow of one title: plan, upscale its shards, finish, check, certify, show. Can be deployed and retried alone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.progress import Progress, current_progress
from flows.results import StoreResults, master_cache_key, results_block, shard_cache_key
from flows.run import Ledger, Outcome, Run, RunFiles
from flows.stopping import stop_if_draining
from tasks.check import check_master
from tasks.errors import RemasterError, SourceChanged, SourceError, UnsupportedSource, is_permanent
from tasks.finish import master_key, publish_title
from tasks.pictures import pictures_of
from tasks.plan import Plan, plan_title, remarks
from tasks.pool.pool import PoolSettings, SharedPool, worker_pool
from tasks.pool.worker import WorkerSettings
from tasks.preview import preview_title
from tasks.receipt import make_receipt, publish_receipt
from tasks.records import CheckResult, MasterRecord, Record, Title, from_json, to_json
from tasks.scan import examine, list_library, naming
from tasks.signing import signer
from tasks.store import Store
from tasks.tables import LedgerRow
from tasks.upscale import upscale_shard
from vsr_model.errors import ModelError
from vsr_model.registry import find

# Shards that wait for a worker each hold a thread; more of them would only look busy in the UI.
_WAITING_SHARDS = 2
_LONGEST_DELAY = 300.0


class Job:
    """What the tasks of one title share. A plain object: Prefect neither walks into it nor writes it down."""

    def __init__(self, run: Run, title: Title, pool: SharedPool, ledger: Ledger, progress: Progress) -> None:
        self.run, self.title, self.pool, self.ledger, self.progress = run, title, pool, ledger, progress
        self.store, self.output = Store(run.store), Store(run.output)
        self.files = RunFiles(self.store, run.id)
        self.plan: Plan | None = None
        self.records: list[Record] = []
        self.cached: set[int] = set()

    @property
    def planned(self) -> Plan:
        """The plan, which the first task made."""
        assert self.plan is not None
        return self.plan


def pool_settings(run: Run) -> PoolSettings:
    """The pool a run works with."""
    profile = run.profile
    settings = profile.model_settings(find(profile.model).info.settings)
    worker = WorkerSettings(profile.model, profile.precision, profile.tile, profile.tile_overlap, settings)
    return PoolSettings(worker, run.workers, run.ray_address)


@flow(name="remaster title", flow_run_name="{name}", validate_parameters=True, log_prints=False)
def remaster_title(run: Run, name: str) -> State[Any]:
    """Remaster one title of a run's library.

    Ends Completed, or Failed with a message that names the shards or contracts that failed. How it ended is also in the
    run's own files.

    Args:
        run: what was asked for.
        name: of the title, its path within the library.
    """
    began = time.perf_counter()
    progress = current_progress()
    store = Store(run.store)
    title = _find_title(run, name, store)
    with worker_pool(pool_settings(run)) as pool, Ledger(store, run.id) as ledger:
        job = Job(run, title, pool, ledger, progress)
        try:
            outcome = _remaster(job)
        except (RemasterError, ModelError) as error:
            reason = naming(title.name, str(error))
            outcome = Outcome(title=title.name, state="failed", reason=reason, remarks=title.remarks)
    outcome = outcome.model_copy(update={"seconds": round(time.perf_counter() - began, 3)})
    job.files.write_outcome(title, outcome)
    progress.end(outcome)
    if outcome.state == "done":
        return Completed(message=f"{name}: {outcome.frames} frames, master at {outcome.master}")
    return Failed(message=outcome.reason)


def _remaster(job: Job) -> Outcome:
    """The stages in order; raises what makes the title fail as a whole."""
    run, title = job.run, job.title
    if title.refused:
        return Outcome(title=title.name, state="refused", reason=title.refused)
    stop_if_draining(title.name)
    block = results_block(run.store)
    try:
        _plan.with_options(task_run_name=_called(f"plan {title.name}"), **_retrying(run))(job)
    except (SourceError, SourceChanged, UnsupportedSource) as error:
        return Outcome(title=title.name, state="refused", reason=str(error), remarks=title.remarks)
    plan = job.planned
    shards = _upscale_all(job, block)
    base = Outcome(
        title=title.name, state="failed", frames=len(plan.timeline), shards=len(plan.shards), cached=len(job.cached),
        remarks=title.remarks + remarks(plan),
    )  # fmt: skip
    failed = tuple((s.name, reason) for s, (_, reason) in zip(plan.shards, shards, strict=True) if reason)
    if failed:
        names = ", ".join(name for name, _ in failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        reason = f"{title.name}: {len(failed)} of {len(plan.shards)} shards failed ({names}). First: {failed[0][1]}"
        return base.model_copy(update={"failed_shards": failed, "reason": reason})
    job.records = [record for record, _ in shards if record is not None]
    job.progress.phase(title.name, "finishing")
    finish = _finish.with_options(task_run_name=_called(f"finish {title.name}"), result_storage=block, **_retrying(run))
    master = from_json(MasterRecord, finish(job))
    job.progress.phase(title.name, "checking")
    check = _check.with_options(task_run_name=_called(f"check {title.name}"), **_retrying(run))
    result = check(job, master)
    receipt = _receipt.with_options(task_run_name=_called(f"receipt {title.name}"), **_retrying(run))
    receipt(job, master, result)
    # A picture to look at is no part of the master: without it the title is done all the same.
    preview_state = _preview.with_options(task_run_name=_called(f"preview {title.name}"))(job, return_state=True)
    preview = str(preview_state.result()) if preview_state.is_completed() else ""
    done = base.model_copy(update={"master": master.uri, "checks": result.lines, "preview": preview, "state": "done"})
    if result.passed:
        return done
    broken = "; ".join(f"{name}: {seen}" for name, ok, seen in result.lines if not ok)
    reason = f"{title.name}: the master is at {master.uri}, but its check found: {broken}"
    return done.model_copy(update={"state": "check", "reason": reason})


def _upscale_all(job: Job, block: StoreResults) -> list[tuple[Record | None, str]]:
    """Record, and why it failed ('' if it did not), for each shard in order."""
    plan, run = job.planned, job.run
    job.progress.start(job.title.name, len(plan.timeline))
    shown = create_progress_artifact(0.0, key=f"progress-{job.title.id}", description=f"{job.title.name}: shards done")
    job.progress.mirror(job.title.name, shown)  # type: ignore[arg-type]
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_threads(run))
    # One for all shards: Prefect reads and parses the task's source code for each set of options.
    upscale = _upscale.with_options(
        task_run_name=_shard_name,  # type: ignore[arg-type]
        result_storage=block,
        refresh_cache=run.force,
        **_retrying(run),
    )
    with runner:
        futures = [runner.submit(upscale, {"job": job, "index": shard.index}) for shard in plan.shards]
        return [_settled(job, index, future) for index, future in enumerate(futures)]


def _settled(job: Job, index: int, future: PrefectFuture[str]) -> tuple[Record | None, str]:
    future.wait()
    state = future.state
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        return None, str(error or state.message or state.name)
    record = from_json(Record, str(state.result()))
    if state.name == "Cached":
        _note_hit(job, index, 0, record)
    return record, ""


def _note_hit(job: Job, index: int, attempt: int, record: Record) -> None:
    job.cached.add(index)
    job.ledger.add(_row(job, index, attempt, "cached", record=record))
    job.progress.advance(job.title.name, index, record.frames, cached=True)


def _called(name: str) -> Callable[[], str]:
    """A task run's name as it is: Prefect fills in the braces of a plain string, and titles may have some."""
    return lambda: name


def _shard_name(parameters: dict[str, Any]) -> str:
    return f"shard {parameters['job'].planned.shards[parameters['index']].name}"


def _shard_key(context: TaskRunContext, arguments: dict[str, Any]) -> str:
    return shard_cache_key(arguments["job"].planned.shards[arguments["index"]].key)


def _master_key(context: TaskRunContext, arguments: dict[str, Any]) -> str:
    job = arguments["job"]
    return master_cache_key(master_key(job.planned, job.run.profile, job.records, job.output))


def _worth_retrying(task: Any, run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, BaseException) and is_permanent(error))


def _retrying(run: Run) -> dict[str, Any]:
    """Prefect's retry options from the profile: exponential back-off with jitter."""
    retry = run.profile.retry
    delays = [min(retry.delay * 2**i, _LONGEST_DELAY) for i in range(min(retry.attempts - 1, 50))]
    return {"retries": retry.attempts - 1, "retry_delay_seconds": delays or 0, "retry_jitter_factor": 0.5}


@task(cache_policy=NO_CACHE, retry_condition_fn=_worth_retrying, persist_result=False)
def _plan(job: Job) -> None:
    job.progress.phase(job.title.name, "planning")
    job.plan = plan_title(job.title, job.run.profile, job.store)
    job.files.write_shards(job.title, job.plan.shards)
    get_run_logger().info("%d frames in %d shards", len(job.plan.timeline), len(job.plan.shards))


@task(cache_key_fn=_shard_key, persist_result=True, result_serializer="json", retry_condition_fn=_worth_retrying)
def _upscale(job: Job, index: int) -> str:
    work = job.planned.work[index]
    shard, name = work.shard, job.title.name
    context = TaskRunContext.get()
    attempt = context.task_run.run_count if context else 1
    stop_if_draining(f"shard {shard.name}")
    try:
        record, worked = upscale_shard(
            work, job.pool, job.store, job.run.force, job.run.profile.retry.lease,
            lambda frames: job.progress.advance(name, index, frames), lambda: stop_if_draining(f"shard {shard.name}"),
        )  # fmt: skip
    except Exception as error:
        job.ledger.add(_row(job, index, attempt, "failed", error=error))
        raise
    if worked:
        job.ledger.add(_row(job, index, attempt, "done", record=record))
        job.progress.advance(name, index, record.frames)
        get_run_logger().info("%d frames in %.1f s on %s", record.frames, record.seconds["total"], record.worker)
    else:
        _note_hit(job, index, attempt, record)
    return to_json(record).decode()


@task(cache_key_fn=_master_key, persist_result=True, result_serializer="json", retry_condition_fn=_worth_retrying)
def _finish(job: Job) -> str:
    def begin() -> None:
        stop_if_draining(f"{job.title.name}: its master")

    begin()
    made = publish_title(job.planned, job.run.profile, job.records, job.store, job.output, _finishing(job), begin)
    return to_json(made).decode()


def _finishing(job: Job) -> Callable[[int], None]:
    return lambda frames: job.progress.phase(job.title.name, f"finishing {frames}/{len(job.planned.timeline)}")


@task(cache_policy=NO_CACHE, retry_condition_fn=_worth_retrying, persist_result=False)
def _check(job: Job, master: MasterRecord) -> CheckResult:
    result = check_master(job.planned, job.run.profile, master, job.records)
    rows = "\n".join(f"| {name} | {'yes' if ok else '**no**'} | {seen} |" for name, ok, seen in result.lines)
    create_markdown_artifact(
        f"| contract | kept | seen |\n|---|---|---|\n{rows}", key=f"check-{job.title.id}", description=job.title.name
    )
    return result


@task(cache_policy=NO_CACHE, retry_condition_fn=_worth_retrying, persist_result=False)
def _receipt(job: Job, master: MasterRecord, check: CheckResult) -> str:
    checksums = pictures_of(master, job.store)
    receipt = make_receipt(job.planned, job.run.profile, job.records, master, check, checksums)
    return publish_receipt(receipt, job.output, signer())


@task(cache_policy=NO_CACHE, persist_result=False)
def _preview(job: Job) -> str:
    picture = base64.b64encode(preview_title(job.planned, job.records, job.store)).decode()
    create_image_artifact(
        f"data:image/jpeg;base64,{picture}",
        key=f"preview-{job.title.id}",
        description=f"{job.title.name}: source (left, enlarged by bicubic interpolation) and master",
    )
    return picture


def _row(
    job: Job, index: int, attempt: int, outcome: str, record: Record | None = None, error: BaseException | None = None
) -> LedgerRow:
    shard = job.planned.shards[index]
    row = LedgerRow(
        time=time.time(), title=shard.title, index=index, start=shard.start, stop=shard.stop, key=shard.key,
        attempt=attempt, outcome=outcome, error=type(error).__name__ if error else "", message=str(error or ""),
    )  # fmt: skip
    if record is None:
        return row
    worked = outcome == "done"
    return LedgerRow(
        **{
            **row.__dict__,
            "worker": record.worker if worked else "",
            "rung": record.rung,
            "made": record.made,
            "seconds": record.seconds["total"] if worked else 0.0,
            "bytes": record.size,
            "fidelity": record.fidelity,
        }
    )


def _threads(run: Run) -> int:
    return (run.workers or (32 if run.ray_address else _local_gpus())) + _WAITING_SHARDS


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count() or 1


def _find_title(run: Run, name: str, store: Store) -> Title:
    """The title as scanned; looked up afresh if this run has not scanned it."""
    for title in RunFiles(store, run.id).read_titles(name):
        return title
    for found, uri in list_library(run.library):
        if found == name:
            return examine(found, uri, run.profile)
    raise SourceError(f"{name}: is not in the library {run.library}.")
