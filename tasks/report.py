"""Stage 7: a title, and a run, as one self-contained HTML page each. Draws plain data; knows neither Prefect nor store.

No page is larger than 10 MB whatever is shown: pictures are of bounded size, and of lists that are too long for that a
part is shown, with the count of what is not and where to find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from tasks.attempts import clock_of, costs_of
from tasks.pages import render
from tasks.profile import Profile
from tasks.records import Title
from tasks.tables import LedgerRow
from tasks.title_report import TitleReport, settings_of

MOST_BYTES = 10_000_000
# What is shown of lists and pictures, of as much as there is room for by rule: the first that is small enough.
_SHARES = (1.0, 0.5, 0.25, 0.1, 0.02, 0.0)
_CARDS_BYTES = 6_000_000
_CARD_PAIRS, _CARD_SHEET = 1, 12
_ROWS, _TITLES, _TROUBLES, _NAMED = 4000, 4000, 600, 200
_WELL = ("done", "left")
# Of a reason or of what a check saw: the outcome has all of it.
_LONGEST_REASON = 2000
# Where a verdict's message begins to name titles.
_NAMES = " are not done: "


def page_place(run_id: str, title: Title) -> str:
    """Store key of a title's page."""
    return f"runs/{run_id}/titles/{title.id}.html"


def card_place(page: str) -> str:
    """Store key of what a run's page shows of a title, by the key of the title's own page."""
    return page.removesuffix(".html") + ".card"


def title_page(report: TitleReport) -> str:
    """All that is known of a title."""
    return _within(lambda share: render("report_title.html", report=_bounded(report, share), **_limits(share)))


def title_card(report: TitleReport) -> str:
    """What the page of a run shows of a title: a part of its page's body."""
    shown = report.stills.shown
    pairs = [still for still in shown if still.after][:_CARD_PAIRS]
    step = max(1, -(-len(shown) // _CARD_SHEET))
    sheet = [replace(still, before="", after="") for still in shown[::step] if still not in pairs]
    stills = sorted([*pairs, *sheet], key=lambda still: still.picture)
    small = replace(report, stills=replace(report.stills, shown=tuple(stills)))
    return render("report_card.html", report=small, **_limits(1.0))


def run_page(
    run: dict[str, Any],
    profile: Profile,
    outcomes: Sequence[dict[str, Any]],
    verdict: dict[str, Any],
    rows: Sequence[LedgerRow],
    spent: Sequence[dict[str, Any]],
    cards: Iterable[str],
) -> str:
    """The page.

    Args:
        run: fields of `flows.run.Run`.
        profile: of it.
        outcomes: fields of `flows.run.Outcome`, one a title.
        verdict: fields of `flows.run.Verdict`.
        rows: of the run's ledger.
        spent: fields of `flows.run.Spent`: what the ledger does not tell of.
        cards: see `title_card`, what matters most first; as many are taken as there is room for.

    Returns:
        HTML with everything inside: no request to anywhere.
    """
    shown, room = [], _CARDS_BYTES
    for card in cards:
        size = len(card.encode())
        if size > _CARDS_BYTES:
            continue  # the title has a page of its own
        room -= size
        if room < 0:
            break
        shown.append(card)
    here = f"runs/{run['id']}/"
    masters, samples = (sum(each[what] for each in spent) for what in ("master_bytes", "seconds"))
    totals = {
        "titles": len(outcomes),
        "done": sum(o["state"] == "done" for o in outcomes),
        "standing": sum(_stands(o, here) for o in outcomes),
        "left": sum(o["state"] == "left" for o in outcomes),
        "frames": sum(o["frames"] for o in outcomes),
        "shards": sum(o["shards"] for o in outcomes),
        "cached": sum(o["cached"] for o in outcomes),
    }
    lines = [
        o | {"link": f"../{o['report'].removeprefix('runs/')}" if o["report"] else "", "stands": _stands(o, here)}
        for o in outcomes
    ]
    values = {
        "run": run,
        "verdict": verdict,
        "message": _unnamed(verdict["message"]),
        "totals": totals,
        "outcomes": sorted(lines, key=lambda line: line["state"] in _WELL),
        "troubles": [line for line in lines if line["state"] not in _WELL],
        "clock": clock_of(rows),
        "costs": costs_of(rows, masters, profile.cost, samples),
        "settings": settings_of(profile),
    }

    def draw(share: float) -> str:
        return render("report.html", cards=shown[: round(len(shown) * share)], **values, **_limits(share))

    return _within(draw)


def _unnamed(message: str) -> str:
    """A verdict's message without the titles that are not done: they are named one by one below it."""
    said, names, _ = message.partition(_NAMES)
    return said + names.rstrip(" :") + "." if names else message


def _stands(outcome: dict[str, Any], here: str) -> bool:
    """True if the title's master was there before the run and is as it should be."""
    return outcome["state"] == "done" and not outcome["report"].startswith(here)


def _within(draw: Callable[[float], str]) -> str:
    for share in _SHARES:
        page = draw(share)
        if len(page.encode()) < MOST_BYTES:
            break
    return page


def _bounded(report: TitleReport, share: float) -> TitleReport:
    """A title with fewer pictures."""
    shown = report.stills.shown
    kept = shown[: round(len(shown) * share)]
    return replace(report, stills=replace(report.stills, shown=kept))


def _limits(share: float) -> dict[str, int]:
    return {
        "most_rows": round(_ROWS * share),
        "most_titles": round(_TITLES * share),
        "most_troubles": round(_TROUBLES * share),
        "most_named": round(_NAMED * share),
        "longest_reason": _LONGEST_REASON,
    }
