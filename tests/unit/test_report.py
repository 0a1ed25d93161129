"""The pages of titles and runs: whole, small, of one file, and true, however the titles ended."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flows.reporting import write_run, write_title
from flows.run import Outcome, Run, RunFiles, Spent, Verdict
from tasks.judge import FLICKER, faults
from tasks.media.picture.preview import jpeg, jpeg_within
from tasks.pages import data_uri
from tasks.pictures import likeness_of
from tasks.profile import Profile, with_settings
from tasks.receipt import ReviewLine, receipt_place
from tasks.records import CadenceNote
from tasks.report import MOST_BYTES, page_place, run_page, title_card, title_page
from tasks.stills import Still, Stills
from tasks.store import Store
from tasks.tables import LedgerRow
from tasks.title_report import TitleReport, along, title_report
from tests import mastered
from tests.mastered import Mastered

RUN = "20260101-000000-aaaa"
VERDICT = Verdict(state="completed", message="1 of 1 titles done", finished="2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Mastered:
    folder = tmp_path_factory.mktemp("reported")
    return mastered.remaster(mastered.library(folder / "films"), str(folder / "out"), str(folder / "store"))


class Page(HTMLParser):
    """What a browser would find: text, the names of what is seen, and where anything leads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open, self.leads, self.unnamed = "", [], set(), []  # type: ignore[var-annotated]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in {"meta", "link", "img", "input", "br", "path", "rect", "line"}:
            self.open.append(tag)
        self.leads |= {str(named[name]) for name in ("src", "href", "data-before", "data-after") if name in named}
        seen = tag == "img" or tag == "input" or (tag == "svg" and named.get("aria-hidden") != "true")
        if seen and not (named.get("alt") or named.get("aria-label")):
            self.unnamed.append(self.get_starttag_text())

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "rect", "line"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def checked(html: str) -> Page:
    """The page, if it is whole, small, names what it shows and asks nothing of anybody."""
    assert len(html.encode()) < MOST_BYTES
    page = Page(html)
    assert page.open == [] and page.unnamed == []
    outside = [lead for lead in page.leads if not lead.startswith("data:") and not lead.startswith("../")]
    assert outside == []
    assert "url(" not in html and "@import" not in html
    return page


def rows(done: Mastered) -> list[LedgerRow]:
    return [
        LedgerRow(
            time=1000.0 + 10 * shard.index, began=991.0 + 10 * shard.index, title=done.plan.title.name,
            index=shard.index, start=shard.start, stop=shard.stop, key=shard.key, attempt=1, outcome="done",
            worker="here:7:cpu", seconds=9.0, frames=record.frames, bytes=record.size, fidelity=record.fidelity,
        )
        for shard, record in zip(done.plan.shards, done.records, strict=True)
    ]  # fmt: skip


def outcome(done: Mastered, **changed: Any) -> Outcome:
    plain: dict[str, Any] = {
        "title": done.plan.title.name, "state": "done", "master": done.master.uri, "frames": 25, "shards": 3,
        "size": done.master.size, "report": page_place(RUN, done.plan.title), "seconds": 3.0,
        "checks": (("frames", True, "25 of 25"), ("times", True, "every time equal to the tick")),
        "cadence": CadenceNote("progressive", "pass", ("[0,25) progressive",), 25, {"frames": 25}),
    }  # fmt: skip
    return Outcome(**plain | changed)


def job(done: Mastered, noted: list[LedgerRow], **changed: Any) -> Any:
    """What a title's flow has at hand."""
    store = Store(done.store)
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id=RUN)
    plain = {
        "run": run, "title": done.plan.title, "plan": done.plan, "records": done.records, "store": store,
        "output": Store(done.output), "ledger": SimpleNamespace(noted=lambda title: noted),
        "master_bytes": 0,
    }  # fmt: skip
    return SimpleNamespace(**plain | changed)


def filed(done: Mastered, ended: Outcome, noted: list[LedgerRow], **changed: Any) -> Page:
    write_title(job(done, noted, **changed), ended)
    return checked(Store(done.store).read(page_place(RUN, done.plan.title)).decode())


