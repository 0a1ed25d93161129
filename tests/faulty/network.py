"""The network itself: lanczos, and what a test wants to go wrong. Imported by the path that `sitecustomize` came by."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.mutations import MUTATIONS, Mutation
from vsr_model.classical import entry as classical
from vsr_model.contract import ModelEntry, ModelRef, Placement

_FOLDER = Path(os.environ["REMASTER_TEST_FAULTS"])


class _Faulty:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.info = replace(inner.info, name="faulty")
        self.device = inner.device

    def stream(self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, *rest: Any) -> Any:
        with (_FOLDER / "log").open("a") as log:
            log.write(f"{first_frame}\n")
        if _happens("fail", first_frame):
            raise RuntimeError(f"the network was told to fail at frame {first_frame}")
        if _happens("fail-once", first_frame):
            (_FOLDER / "fail-once").unlink()
            raise RuntimeError(f"the network was told to fail once, at frame {first_frame}")
        if (_FOLDER / "meet").exists():
            _meet(int((_FOLDER / "meet").read_text()))
        if _happens("kill", first_frame):
            os.kill(os.getpid(), signal.SIGKILL)
        if _happens("hang-once", first_frame):
            (_FOLDER / "hang-once").unlink()
            time.sleep(3600)
        stream = self._inner.stream(height, width, scale, seed, first_frame, *rest)
        for kind, mutation in MUTATIONS.items():
            if _happens(kind, first_frame):
                return _Mutated(stream, mutation)
        return stream


class _Mutated:
    """A stream whose first frames come out with a fault, at the second of them."""

    def __init__(self, inner: Any, mutation: Mutation) -> None:
        self._inner, self._mutation, self._done = inner, mutation, False

    def push(self, frames: Any) -> Any:
        made = self._inner.push(frames)
        if self._done or len(made) < 3:
            return made
        self._done = True
        return self._mutation(made, 1)

    def finish(self) -> Any:
        return self._inner.finish()


def _happens(kind: str, frame: int) -> bool:
    try:
        return str(frame) in (_FOLDER / kind).read_text().split()
    except FileNotFoundError:
        return False


def _meet(processes: int) -> None:
    """Wait until so many processes are here, each with a shard in hand; two minutes at most."""
    (_FOLDER / f"here-{os.getpid()}").touch()
    deadline = time.monotonic() + 120
    while len(list(_FOLDER.glob("here-*"))) < processes and time.monotonic() < deadline:
        time.sleep(0.05)


def entry() -> ModelEntry:
    """Its row of the registry."""
    lanczos = classical("lanczos")

    def load(placement: Placement) -> Any:
        return _Faulty(lanczos.load(placement))

    return ModelEntry(replace(lanczos.info, name="faulty"), lambda: ModelRef("faulty"), load)
