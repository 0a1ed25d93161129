"""A title whose picture changes size in mid-stream: its parts, one after the other, each a title with a master."""

from collections.abc import Callable
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.job import Job, called, retrying, worth_retrying
from flows.run import Outcome
from flows.standing import Standings
from tasks.errors import SizeChanges, SourceChanged, SourceError, UnsupportedSource
from tasks.parts import part_titles
from tasks.records import Title
from tasks.scan import list_library


def remaster_parts(job: Job, changes: SizeChanges, remaster: Callable[[Job], Outcome]) -> Outcome:
    """Cut a title where its picture changes and remaster its parts; how it ended as a whole.

    Args:
        job: of the title.
        changes: where.
        remaster: takes one part to its end, and notes how it ended.
    """
    title = job.title
    try:
        parts: tuple[Title, ...] = _split.with_options(
            task_run_name=called(f"split {title.name}"), **retrying(job.run)
        )(job, changes)
        _require_places_of_their_own(job, parts)
    except (SourceError, SourceChanged, UnsupportedSource) as error:
        return Outcome(title=title.name, state="refused", reason=str(error), remarks=title.remarks)
    names = ", ".join(part.name for part in parts)
    remark = f"its picture changes size in mid-stream, so it was made in {len(parts)} parts: {names}"
    get_run_logger().warning("%s: %s", title.name, remark)
    job.progress.phase(title.name, f"in {len(parts)} parts")
    ends = [remaster(_job_of(part, job)) for part in parts]
    whole = _together(title, ends, remark)
    if whole.state == "done":
        Standings(job.run).note_parts(title, whole, parts)
    return whole


def _job_of(part: Title, whole: Job) -> Job:
    job = Job(whole.run, part, whole.pool, whole.ledger, whole.progress)
    job.is_part = True
    return job


@task(cache_policy=NO_CACHE, retry_condition_fn=worth_retrying, persist_result=False)
def _split(job: Job, changes: SizeChanges) -> tuple[Title, ...]:
    job.progress.phase(job.title.name, "splitting")
    return part_titles(job.title, changes, job.run.profile, job.store)


def _require_places_of_their_own(job: Job, parts: tuple[Title, ...]) -> None:
    """Refuse parts whose masters would be where those of other titles of the library are, in this run or not."""
    run = job.run
    others = [name for name, _ in list_library(run.library, run.profile.sequence.rate()) if name != job.title.name]
    for part in parts:
        rival = next((name for name in others if replace(part, name=name).master == part.master), "")
        if part.container and rival:
            raise UnsupportedSource(
                f"{job.title.name}: the master of its {part.name} would be that of {rival} ({part.master}). Rename one"
                " of them."
            )


def _together(title: Title, ends: list[Outcome], remark: str) -> Outcome:
    """How a title ended whose parts ended so: as the first that is not done, of those first that may yet be."""
    bad = [end for end in ends if end.state != "done"]
    first = min(bad or ends, key=lambda end: end.state != "failed")
    return Outcome(
        title=title.name, state=first.state, reason="; ".join(end.reason for end in bad), master=ends[0].master,
        frames=sum(end.frames for end in ends), shards=sum(end.shards for end in ends),
        cached=sum(end.cached for end in ends), failed_shards=tuple(each for end in ends for each in end.failed_shards),
        size=sum(end.size for end in ends),
        remarks=(*title.remarks, remark), doubts=tuple(doubt for end in ends for doubt in end.doubts),
        checks=tuple(line for end in ends for line in end.checks),
        parts=tuple(end.master for end in ends if end.master),
    )  # fmt: skip
