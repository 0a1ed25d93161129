"""Stage 6: the run as one self-contained HTML page. Takes plain data; knows neither Prefect nor the store."""

from __future__ import annotations

from typing import Any

from tasks.pages import render


def report_page(run: dict[str, Any], outcomes: list[dict[str, Any]], verdict: dict[str, Any]) -> str:
    """The page.

    Args:
        run: fields of `flows.run.Run`.
        outcomes: fields of `flows.run.Outcome`, one a title.
        verdict: fields of `flows.run.Verdict`.

    Returns:
        HTML with everything inside: no script, no request to anywhere.
    """
    totals = {
        "titles": len(outcomes),
        "done": sum(o["state"] == "done" for o in outcomes),
        "frames": sum(o["frames"] for o in outcomes),
        "shards": sum(o["shards"] for o in outcomes),
        "cached": sum(o["cached"] for o in outcomes),
    }
    return render("report.html", run=run, outcomes=outcomes, verdict=verdict, totals=totals)