def test_a_title_that_is_done_shows_all_that_is_known_of_it(done: Mastered) -> None:
    page = filed(done, outcome(done), rows(done))
    for words in (
        "film one.mkv", "done", "Cadence: progressive; treatment: pass", "every time equal to the tick", "here:7:cpu",
        "128x96", "fidelity", "difference", "flicker", done.master.sha256, done.plan.fingerprint, "shards.frames",
        "2 shots", "No rates are set",
    ):  # fmt: skip
        assert words in page.text, words
    assert "No pictures" not in page.text
    # Two pairs; a master as small as this is its own thumbnail.
    assert sum(lead.startswith("data:image/jpeg") for lead in page.leads) == 2 * 2


def test_the_flicker_that_is_drawn_is_the_flicker_that_is_judged(done: Mastered) -> None:
    plan, shard = done.plan, done.plan.shards[1]
    likeness = likeness_of(done.master, plan, Store(done.store))
    differs = likeness.flicker.copy()
    differs[shard.start : shard.stop] = 2 * FLICKER
    calmer = replace(likeness, flicker=differs)  # not what the source does, and no more than it
    unsteady = replace(calmer, master_step=np.hypot(calmer.source_step, differs))
    for seen, flickers in ((likeness, False), (calmer, False), (unsteady, True)):
        charts = along(plan, done.records, set(), seen, 0.0).charts
        (drawn,) = [chart.curve for chart in charts if chart.name == "flicker"]
        judged = [fault for fault in faults(seen, plan.shards, plan.cuts) if fault.name == "flicker"]
        assert (drawn.worst > FLICKER, bool(judged)) == (flickers, flickers)
    assert drawn.limit is not None and judged[0].start <= drawn.at < judged[0].stop <= shard.stop


def test_a_title_that_is_held_shows_the_shards_it_has_and_those_it_lacks(done: Mastered) -> None:
    lost = [replace(row, outcome="failed", error="Quarantined", message="it took down 3") if row.index == 2 else row
            for row in rows(done)]  # fmt: skip
    reason = "film one.mkv: held back, with 2 of 3 shards made"
    ended = outcome(
        done, state="held", reason=reason, master="", size=0, checks=(),
        failed_shards=(("film one.mkv [12,25)", "it took"),),
    )  # fmt: skip
    page = filed(done, ended, lost, records=done.records[:2])
    for words in (reason, "film one.mkv [12,25)", "1 failed", "Quarantined: it took down 3"):
        assert words in page.text, words
    assert "Receipt" not in page.text and "flicker" not in page.text
    assert any(lead.startswith("data:image/jpeg") for lead in page.leads), "what is made can be looked at"


def test_a_title_that_never_was_planned_has_a_page_all_the_same(done: Mastered) -> None:
    ended = Outcome(
        title="film one.mkv", state="refused", reason="it is <cut> & torn", report=page_place(RUN, done.plan.title)
    )
    page = filed(done, ended, [], plan=None, records=[])
    assert "it is <cut> & torn" in page.text
    assert not any(lead.startswith("data:image") for lead in page.leads)


def test_a_title_whose_segments_are_gone_says_so(done: Mastered) -> None:
    gone = [replace(record, sha256="0" * 64) for record in done.records]
    page = filed(done, outcome(done, master=""), rows(done), records=gone)
    assert "No pictures: segment of film one.mkv: cannot be opened" in page.text


def test_a_damaged_receipt_is_not_shown(done: Mastered) -> None:
    output = Store(done.output)
    place = receipt_place(done.plan.title.master)
    whole = output.read(place)
    output.write(place, whole.replace(b"film one", b"film two"))
    try:
        assert "BLAKE2b" not in filed(done, outcome(done), rows(done)).text
    finally:
        output.write(place, whole)


def test_who_approved_or_rejected_a_master_and_when_is_in_its_receipts_table(done: Mastered) -> None:
    rejected = ReviewLine(
        verdict="rejected", by="Bob", at="2026-01-01T22:00:00+00:00", note="it rings", rejected=[[0, 8], [8, 12]]
    )
    approved = ReviewLine(
        verdict="approved", by="<b>Ann</b>", at="2026-01-02T06:00:00+00:00", accepted=["shard film one.mkv: black"]
    )
    judged = replace(done, receipt=done.receipt.model_copy(update={"reviews": [rejected, approved]}))
    report = gathered(judged, Stills(), rows(done))
    said = [(name, value) for name, value in report.receipt if name in {"approved", "rejected"}]
    assert said == [
        ("rejected", "by Bob on 2026-01-01T22:00:00+00:00: frames [0,8), frames [8,12): it rings"),
        ("approved", "by <b>Ann</b> on 2026-01-02T06:00:00+00:00: shard film one.mkv: black"),
    ]
    page = checked(title_page(report))
    assert all(value in page.text for _, value in said), "names are text, whatever is in them"


