"""Ctrl-C: once drains (running shards end, nothing new starts), twice stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tasks.errors import PermanentError

_draining = threading.Event()


class Stopped(PermanentError):
    """The run is draining: this was not begun."""


def stop_if_draining(what: str) -> None:
    """Raise `Stopped` once a person has asked the run to stop."""
    if _draining.is_set():
        raise Stopped(f"{what}: not begun, the run was asked to stop. `remaster rerun` goes on from here.")


@contextmanager
def draining_on_interrupt() -> Iterator[None]:
    """Handle Ctrl-C for as long as the block lasts; only in the main thread."""

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if _draining.is_set():
            os._exit(130)
        _draining.set()
        print("\nStopping: running shards end first. Press Ctrl-C again to stop at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, on_interrupt)
    _draining.clear()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_draining() -> bool:
    """True once a person has asked the run to stop."""
    return _draining.is_set()
