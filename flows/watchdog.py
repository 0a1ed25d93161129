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
# A title's run begins as soon as it is noted. Other flows may wait for a machine in between, for as long as that takes.
TITLE_NAME = "remaster: runs of titles that never began"
# Flows beat every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds (see `flows.environment`): three in a row are missed.
SILENCE = timedelta(seconds=100)
_BEAT, _RUNNING, _PENDING = "prefect.flow-run.heartbeat", "prefect.flow-run.Running", "prefect.flow-run.Pending"
# After these no more signs of life come, and none is missed: it has ended, or waits for a person without a process.
_ENDS = ("Completed", "Failed", "Exceptions", "Held", "Cancelled", BUDGET_SPENT, "Crashed", "Suspended", "Paused")
# Every flow of ours is called so.
_FLOWS, _TITLE = "remaster *", "remaster title"


def watch() -> None:
    """See that the configured server has the automations. One that does not take them is only less informed."""
    # Beats begin a moment after the run does: it is to be missed from then on.
    ensure(_automation(NAME, "Marks runs of remaster as crashed when no sign of life came for a while.", _FLOWS,
                       {_BEAT, _RUNNING}, {_BEAT}))  # fmt: skip
    ensure(_automation(TITLE_NAME, "Marks runs of titles as crashed that were noted, and did not begin.", _TITLE,
                       {_PENDING}, {_BEAT, _RUNNING}))  # fmt: skip


def _automation(name: str, description: str, flows: str, after: set[str], expect: set[str]) -> Automation:
    return Automation(
        name=name,
        description=description,
        trigger=EventTrigger(
            after=after,
            expect={*expect, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": flows},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no sign of life for {SILENCE.seconds} s: its process died. Run again to go on.",
            )
        ],
    )
