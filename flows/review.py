"""The flow in which a person decides on a master that waits: suspended, without a process, until they have."""

# No postponed annotations: a deployed flow goes to its process without the names that only annotations speak of.

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_UI_URL
from prefect.states import Completed

from flows.arguments import place
from flows.decide import decide
from flows.gate import HEAD, REVIEW, artifact_of, fault_lines
from flows.request import Answer, Review
from tasks.errors import RemasterError
from tasks.hold import Hold, list_holds
from tasks.store import Store
from vsr_model.errors import ModelError


class Form(Answer, RunInput):
    """An answer as Prefect's form for resuming a flow run asks for it."""


def _name() -> str:
    context = FlowRunContext.get()
    assert context is not None and context.parameters is not None
    return str(context.parameters["review"].title)


@flow(name=REVIEW, flow_run_name=_name, persist_result=True, log_prints=False)
def remaster_review(review: Review) -> State[Any]:
    """Ask a person whether the master of a title that is held back may be published, and do as they say.

    Suspended until somebody resumes it with an answer; what cannot be carried out is asked again, with the reason. Ends
    Completed, also if it was decided otherwise meanwhile, for instance by `remaster approve`.

    Args:
        review: which title.
    """
    store = Store(place(review.store))
    problem, asked = "", 0
    while True:
        hold = _waiting(review, store)
        if hold is None:
            return Completed(message=f"{review.title}: no master of it waits for a person")
        answer = suspend_flow_run(
            wait_for_input=Form.with_initial_data(description=_question(hold, problem)),
            key=f"{hold.key[:16]}-{len(hold.decisions)}-{asked}",
        )
        try:
            plain = Answer.model_validate(answer.model_dump())
            return Completed(message=decide(hold, plain, store, lambda: None))
        except (RemasterError, ModelError) as error:
            get_run_logger().warning("%s", error)
            problem, asked = str(error), asked + 1


def _waiting(review: Review, store: Store) -> Hold | None:
    output = place(review.output)
    waiting = [hold for hold in list_holds(store) if hold.state == "waiting" and hold.output == output]
    return next((hold for hold in waiting if hold.title.name == review.title), None)


def _question(hold: Hold, problem: str) -> str:
    rows = "\n".join(f"| {' | '.join(map(str, line))} |" for line in fault_lines(hold))
    first = f"**That cannot be done: {problem}**\n\n" if problem else ""
    return (
        f"{first}May the master of **{hold.title.name}** be published? It is at `{hold.uri}`.{_pictures(hold)}\n\n"
        f"{HEAD}\n{rows}"
    )


def _pictures(hold: Hold) -> str:
    """A link to the artifact that the title's run left, if there are pages."""
    pages, key = PREFECT_UI_URL.value(), ArtifactCollectionFilterKey(any_=[artifact_of(hold)])
    with get_client(sync_client=True) as client:
        shown = client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=key))
    return f" [Its pictures]({pages}/artifacts/artifact/{shown[0].latest_id})" if pages and shown else ""
