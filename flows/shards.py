"""All shards of a title through the pool, one Prefect task each, and what becomes of those that take workers down."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

from prefect import get_run_logger, task
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import events
from flows.job import Job, retrying, worth_retrying
from flows.results import StoreResults, shard_cache_key
from flows.stopping import Stopped
from flows.surfaces import follow_title
from tasks.errors import Quarantined, RemasterError
from tasks.plan import revise
from tasks.pool import metrics
from tasks.records import Record, Revision, from_json, to_json
from tasks.upscale import upscale_shard

# Threads there can be: one a turn, and one for each shard that another driver has in hand.
_MOST_THREADS = 256
_NAMED = 5
# What stands in for a shard that no worker outlives: arithmetic that asks for next to no memory.
_FILLING = (("model", "lanczos"), ("tile", 0), ("precision", "auto"))
# The same whichever workers these were: it is in the receipt.
_WHY_FILLED = "made as asked, it took down three workers"

End = Record | Exception


def upscale_all(job: Job, block: StoreResults) -> list[End]:
    """Record, or why there is none, for each shard in order. A gap that may be filled is; the job's plan says so."""
    plan, run = job.planned, job.run
    job.progress.start(job.title.name, len(plan.shown))
    follow_title(job.title, job.progress)
    ends = _upscale_some(job, block, range(len(plan.shards)))
    if run.profile.retry.quarantine == "fill":
        gaps = [index for index, end in ends.items() if isinstance(end, Quarantined) and _fill(job, index)]
        if gaps:
            job.files.write_shards(job.title, job.planned.shards)
            ends |= _upscale_some(job, block, gaps)
    return [ends[index] for index in range(len(plan.shards))]


def what_failed(job: Job, ends: list[End]) -> dict[str, Any]:
    """State, reason and shards of a title's outcome, if any of its shards could not be made; else empty."""
    plan, title = job.planned, job.title.name
    failed = {shard: end for shard, end in zip(plan.shards, ends, strict=True) if isinstance(end, Exception)}
    if not failed:
        return {}
    shards = {"failed_shards": tuple((shard.name, str(end)) for shard, end in failed.items())}
    # What was not begun because of another failure explains nothing.
    told = {shard: end for shard, end in failed.items() if not isinstance(end, Stopped)} or failed
    error = next(iter(told.values()))
    ranges = [f"[{shard.start},{shard.stop})" for shard in told]
    named = ", ".join(ranges[:_NAMED]) + (f" and {len(ranges) - _NAMED} more" if len(ranges) > _NAMED else "")
    if job.run.profile.retry.quarantine != "fail" and all(isinstance(end, Quarantined) for end in failed.values()):
        shards_of_it = [] if job.is_part else failed
        numbers = [word for shard in shards_of_it for word in ("--shard", str(shard.index))]
        again = shlex.join(["remaster", "rerun", job.run.id, "--title", title, *numbers])
        reason = (
            f"{title}: held back, with {len(plan.shards) - len(failed)} of {len(plan.shards)} shards made: frames"
            f" {named} are quarantined. First: {error} To have them made otherwise, for instance: {again} --with"
            " model=lanczos"
        )
        return shards | {"state": "held", "reason": reason}
    reason = f"{title}: {len(failed)} of {len(plan.shards)} shards failed; frames {named}. First: {error}"
    return shards | {"state": "failed", "reason": reason}


def _fill(job: Job, index: int) -> bool:
    """Plan a shard's place to be filled by a classical resize; False if that is what took the workers down."""
    plan, shard = job.planned, job.planned.shards[index]
    revision = Revision(shard.title, shard.start, shard.stop, _FILLING, _WHY_FILLED, filled=True)
    revised = revise(plan, job.run.profile, job.store, revision)
    if revised.shards[index].key == shard.key:
        return False
    job.plan = revised
    return True


def _upscale_some(job: Job, block: StoreResults, indexes: Collection[int]) -> dict[int, End]:
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_MOST_THREADS)
    # One for all shards: Prefect reads and parses the task's source code for each set of options.
    options: dict[str, Any] = {"task_run_name": _name, "result_storage": block, **retrying(job.run)}
    upscale = {forced: _upscale.with_options(refresh_cache=forced, **options) for forced in (False, True)}
    futures: dict[int, PrefectFuture[str]] = {}
    metrics.move("remaster_queue", len(indexes))
    with runner:
        for index in indexes:
            job.turns.take()
            futures[index] = runner.submit(upscale[job.is_forced(index)], {"job": job, "index": index})
            futures[index].add_done_callback(lambda _: _ended(job))
        return {index: _settled(job, index, future) for index, future in futures.items()}


def _ended(job: Job) -> None:
    job.turns.leave()
    metrics.move("remaster_queue", -1)


def _settled(job: Job, index: int, future: PrefectFuture[str]) -> End:
    future.wait()
    state = future.state
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        return error if isinstance(error, Exception) else RemasterError(state.message or state.name)
    record = from_json(Record, str(state.result()))
    if state.name == "Cached":
        job.cached.add(index)
        job.attempt(index, 0).hit(record)
    return record


def _name(parameters: dict[str, Any]) -> str:
    plan, index = parameters["job"].planned, parameters["index"]
    filled = any(each.index == index and each.revision.filled for each in plan.revised)
    return f"{'fill' if filled else 'shard'} {plan.shards[index].name}"


def _key(context: TaskRunContext, arguments: dict[str, Any]) -> str:
    return shard_cache_key(arguments["job"].planned.shards[arguments["index"]].key)


@task(cache_key_fn=_key, persist_result=True, result_serializer="json", retry_condition_fn=worth_retrying)
def _upscale(job: Job, index: int) -> str:
    work = job.planned.work[index]
    context = TaskRunContext.get()
    attempt = job.attempt(index, context.task_run.run_count if context else 1)
    job.leave(f"shard {work.shard.name}")
    try:
        record, worked = upscale_shard(
            work, job.pool, job.store, job.is_forced(index), job.run.profile.retry.lease, attempt
        )
    except Exception as error:
        attempt.failed(error)
        if isinstance(error, Quarantined):
            events.shard_quarantined(job.run, work.shard, error)
            if job.run.profile.retry.quarantine == "fail":
                job.called_off = str(error)
        raise
    if worked:
        attempt.done(record)
        get_run_logger().info("%d frames in %.1f s on %s", record.frames, record.seconds["total"], record.worker)
    else:
        job.cached.add(index)
        attempt.hit(record)
    return to_json(record).decode()
