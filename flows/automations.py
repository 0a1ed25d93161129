"""Automations for nights that nobody watches: a run that crashed is tried once more, and somebody is told of failures.

Together with `flows.watchdog`, which marks runs whose process died as crashed. What each of them waits for and does is
ours, and brought up to date; that a person switched one off in Prefect stays.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture, SendNotification
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.run import BUDGET_SPENT
from tasks.errors import UsageError

_LOG = logging.getLogger("remaster.automations")

RETRY = "remaster: runs that crashed once"
NOTIFY = "remaster: tell {} of runs that failed"
LIBRARY_FLOW = {"prefect.resource.role": "flow", "prefect.resource.name": "remaster library"}
# An event that met a busy database is evaluated again, up to four times in all, and an automation without a window of
# time acts each time: a run that goes on is sent back to its start, somebody is told four times of one night. With a
# window it acts once for each key, and the key is one state that a run was in. Prefect forgets it two windows later.
_STATE_OF_A_RUN = {"prefect.resource.id", "prefect.state-timestamp"}
_ONCE = timedelta(minutes=10)


def ready(notify: str = "") -> list[Automation]:
    """See that the configured server has the automations of deployments; returns them.

    Args:
        notify: notification block to tell of failures, as `TYPE/NAME`, for instance `slack-webhook/ops`; empty: none.

    Raises:
        UsageError: the server has no such block.
    """
    wanted = [retry_once()] + ([tell(notify)] if notify else [])
    for automation in wanted:
        ensure(automation)
    return wanted


def ensure(automation: Automation) -> None:
    """See that the configured server has this automation: made, or made anew under its name if it has another content.

    Whether it is switched on is left as it is. A server that takes none is only less watchful.
    """
    try:
        found = _find(automation.name)
        if found is None:
            automation.create()
        elif _content(found) != _content(automation):
            automation.model_copy(update={"id": found.id, "enabled": found.enabled}).update()
    except PrefectHTTPStatusError as error:
        _LOG.warning("Prefect's server does not take the automation %r: %s", automation.name, error)


def retry_once() -> Automation:
    """A run of a deployment that has crashed goes on, by itself, once: all that has a record is a hit."""
    return Automation(
        name=RETRY,
        description="Lets a run of remaster go on that crashed in its first try. What is made is not made again.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": "1"},
            # Only what was deployed has somebody who would take it up.
            match_related=[LIBRARY_FLOW, {"prefect.resource.role": "deployment"}],
            for_each=_STATE_OF_A_RUN,
            posture=Posture.Reactive,
            threshold=1,
            within=_ONCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="crashed in its first try: goes on, once"
            )
        ],
    )


def tell(block: str) -> Automation:
    """Somebody is told, through a notification block of the server, of runs that did not end well.

    Of those that ended as their budget was spent too, but not of those that a person cancelled.

    Raises:
        UsageError: the server has no such block.
    """
    kind, _, name = block.partition("/")
    unknown = UsageError(
        f"--notify {block}: Prefect's server has no such block. Make one in its UI under Blocks, of a type that"
        " notifies, and name it as TYPE/NAME, for instance slack-webhook/ops."
    )
    if not (kind and name):
        raise unknown
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(name, kind)
        except ObjectNotFound as error:
            raise unknown from error
    return Automation(
        name=NOTIFY.format(block),
        description="Tells of runs of remaster that failed, crashed, ended with exceptions, or spent their budget.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Exceptions", "Crashed", BUDGET_SPENT)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=LIBRARY_FLOW,
            for_each=_STATE_OF_A_RUN,
            posture=Posture.Reactive,
            threshold=1,
            within=_ONCE,
        ),
        actions=[
            SendNotification(
                block_document_id=found.id,
                subject="remaster {{ flow_run.name }}: {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n\n{{ flow_run|ui_url }}",
            )
        ],
    )


def _find(name: str) -> Automation | None:
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(name)
    return Automation.model_validate(found[0].model_dump()) if found else None


def _content(automation: Automation) -> dict[str, Any]:
    return automation.model_dump(exclude={"id", "enabled", "owner_resource"})
