"""The human gate: a title whose master waits for a person ends as held, shows its pictures, and asks in Prefect.

Nobody waits with it: no process, no worker, no turn. What was found lies in the store (`tasks.hold`); where the library
is served or deployed, a flow run of its `review` deployment is begun, which is suspended until the form is filled in.
"""

# No postponed annotations: a served flow goes to its process without the names that only annotations speak of.

import shlex
from dataclasses import replace

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import PrefectException

from flows.arguments import place
from flows.job import Job, worth_retrying
from flows.run import Outcome
from flows.standing import Standings
from flows.surfaces import cell, put
from tasks.hold import Hold, broken, hold_place
from tasks.pages import data_uri, render
from tasks.pictures import pictures_of
from tasks.preview import preview_title
from tasks.receipt import make_receipt
from tasks.records import CheckResult, Fault, MasterRecord, Revision
from tasks.report import page_place
from tasks.review import hold_again
from tasks.seal import sealed_page

REVIEW = "remaster review"
# Of a table of `fault_lines`.
HEAD = "| fault | shot | shard | frames | seen |\n|---|---|---|---|---|"
_SHOWN, _NAMED = 6, 3


@task(cache_policy=NO_CACHE, retry_condition_fn=worth_retrying, persist_result=False)
def hold_back(job: Job, master: MasterRecord, check: CheckResult, base: Outcome) -> Outcome:
    """Let a master wait for a person; how its title ends.

    Args:
        job: of the title, whose place is ours.
        master: as it was made; not published.
        check: what was found.
        base: what is known of the title's end.
    """
    plan, run, store = job.planned, job.run, job.store
    hold = Hold(
        state="waiting",
        run=run.id,
        title=plan.title,
        output=job.output.root,
        plan=job.asked,
        key=master.key,
        sha256=master.sha256,
        size=master.size,
        uri=master.uri,
        faults=check.faults,
        broken=broken(check),
        shots=(0, *(cut for cut in plan.cuts if cut)),
        shards=tuple((shard.start, shard.stop) for shard in plan.shards),
        revisions=_revisions(job),
        of_run=tuple(each for each in run.revisions if each.title == plan.title.name),
    )
    pictures = _pictures(job, hold.faults)
    page = _page_place(hold, job)
    store.write(page, sealed_page(render("review.html", hold=hold, pictures=pictures, commands=_commands(hold, job))))
    decisions = job.decisions
    receipt = make_receipt(plan, run.profile, job.records, master, check, pictures_of(master, store), decisions)
    job.held.confirm()
    uri = hold_again(hold, job.hold, receipt, store)
    _show(job, hold, pictures)
    _ask(job, hold, len(decisions))
    held = base.model_copy(
        update={
            "state": "held",
            "reason": _reason(hold, job),
            "master": master.uri,
            "checks": check.lines,
            "size": master.size,
            "report": page_place(run.id, plan.title),
        }
    )
    Standings(run).note(plan.title, held, uri)
    return held


def _revisions(job: Job) -> tuple[Revision, ...]:
    """What is to be made otherwise from now on: as it was just made or, where it was filled in, as was decided."""
    decided = job.hold.revisions if job.hold is not None and job.hold.plan == job.asked else ()
    found = {each.start: each for each in decided}
    for revision in (each.revision for each in job.planned.revised if not each.revision.filled):
        found[revision.start] = replace(revision, again=False)
    return tuple(each for each in found.values() if each.settings or each.again)


def overtaken(job: Job, base: Outcome) -> Outcome | None:
    """How a title ends that was rejected while it was on the way, so that nobody wants it as it was planned."""
    now, before = job.hold, job.hold_planned
    if now is None or now.state != "rejected" or now.plan != job.asked:
        return None
    if before is not None and before.decisions == now.decisions:
        return None
    reason = (
        f"{job.title.name}: shards of it were rejected while it was on its way ({now.decisions[-1].words}). The next"
        " run makes them anew, and nothing else."
    )
    return base.model_copy(update={"state": "held", "reason": reason})


