"""What Prefect's UI shows of a run beside its flows and tasks: progress that moves, tables, pictures, links.

All of it is put up by a thread of its own, at most every few seconds, so that a server that is busy or gone holds up no
work and fails none. Nothing is decided here, and nothing is known only here: the same is in the run's files.
"""

from __future__ import annotations

import json
import logging
import posixpath
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.utilities.context import get_task_and_flow_run_ids

from flows.links import link
from flows.progress import Progress, Share
from flows.run import Outcome, Run, Verdict
from tasks.comparison import Comparison
from tasks.pages import data_uri
from tasks.records import CheckResult, Title

_LOG = logging.getLogger("remaster.surfaces")
_EVERY = 2.0
# At the end of a run, for what is not up yet; a server that answers takes milliseconds.
_LAST_SECONDS = 20.0
_ANSWER_SECONDS = 20.0
_CUT = 500
_ROWS, _MESSAGE = 2000, 4000

Kind = Literal["progress", "table", "markdown", "image"]


@dataclass
class _Bar:
    """A progress artifact that follows something."""

    artifact: ArtifactCreate
    read: Callable[[], Share]
    id: UUID | None = None
    shown: Share | None = None


class Board:
    """Puts up what it is given, in order, and keeps progress in step. Thread-safe; use as a context manager."""

    def __init__(self) -> None:
        self._waiting: list[ArtifactCreate] = []
        self._bars: list[_Bar] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        # With the context of the flow, which knows the server.
        work = copy_context().run
        self._thread = threading.Thread(target=work, args=(self._work,), name="surfaces", daemon=True)
        self._warned = False

    def put(self, kind: Kind, key: str, data: Any, description: str) -> None:
        """Put up an artifact of the task or flow that runs here. Key: lower case letters, digits and dashes."""
        artifact = self._artifact(kind, key, data, description)
        if artifact is not None:
            with self._lock:
                self._waiting.append(artifact)

    def follow(self, key: str, read: Callable[[], Share]) -> None:
        """Show how far something is for as long as the block lasts, or until it has ended."""
        artifact = self._artifact("progress", key, 0.0, read().words)
        if artifact is not None:
            with self._lock:
                self._bars.append(_Bar(artifact, read))

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_LAST_SECONDS)
        if self._thread.is_alive():
            self._warn(f"Prefect's server takes more than {_LAST_SECONDS:g} s")

    def _artifact(self, kind: Kind, key: str, data: Any, description: str) -> ArtifactCreate | None:
        task_run, flow_run = get_task_and_flow_run_ids()
        try:
            return ArtifactCreate(
                type=kind, key=key, data=data, description=description, task_run_id=task_run, flow_run_id=flow_run
            )
        except ValueError as error:
            self._warn(str(error))
            return None

    def _work(self) -> None:
        try:
            # A client of its own: a flow's is closed when the flow ends.
            with get_client(httpx_settings={"timeout": _ANSWER_SECONDS}, sync_client=True) as client:
                over = False
                while not over:
                    over = self._over.wait(_EVERY)
                    self._put_up(client)
        except Exception as error:  # whatever the server or its client comes up with: the run goes on
            self._warn(repr(error))

    def _put_up(self, client: SyncPrefectClient) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            bars = list(self._bars)
        for artifact in waiting:
            self._try(lambda artifact=artifact: client.create_artifact(artifact))  # type: ignore[misc]
        for bar in bars:
            self._try(lambda bar=bar: _bring_up_to_date(client, bar))  # type: ignore[misc]
        with self._lock:
            self._bars = [bar for bar in self._bars if not (bar.shown and bar.shown.ended)]

    def _try(self, post: Callable[[], object]) -> None:
        try:
            post()
        except Exception as error:
            self._warn(repr(error))

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning("Prefect does not show all of the run: %s. The run's own files have it.", why[:_CUT])


def _bring_up_to_date(client: SyncPrefectClient, bar: _Bar) -> None:
    share = bar.read()
    if share == bar.shown:
        return
    words, percent = share.words[:_CUT], round(share.percent, 1)
    if bar.id is None:
        bar.id = client.create_artifact(bar.artifact.model_copy(update={"data": percent, "description": words})).id
    else:
        client.update_artifact(bar.id, ArtifactUpdate(data=percent, description=words))
    bar.shown = share


_board: ContextVar[Board | None] = ContextVar("board", default=None)


