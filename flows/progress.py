"""What a person sees while a run goes on: one live line a title in a terminal, plain log lines elsewhere.

Display only: nothing is decided here. `flows.surfaces` shows the same in Prefect.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.run import Outcome

_LOG = logging.getLogger("remaster")
_LOG_SECONDS = 10.0
_SHOWN_ENDED = 12
_COLOURS = {"done": "green", "check": "yellow", "held": "yellow", "failed": "red", "refused": "yellow", "left": "dim"}


@dataclass(frozen=True)
class Share:
    """How far something is.

    Attributes:
        percent: of it that is done, 0 to 100.
        words: what a person wants to know of it, in one line.
        ended: whether it will not change any more.
    """

    percent: float
    words: str
    ended: bool = False


@dataclass
class _Line:
    """One title on the way."""

    weight: float = 1.0
    frames: int = 0
    phase: str = "waiting"
    done: dict[int, int] = field(default_factory=dict)  # frames by shard
    cached: int = 0  # frames that needed no work
    hits: int = 0
    began: float = 0.0
    outcome: Outcome | None = None
    logged: float = 0.0

    @property
    def finished_frames(self) -> int:
        return sum(self.done.values())

    @property
    def rate(self) -> float:
        """Frames a second of real work."""
        elapsed = time.monotonic() - self.began
        return (self.finished_frames - self.cached) / elapsed if self.began and elapsed > 0.5 else 0.0

    @property
    def percent(self) -> float:
        """Of its frames that are written."""
        return min(100.0 * self.finished_frames / max(self.frames, 1), 100.0)


class Progress:
    """Collects what the titles report. Thread-safe. This plain one writes log lines; see `LiveProgress`."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._lock = threading.RLock()

    def expect(self, weights: Mapping[str, float]) -> None:
        """The titles there will be, and what each takes against the others."""
        least = min((weight for weight in weights.values() if weight > 0), default=1.0)
        with self._lock:
            for name, weight in weights.items():
                self._line(name).weight = weight or least  # a raw stream does not say how long it is

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
            text = f"{title}: {_describe(line)}"
        if log:
            self._tell(text)

    def end(self, outcome: Outcome) -> None:
        """A title has ended."""
        with self._lock:
            self._line(outcome.title).outcome = outcome
        said = ", ".join(outcome.masters) if outcome.state == "done" else outcome.reason
        self._tell(f"{outcome.title}: {outcome.state} - {said}")

    def title(self, name: str) -> Share:
        """How far a title is."""
        with self._lock:
            line = self._line(name)
            words = _describe(line) if line.outcome is None else f"{line.outcome.state}, {_ended(line.outcome)}"
            # A reason begins with the title's name.
            return Share(line.percent, f"{name}: {words.replace(f'{name}: ', '')}", ended=line.outcome is not None)

    def total(self) -> Share:
        """How far all titles are together, each by its weight; one that has ended, however it did, is through."""
        with self._lock:
            lines = list(self._lines.values())
            done = sum(line.weight * (100.0 if line.outcome else line.percent) for line in lines)
            return Share(done / (sum(line.weight for line in lines) or 1.0), self._total(lines))

    def _line(self, title: str) -> _Line:
        return self._lines.setdefault(title, _Line())

    def _tell(self, text: str) -> None:
        _LOG.info("%s", text)

    @staticmethod
    def _total(lines: list[_Line]) -> str:
        ended = sum(line.outcome is not None for line in lines)
        frames = sum(line.finished_frames for line in lines)
        rate = sum(line.rate for line in lines if line.outcome is None)
        hits = sum(line.hits for line in lines)
        bad = sum(line.outcome is not None and line.outcome.state != "done" for line in lines)
        parts = [f"{ended}/{len(lines)} titles", f"{frames} frames"]
        parts += [f"{rate:.1f} fps"] if ended < len(lines) else []
        parts += [f"{hits} cached shards"] if hits else []
        parts += [f"{bad} not done"] if bad else []
        return "  ".join(parts)


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
            return Group(table, Text(self.total().words, style="bold"))


def _state(line: _Line) -> str:
    if line.outcome is None:
        return escape(_describe(line))
    state = line.outcome.state
    return f"[{_COLOURS[state]}]{state}[/]  {escape(_one_line(_ended(line.outcome)))}"


def _ended(outcome: Outcome) -> str:
    if outcome.state != "done":
        return outcome.reason
    return f"{outcome.frames} frames, {outcome.cached}/{outcome.shards} shards cached, {outcome.seconds:.1f} s"


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