def fault_lines(hold: Hold) -> list[tuple[str, int, int, str, str]]:
    """For each fault: its name, shot, shard, pictures, and what was seen."""
    return [
        (
            fault.name,
            sum(start <= fault.start for start in hold.shots) - 1,
            hold.touched([(fault.start, fault.start + 1)])[0],
            f"[{fault.start},{fault.stop})",
            fault.seen,
        )
        for fault in hold.faults
    ]


def _pictures(job: Job, faults: tuple[Fault, ...]) -> list[tuple[str, str]]:
    """Source and master side by side for the first faults: what it is, and a JPEG as a page holds it."""
    found: dict[int, list[str]] = {}
    for fault in faults:
        found.setdefault((fault.start + fault.stop - 1) // 2, []).append(fault.name)
    shown = []
    for number, names in sorted(found.items())[:_SHOWN]:
        picture = preview_title(job.planned, job.records, job.store, number)
        shown.append((f"{', '.join(names)}: picture {number}, source (left) and master", data_uri(picture)))
    return shown


def _page_place(hold: Hold, job: Job) -> str:
    return hold_place(job.output.uri(hold.title.master), "review.html")


def _commands(hold: Hold, job: Job) -> tuple[str, str]:
    """What approves it, and an example of what rejects it."""
    which = [hold.title.name, "--store", job.store.root]
    approve = shlex.join(["remaster", "approve", *which, "--note", "why"])
    return approve, shlex.join(["remaster", "reject", *which, "--with", "model=lanczos", "--reason", "why"])


def _reason(hold: Hold, job: Job) -> str:
    found = [f"{name} in shard {shard}, frames {frames}" for name, _, shard, frames, _ in fault_lines(hold)]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    approve, reject = _commands(hold, job)
    return (
        f"{hold.title.name}: waits for a person, as its picture has faults: {'; '.join(found[:_NAMED])}{more}. Look at"
        f" {job.store.uri(_page_place(hold, job))} and {hold.uri}, then: {approve}, or for instance: {reject}"
    )


def _show(job: Job, hold: Hold, pictures: list[tuple[str, str]]) -> None:
    """The same as an artifact in Prefect."""
    rows = "\n".join(f"| {' | '.join(cell(str(each)) for each in line)} |" for line in fault_lines(hold))
    shown = "\n\n".join(f"{text}\n\n![{text}]({picture})" for text, picture in pictures)
    approve, reject = _commands(hold, job)
    words = (
        f"**{hold.title.name}** waits for a person; its master is at `{hold.uri}`.\n\n"
        f"{HEAD}\n{rows}\n\n{shown}\n\n"
        f"`{approve}`\n\n`{reject}`"
    )
    put("markdown", artifact_of(hold), words, hold.title.name)


def artifact_of(hold: Hold) -> str:
    """Key of the artifact with what a person is to see of a master that waits."""
    return f"review-{hold.title.id}"


def _ask(job: Job, hold: Hold, decided: int) -> None:
    """Begin a flow run that a person decides in, once, where there is a deployment for it."""
    log = get_run_logger()
    places = {"store": job.store.root, "output": job.output.root}
    try:
        with get_client(sync_client=True) as client:
            known = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[REVIEW])))
            for deployment in known:
                filled_in = deployment.parameters.get("review", {})
                if all(place(filled_in.get(name) or "-") == uri for name, uri in places.items()):
                    asked = client.create_flow_run_from_deployment(
                        deployment.id,
                        parameters={"review": places | {"title": hold.title.name}},
                        name=hold.title.name,
                        idempotency_key=f"{hold.key}-{decided}",
                    )
                    log.info("%s: a person is asked in flow run %s", hold.title.name, asked.id)
                    return
    except (httpx.HTTPError, PrefectException) as error:
        log.warning("%s: nobody is asked in Prefect, as its server does not answer: %s", hold.title.name, error)