@contextmanager
def board() -> Iterator[Board]:
    """The one of the flow around this one, or one of its own for as long as the block lasts."""
    around = _board.get()
    if around is not None:
        yield around
        return
    with Board() as own:
        token = _board.set(own)
        try:
            yield own
        finally:
            _board.reset(token)


def put(kind: Kind, key: str, data: Any, description: str) -> None:
    """Put up an artifact on the board of the flow around; see `Board.put`."""
    with board() as around:
        around.put(kind, key, data, description)


def follow_run(run: Run, progress: Progress) -> None:
    """Show how far a whole run is."""
    with board() as around:
        around.follow(f"run-{run.id}-progress", progress.total)


def follow_title(title: Title, progress: Progress) -> None:
    """Show how far a title is."""
    with board() as around:
        around.follow(f"progress-{title.id}", lambda: progress.title(title.name))


def show_check(title: Title, check: CheckResult) -> None:
    """The rows of the media contract, and what was seen."""
    lines = sorted(check.lines, key=lambda line: line[1])
    rows = "\n".join(
        f"| {name} | {'yes' if ok else '**no**'} | {cell(shortened(seen, _CUT))} |" for name, ok, seen in lines[:_ROWS]
    )
    table = f"| contract | kept | seen |\n|---|---|---|\n{rows}{_more(len(lines))}"
    put("markdown", f"check-{title.id}", table, title.name)


def show_picture(title: Title, picture: bytes) -> None:
    """Source and master side by side, a JPEG."""
    what = f"{title.name}: source (left, enlarged by bicubic interpolation) and master"
    put("image", f"preview-{title.id}", data_uri(picture), what)


def show_page(title: Title, uri: str) -> None:
    """Where the title's report is."""
    put("markdown", f"report-{title.id}", link("Report", uri), title.name)


def show_results(run: Run, outcomes: list[Outcome], verdict: Verdict, report: str) -> None:
    """How titles ended, those that are not done first, and where report and masters are."""
    key = f"run-{run.id}"
    listed = sorted(outcomes, key=lambda outcome: outcome.state == "done")[:_ROWS]
    cut = f" Of {len(outcomes):,} titles {_ROWS:,} are shown." if len(outcomes) > _ROWS else ""
    table = json.dumps([_row(outcome) for outcome in listed])
    put("table", key, table, f"{shortened(verdict.message)}{cut}")
    masters = "\n".join(
        f"| {cell(o.title)} | {o.state} | {', '.join(link(posixpath.basename(each), each) for each in o.masters)} |"
        for o in listed
    )
    page = f"{link('Report', report)}\n\n| title | state | master |\n|---|---|---|\n{masters}{_more(len(outcomes))}"
    put("markdown", f"{key}-links", page, "report and masters")


def show_preview(found: Comparison, picture: bytes, page: str) -> None:
    """What networks made of a part of a title, and where the page to choose on is."""
    rows = [f"| {each.model} | {each.rate:.1f} | {each.fidelity:.1f} |" for each in found.candidates if each.rate]
    rows += [f"| {cell(model)} | {cell(why)} | |" for model, why in found.left_out]
    table = "\n".join(["| network | frames of this part a second | lowest PSNR in dB |", "|---|---|---|", *rows])
    put("markdown", "preview", f"{link('Page to choose on', page)}\n\n{table}", found.title)
    names = ", ".join(each.model for each in found.candidates)
    put("image", "preview-picture", data_uri(picture), f"{found.title}, from left to right: {names}")


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "title": outcome.title,
        "state": outcome.state,
        "frames": outcome.frames,
        "shards made": outcome.shards - outcome.cached,
        "shards cached": outcome.cached,
        "seconds": round(outcome.seconds, 1),
        "reason": shortened(outcome.reason.removeprefix(f"{outcome.title}: "), _CUT),
        "master": ", ".join(outcome.masters),
    }


def shortened(text: str, most: int = _MESSAGE) -> str:
    """The beginning of a text that is too long to be shown."""
    return text if len(text) <= most else f"{text[:most]} [...]"


def _more(rows: int) -> str:
    return f"\n\n{rows - _ROWS:,} more are in the run's `outcomes`." if rows > _ROWS else ""


def cell(text: str) -> str:
    """Text as a cell of a Markdown table may have it."""
    return " ".join(text.split()).replace("|", "\\|")
