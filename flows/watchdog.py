"""A lasting Prefect server marks runs whose process died: flows give a sign of life, and an automation waits for it.

A run that is killed outright cannot say so itself, and would be shown as running for ever. The server of a single run
(`flows.server`) ends with it and needs no watching.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.schemas.objects import StateType

from flows.automations import ensure
from flows.run import BUDGET_SPENT

# Another name than that of an older version, which knew only some of the flows and left what was there as it was.
NAME = "remaster: flow runs whose process died"
# Flows beat every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds (see `flows.environment`): three in a row are missed.
SILENCE = timedelta(seconds=100)
_BEAT = "prefect.flow-run.heartbeat"
# After these no more signs of life come, and none is missed: it has ended, or waits for a person without a process.
_ENDS = ("Completed", "Failed", "Exceptions", "Held", "Cancelled", BUDGET_SPENT, "Crashed", "Suspended", "Paused")
# Every flow of ours is called so.
_FLOWS = "remaster *"


def watch() -> None:
    """See that the configured server has the automation. One that does not take it is only less informed."""
    ensure(_automation())


def _automation() -> Automation:
    return Automation(
        name=NAME,
        description="Marks runs of remaster as crashed when no sign of life came for a while.",
        trigger=EventTrigger(
            after={_BEAT},
            expect={_BEAT, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": _FLOWS},
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
