"""What a person sees while a run goes on: one live line a title in a terminal, plain log lines elsewhere.

Also keeps Prefect's progress artifacts up to date. Display only: nothing is decided here.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect.artifacts import update_progress_artifact
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.run import Outcome

_LOG = logging.getLogger("remaster")
_ARTIFACT_SECONDS = 2.0
_LOG_SECONDS = 10.0
_SHOWN_ENDED = 12
_COLOURS = {"done": "green", "check": "yellow", "held": "yellow", "failed": "red", "refused": "yellow", "left": "dim"}


@dataclass
class _Line:
    """One title on the way."""

    frames: int = 0
    phase: str = "waiting"
    done: dict[int, int] = field(default_factory=dict)  # frames by shard
    cached: int = 0  # frames that needed no work
    hits: int = 0
    began: float = 0.0
    outcome: Outcome | None = None
    artifact: UUID | None = None
    told: float = 0.0
    logged: float = 0.0

    @property
    def finished_frames(self) -> int:
        return sum(self.done.values())

    @property
    def rate(self) -> float:
        """Frames a second of real work."""
        elapsed = time.monotonic() - self.began
        return (self.finished_frames - self.cached) / elapsed if self.began and elapsed > 0.5 else 0.0


class Progress:
    """Collects what the titles report. Thread-safe. This plain one writes log lines; see `LiveProgress`."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._lock = threading.RLock()

    def expect(self, names: list[str]) -> None:
        """The titles there will be."""
        with self._lock:
            for name in names:
                self._lines.setdefault(name, _Line())

    def phase(self, title: str, phase: str) -> None:
        """A title goes on to another stage."""
        with self._lock:
            line = self._line(title)
            changed = line.phase.split()[0] != phase.split()[0]
            line.phase = phase
        if changed:
            self._tell(f"{title}: {phase}")

    def start(self, title: str, frames: int) -> None:
        """A title is planned and has so many frames."""
        with self._lock:
            line = self._line(title)
            line.frames, line.phase, line.began = frames, "upscaling", time.monotonic()

    def mirror(self, title: str, artifact: UUID) -> None:
        """Keep a Prefect progress artifact in step."""
        with self._lock:
            self._line(title).artifact = artifact

    def advance(self, title: str, shard: int, frames: int, cached: bool = False) -> None:
        """So many frames of a shard are written (or were there already)."""
        with self._lock:
            line = self._line(title)
            line.done[shard] = frames
            if cached:
                line.cached += frames
                line.hits += 1
            now = time.monotonic()
            log = now - line.logged > _LOG_SECONDS
            line.logged = now if log else line.logged
            tell = line.artifact is not None and (now - line.told > _ARTIFACT_SECONDS)
            line.told = now if tell else line.told
            share = 100.0 * line.finished_frames / max(line.frames, 1)
            artifact = line.artifact
            text = f"{title}: {_describe(line)}"
        if tell and artifact is not None:
            _update(artifact, share)
        if log:
            self._tell(text)

    def end(self, outcome: Outcome) -> None:
        """A title has ended."""
        with self._lock:
            line = self._line(outcome.title)
            line.outcome = outcome
            artifact, share = line.artifact, 100.0 * line.finished_frames / max(line.frames, 1)
        if artifact is not None:
            _update(artifact, share)
        said = outcome.master if outcome.state == "done" else outcome.reason
        self._tell(f"{outcome.title}: {outcome.state} - {said}")

    def _line(self, title: str) -> _Line:
        return self._lines.setdefault(title, _Line())

    def _tell(self, text: str) -> None:
        _LOG.info("%s", text)


class LiveProgress(Progress):
    """The same as one live line a title and a total, for a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _tell(self, text: str) -> None:
        pass

    def _render(self) -> Group:
        with self._lock:
            table = Table.grid(padding=(0, 2))
            running = [(n, line) for n, line in self._lines.items() if line.outcome is None and line.phase != "waiting"]
            ended = [(n, line) for n, line in self._lines.items() if line.outcome is not None]
            for name, line in ended[-_SHOWN_ENDED:] + running:
                table.add_row(escape(_one_line(name)), _state(line))
            return Group(table, Text(self._total(), style="bold"))

    def _total(self) -> str:
        lines = list(self._lines.values())
        ended = sum(line.outcome is not None for line in lines)
        frames = sum(line.finished_frames for line in lines)
        rate = sum(line.rate for line in lines if line.outcome is None)
        hits = sum(line.hits for line in lines)
        bad = sum(line.outcome is not None and line.outcome.state != "done" for line in lines)
        parts = [f"{ended}/{len(lines)} titles", f"{frames} frames", f"{rate:.1f} fps"]
        parts += [f"{hits} cached shards"] if hits else []
        parts += [f"{bad} not done"] if bad else []
        return "  ".join(parts)


def _state(line: _Line) -> str:
    if line.outcome is None:
        return escape(_describe(line))
    outcome, colour = line.outcome, _COLOURS[line.outcome.state]
    said = f"{outcome.frames} frames, {outcome.cached}/{outcome.shards} shards cached, {outcome.seconds:.1f} s"
    if outcome.state != "done":
        said = outcome.reason
    return f"[{colour}]{outcome.state}[/]  {escape(_one_line(said))}"


def _describe(line: _Line) -> str:
    if line.phase != "upscaling":
        return line.phase
    left = line.frames - line.finished_frames
    eta = f"  ETA {_clock(left / line.rate)}" if line.rate > 0 else ""
    hits = f"  {line.hits} cached" if line.hits else ""
    return f"{line.finished_frames}/{line.frames} frames  {line.rate:.1f} fps{eta}{hits}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _update(artifact: UUID, share: float) -> None:
    # A display that cannot be brought up to date must not fail the work it displays.
    with contextlib.suppress(Exception):
        update_progress_artifact(artifact, progress=min(share, 100.0))


_current = Progress()


def current_progress() -> Progress:
    """The display of this process."""
    return _current


@contextmanager
def showing(live: bool) -> Iterator[Progress]:
    """Make a display the current one for as long as the block lasts."""
    global _current
    before = _current
    if live:
        with LiveProgress(Console(stderr=True)) as display:
            _current = display
            try:
                yield display
            finally:
                _current = before
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    _current = Progress()
    try:
        yield _current
    finally:
        _current = before
        _LOG.removeHandler(handler)
        _LOG.propagate = True
