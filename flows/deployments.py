"""The deployments of a library: every night, single titles, previews, a run again, cleaning up, a person's decision.

They are served, or for a pool. A deployment's parameters are the models of `flows.request` and `flows.run`, so that
Prefect's form for them has the words, ranges and defaults of the command line.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from flows import environment
from flows.library import remaster_library
from flows.operations import remaster_clean, remaster_preview, remaster_rerun
from flows.request import Request
from flows.review import remaster_review
from flows.run import Run

# Two at once would only wait for each other's leases, or clean away what the other has just begun.
_ONE_AFTER_THE_OTHER = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def deployments(run: Run, cron: str, timezone: str, name: str = "") -> list[RunnerDeployment]:
    """What a library's operator wants to start from Prefect.

    Args:
        run: what is asked, as the night asks it; the form of a single title starts from the same.
        cron: when the night begins; empty: never by itself.
        timezone: of `cron`, for instance Europe/Berlin.
        name: of the library, which the deployments' names begin with; empty: the last part of its place.
    """
    library = name or library_name(run.library)
    asked = parameters(run)
    one_title = asked | {"new_only": False, "settle": 0.0}
    schedule = [Cron(cron, timezone)] if cron else []
    return [
        _deployment(
            remaster_library, library, "nightly", {"run": asked}, "Remaster what is new in the library.", schedule
        ),
        _deployment(
            remaster_library,
            library,
            "title",
            {"run": one_title},
            "Remaster single titles now: fill in `only`, and whatever is to be otherwise.",
        ),
        _deployment(
            remaster_preview,
            library,
            "preview",
            {"preview": {"store": run.store}, "profile": asked["profile"]},
            "See what networks make of a part of a title: fill in `title`.",
        ),
        _deployment(
            remaster_rerun,
            library,
            "rerun",
            {"rerun": {"store": run.store}},
            "Do a run again: what failed, or the shards that are rejected.",
        ),
        _deployment(
            remaster_clean,
            library,
            "clean",
            {"cleaning": {"store": run.store}},
            "Show what no run needs any more, or remove it.",
        ),
        _deployment(
            remaster_review,
            library,
            "review",
            {"review": {"store": run.store, "output": run.output}},
            "Decide on a master that waits for a person; begun by the run that holds it back.",
        ),
    ]


def for_pool(deployment: RunnerDeployment, pool: str) -> RunnerDeployment:
    """The same, for the workers of a pool, which find the package installed.

    Nothing is said of Ray: which cluster is joined, and with what token, may be left to where the run takes place.
    """
    return deployment.model_copy(update={"work_pool_name": pool, "job_variables": {"env": environment.defaults()}})


def parameters(run: Run) -> dict[str, Any]:
    """What a deployment fills in of a run: all that a person may ask; the rest is a single run's own.

    Without a Ray cluster's address it is left to where the run takes place.
    """
    asked = {*Request.model_fields, "profile"} - (set() if run.ray_address else {"ray_address"})
    return run.model_dump(mode="json", include=asked)


def library_name(library: str) -> str:
    """What a library is called in Prefect: the last part of its place, with letters that a name there may have."""
    return re.sub(r"[^\w.-]+", "-", posixpath.basename(library.rstrip("/"))).strip("-.") or "library"


def _deployment(
    flow: Flow[Any, Any],
    library: str,
    what: str,
    filled_in: Mapping[str, Any],
    description: str,
    schedules: list[Schedule] | None = None,
) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        name=f"{library}-{what}",
        parameters=dict(filled_in),
        description=description,
        tags=["remaster", library, what],
        schedules=schedules or [],
        concurrency_limit=_ONE_AFTER_THE_OTHER,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
