"""Reports of titles and runs: reads what the store knows of them, and files the pages. Does not know how these look."""

from __future__ import annotations

from collections.abc import Iterator

from flows.job import Job
from flows.run import Outcome, Run, RunFiles, Verdict
from flows.stopping import is_draining
from tasks.errors import RemasterError
from tasks.finish import master_key, master_record
from tasks.pictures import kept_likeness
from tasks.receipt import Receipt, from_bytes, receipt_place
from tasks.records import MasterRecord
from tasks.report import card_place, page_place, run_page, title_card, title_page
from tasks.seal import opened_page, sealed_page
from tasks.stills import Stills, make_stills
from tasks.store import Store
from tasks.title_report import TitleReport, title_report

_STOPPING = "None were made, as the run was to end."


def write_title(job: Job, outcome: Outcome) -> str:
    """File the page of a title, and what its run's page shows of it; returns the page's URI.

    Raises:
        StoreError: the store does not take them.
    """
    report = _gather(job, outcome)
    place = page_place(job.run.id, job.title)
    if report.along is not None:
        job.store.write(card_place(place), sealed_page(title_card(report)))
    job.store.write(place, sealed_page(title_page(report)))
    return job.store.uri(place)


def write_run(run: Run, outcomes: list[Outcome], verdict: Verdict) -> str:
    """File the page of a run; returns its URI.

    Raises:
        StoreError: the store does not answer.
    """
    store = Store(run.store)
    files = RunFiles(store, run.id)
    page = run_page(
        run.model_dump(),
        run.profile,
        [outcome.model_dump() for outcome in outcomes],
        verdict.model_dump(),
        files.read_ledger(),
        [spent.model_dump() for spent in files.read_spent()],
        _cards(run, outcomes, store),
    )
    return files.write_report(page)


def _cards(run: Run, outcomes: list[Outcome], store: Store) -> Iterator[str]:
    """What there is to show of the titles that this run had in hand, those that are not done first."""
    for outcome in sorted(outcomes, key=lambda outcome: outcome.state == "done"):
        # What is refused has a page, and nothing to show on a card.
        if outcome.state != "refused" and outcome.report.startswith(f"runs/{run.id}/"):
            try:
                yield opened_page(store.read(card_place(outcome.report)))
            except (FileNotFoundError, ValueError, RemasterError):
                continue  # it is in the list of titles all the same


def _gather(job: Job, outcome: Outcome) -> TitleReport:
    plan, profile, store = job.plan, job.run.profile, job.store
    master: MasterRecord | None = None
    stills, unseen = Stills(), ""
    if plan is not None and outcome.master:
        master = master_record(master_key(plan, profile, job.records, job.output), store)
    if plan is not None and job.records:
        try:
            stills, unseen = (Stills(), _STOPPING) if is_draining() else (
                make_stills(plan, job.records, store), ""
            )  # fmt: skip
        except RemasterError as error:
            unseen = str(error)
    return title_report(
        job.run.id,
        outcome.model_dump(),
        job.title,
        profile,
        plan,
        job.records,
        job.ledger.noted(job.title.name),
        master,
        job.master_bytes,
        kept_likeness(master.sha256, store) if master is not None else None,
        _receipt(job, master) if master is not None else None,
        stills,
        unseen,
    )


def _receipt(job: Job, master: MasterRecord) -> Receipt | None:
    """The master's own; where one waits, that of an earlier one may be there."""
    try:
        receipt = from_bytes(job.output.read(receipt_place(job.title.master)))
    except (FileNotFoundError, ValueError, RemasterError):
        return None
    return receipt if receipt.master.sha256 == master.sha256 else None