def test_the_page_of_a_run_shows_its_titles_and_leads_to_theirs(done: Mastered) -> None:
    filed(done, outcome(done), rows(done))
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id=RUN)
    others = [
        Outcome(title="stood.mkv", state="done", frames=5, shards=1, cached=1, report="runs/before/titles/1.html"),
        Outcome(title="stood long ago.mkv", state="done", frames=5, shards=1, cached=1),
        Outcome(title="grows.mkv", state="left", reason="it still changes"),
        Outcome(title="torn.mkv", state="refused", reason="torn.mkv: is <torn>", report=f"runs/{RUN}/titles/2.html"),
    ]
    verdict = Verdict(
        state="exceptions", message="1 of 4 titles are not done: torn.mkv: is <torn>", finished=VERDICT.finished
    )
    Store(done.store).write(f"runs/{RUN}/titles/2.card", b"of no use")
    write_run(run, [outcome(done), *others], verdict)
    page = checked(Store(done.store).read(f"runs/{RUN}/report.html").decode())
    assert re.search(r"To look at\s*1\s", page.text) and "torn.mkv: is <torn>" in page.text
    assert {lead for lead in page.leads if lead.startswith("../")} == {
        f"../{RUN}/titles/{done.plan.title.id}.html", f"../{RUN}/titles/2.html", "../before/titles/1.html"
    }  # fmt: skip
    assert re.search(r"3\s*of 5, 2 stood, 1 left for later", page.text)
    assert page.text.count("Along the title") == 1, "what stands is not shown again"
    assert "of no use" not in page.text, "what was refused has no card, and none is asked for"
    assert "1 of 4 titles are not done." in page.text


def test_a_run_that_was_not_begun_says_why(done: Mastered) -> None:
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id="20260101-000000-cccc")
    message = "not begun: it would cost 9.00 and cost.budget is 5.00."
    write_run(run, [], Verdict(state="failed", message=message, finished=VERDICT.finished))
    assert message in checked(Store(done.store).read(f"runs/{run.id}/report.html").decode()).text


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("not begun: it would cost 9.00.", "not begun: it would cost 9.00."),
        (
            "The budget is spent (5.00 of 5.00). What is made is kept: run again, and it goes on from here with a new"
            " budget. 1 of 2 titles are not done: a.mkv: shard a.mkv [0,9): not begun",
            "What is made is kept: run again, and it goes on from here with a new budget. 1 of 2 titles are not done.",
        ),
    ],
)
def test_a_run_whose_titles_are_not_all_done_still_says_why(message: str, shown: str, done: Mastered) -> None:
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id="20260101-000000-dddd")
    waits = Outcome(title="a.mkv", state="held", reason="a.mkv: waits")
    write_run(run, [waits], Verdict(state="failed", message=message, finished=VERDICT.finished))
    page = checked(Store(done.store).read(f"runs/{run.id}/report.html").decode())
    assert shown in page.text and page.text.count("a.mkv: ") == 1


def gathered(done: Mastered, stills: Stills, noted: list[LedgerRow], profile: Profile | None = None) -> TitleReport:
    plan = done.plan
    return title_report(
        RUN, outcome(done).model_dump(), plan.title, profile or done.profile, plan, done.records, noted, done.master,
        0, None, done.receipt, stills, "",
    )  # fmt: skip


