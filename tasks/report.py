"""Stage 6: the run as one self-contained HTML page. Takes plain data; knows neither Prefect nor the store."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2


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
    return _template().render(run=run, outcomes=outcomes, verdict=verdict, totals=totals)


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    text = files("tasks").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)
