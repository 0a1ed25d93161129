"""Events in Prefect's feed, which automations wait for: a title is finished, a shard quarantined, a budget reached.

Resource ids are the same in every run, so that one automation holds for all nights:
`remaster.title.LIBRARY/NAME`, `remaster.shard.LIBRARY/NAME [START,STOP)`, `remaster.library.LIBRARY`. The flow run, its
flow and its deployment are related resources, which Prefect adds. Told in passing: Prefect sends them from a thread.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect.events import emit_event

from flows.run import Outcome, Run, Verdict
from tasks.records import Shard

_LOG = logging.getLogger("remaster.events")
_CUT = 2000


def title_finished(run: Run, outcome: Outcome) -> None:
    """A title has ended, well or not."""
    told = {"state", "reason", "master", "parts", "frames", "shards", "cached", "seconds"}
    payload = outcome.model_dump(include=told)
    _emit("title.finished", f"title.{_place(run, outcome.title)}", outcome.title, run, outcome.state, payload)


def shard_quarantined(run: Run, shard: Shard, why: BaseException) -> None:
    """A shard has taken down too many workers."""
    payload = {"title": shard.title, "shard": shard.index, "start": shard.start, "stop": shard.stop, "reason": str(why)}
    resource = f"shard.{_place(run, shard.name)}"
    related = {
        "prefect.resource.id": f"remaster.title.{_place(run, shard.title)}",
        "prefect.resource.role": "remaster-title",
    }
    _emit("shard.quarantined", resource, shard.name, run, "quarantined", payload, related)


def budget_reached(run: Run, spent: float) -> None:
    """A run has spent what it may: nothing new is begun."""
    payload = {"spent": round(spent, 4), "budget": run.profile.cost.budget}
    _emit("budget.reached", f"library.{run.library}", run.library, run, "stopped", payload)


def run_refused(run: Run, why: str) -> None:
    """A run would have cost or kept too much, and was not begun."""
    _emit("run.refused", f"library.{run.library}", run.library, run, "refused", {"reason": why})


def run_finished(run: Run, verdict: Verdict) -> None:
    """A run has ended, well or not."""
    payload = verdict.model_dump(include={"state", "message"})
    _emit("run.finished", f"library.{run.library}", run.library, run, verdict.state, payload)


def _place(run: Run, name: str) -> str:
    folder, _, leaf = run.library.rstrip("/").rpartition("/")
    # A library may be a single file; its title is called as in a run of the folder.
    root = folder if name == leaf or name.startswith(f"{leaf} [") else run.library.rstrip("/")
    return f"{root}/{name}"


def _emit(
    what: str, resource: str, name: str, run: Run, state: str, payload: dict[str, Any], *related: dict[str, str]
) -> None:
    labels = {
        "prefect.resource.id": f"remaster.{resource}",
        "prefect.resource.name": name,
        "remaster.state": state,
        "remaster.library": run.library,
        "remaster.run": run.id,
    }
    short = {key: value[:_CUT] if isinstance(value, str) else value for key, value in payload.items()}
    try:
        emit_event(f"remaster.{what}", labels, related=list(related), payload={"run": run.id, **short})
    except Exception as error:  # whatever it is: what is told of must not fail with the telling
        _LOG.warning("Prefect is not told of remaster.%s: %r", what, error)