@pytest.mark.parametrize("titles", [300, 20_000])
def test_the_page_of_a_run_stays_small_whatever_the_library(titles: int, done: Mastered) -> None:
    picture = data_uri(bytes(220_000))
    stills = Stills((Still(0, 0.0, 1, data_uri(bytes(9_000)), picture, picture),), 1, columns=1280)
    card = title_card(gathered(done, stills, rows(done)))
    reason = "of a reason that takes some words " * 100
    outcomes = [
        outcome(done, title=f"{'folder/' * 30}{n}.mkv", state="failed" if n % 3 == 0 else "done", reason=reason)
        for n in range(titles)
    ]
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id=RUN)
    read = 0

    def cards() -> Any:
        nonlocal read
        for _ in outcomes:
            read += 1
            yield card

    verdict = Verdict(
        state="exceptions", message=f"{titles // 3} of {titles} titles are not done: {reason}", finished=""
    )
    html = run_page(
        run.model_dump(), run.profile, [o.model_dump() for o in outcomes], verdict.model_dump(), [], [], cards()
    )
    page = checked(html)
    assert 5 <= html.count('class="card"') < read <= 20, "what there is no room for is not read"
    assert f"{titles:,}" in page.text
    if titles > 4000:
        assert "16,000 more are in titles.parquet" in page.text and "remaster status" in page.text


def test_the_page_of_a_title_stays_small_whatever_its_pictures_and_shards(done: Mastered) -> None:
    picture, small = data_uri(bytes(1_000_000)), data_uri(bytes(9_000))
    stills = Stills(tuple(Still(n, n / 24, n, small, picture, picture) for n in range(48)), 1000, columns=1280)
    many = [replace(rows(done)[0], index=n, time=1000.0 + n, began=999.0 + n) for n in range(60_000)]
    page = checked(title_page(gathered(done, stills, many)))
    assert "are in the run's ledger" in page.text


def test_what_a_check_found_is_shown_as_far_as_there_is_room_what_is_broken_first(done: Mastered) -> None:
    kept = tuple((f"kept {n}", True, "as it should be") for n in range(30))
    broken = tuple((f"broken {n}", False, "of a colour that is not its own " * 100) for n in range(21_000))
    reason = "; ".join(f"{name}: {seen}" for name, _, seen in broken)
    ended = outcome(done, state="check", checks=(*kept, *broken), reason=reason).model_dump()
    report = replace(gathered(done, Stills(), rows(done)), outcome=ended)
    card, page = title_card(report), checked(title_page(report))
    assert len(card.encode()) < 200_000
    assert "broken 0" in card and "kept 0" not in card and "21,010 more" in card
    assert "broken 0" in page.text


def test_a_card_that_is_too_large_takes_no_others_place(done: Mastered) -> None:
    run = Run(library="films", output=done.output, store=done.store, profile=done.profile, id=RUN)
    cards = ["x" * 6_000_001, '<article class="card">of another</article>']
    html = run_page(run.model_dump(), run.profile, [], VERDICT.model_dump(), [], [], cards)
    assert "of another" in checked(html).text and cards[0] not in html


def test_prices_are_shown_where_there_are_rates(done: Mastered) -> None:
    priced = with_settings(done.profile, {"cost.gpu_hour": 100.0, "cost.budget": 5.0})
    report = gathered(done, Stills(), rows(done), priced)
    page = checked(title_page(report))
    assert "0.75" in page.text and "100 an hour" in page.text, "27 seconds of a worker"


def test_a_bill_is_what_the_budget_counts(done: Mastered) -> None:
    priced = with_settings(done.profile, {"cost.gpu_hour": 100.0, "cost.master_gb_month": 1.0})
    run = Run(library="films", output=done.output, store=done.store, profile=priced, id="20260101-000000-eeee")
    files = RunFiles(Store(done.store), run.id)
    stood = outcome(done, cached=3, size=5 * 10**9, report=page_place(run.id, done.plan.title))

    def billed() -> str:
        write_run(run, [stood], VERDICT)
        return checked(files.store.read(f"runs/{run.id}/report.html").decode()).text.partition("Costs")[2]

    assert "5 GB" not in billed(), "the master was there"
    files.note_spent(Spent(seconds=36.0))
    files.note_spent(Spent(master_bytes=7 * 10**9))
    assert "7 GB" in billed() and "8.00" in billed()
    title = gathered(done, Stills(), [], priced)
    assert title.costs[2].price == 0


def test_pictures_are_as_good_as_their_bytes_allow() -> None:
    import torch

    noise = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(1))
    flat = torch.full((3, 96, 96), 0.5)
    assert jpeg_within([flat], 50_000) == [jpeg(flat, 3)]
    fine, coarse = jpeg_within([noise, flat], 10**6), jpeg_within([noise, flat], 8_000)
    assert len(coarse[0]) < len(fine[0])
    assert coarse[1] != fine[1] or len(coarse[1]) <= len(fine[1]), "both of one quality"
