"""A lasting Prefect server marks runs whose process died: flows give a sign of life, and an automation waits for it.

A run that is killed outright cannot say so itself, and would be shown as running for ever; a title's, between being
noted and running, as pending. The server of a single run (`flows.server`) ends with it and needs no watching.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.schemas.objects import StateType

from flows.automations import ensure
from flows.run import BUDGET_SPENT

# Another name than that of an older version, which knew only some of the flows and left what was there as it was.
NAME = "remaster: flow runs whose process died"
SILENT_NAME = "remaster: flow runs that never gave a sign of life"
TITLE_NAME = "remaster: runs of titles that never began"
# Flows beat every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds (see `flows.environment`): three in a row are missed.
SILENCE = timedelta(seconds=100)
# Before the first beat a busy machine may need much longer than between two, and so may a server on SQLite.
FIRST_SILENCE = timedelta(minutes=10)
_BEAT = "prefect.flow-run.heartbeat"
# Prefect's names for a try that begins: the first, one after a crash, one of a run that had ended.
_BEGUN = {f"prefect.flow-run.{state}" for state in ("Running", "Retrying", "Rerunning")}
_NOTED = "prefect.flow-run.Pending"
# After these no more signs of life come, and none is missed: it has ended, or waits for a person without a process.
_ENDS = {
    f"prefect.flow-run.{state}"
    for state in (
        "Completed", "Failed", "Exceptions", "Held", "Cancelled", BUDGET_SPENT, "Crashed", "Suspended", "Paused"
    )
}  # fmt: skip
# Every flow of ours is called so.
_FLOWS = "remaster *"
# Begins as soon as it is noted; other flows may wait for a machine in between, for as long as that takes.
_TITLE = "remaster title"


def watch() -> None:
    """See that the configured server has the automations. One that does not take them is only less informed."""
    for automation in (
        _automation(NAME, _FLOWS, {_BEAT}, {_BEAT}, SILENCE, "no sign of life came for a while"),
        _automation(SILENT_NAME, _FLOWS, _BEGUN, {_BEAT}, FIRST_SILENCE, "they began and gave no sign of life"),
        _automation(TITLE_NAME, _TITLE, {_NOTED}, {_BEAT, *_BEGUN}, FIRST_SILENCE, "they were noted and did not begin"),
    ):
        ensure(automation)


def _automation(name: str, flows: str, after: set[str], expect: set[str], silence: timedelta, why: str) -> Automation:
    return Automation(
        name=name,
        description=f"Marks runs of remaster as crashed when {why}.",
        trigger=EventTrigger(
            after=after,
            expect=expect | _ENDS,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": flows},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no sign of life for {silence.seconds} s: its process died. Run again to go on.",
            )
        ],
    )
