"""Ctrl-C: once drains (running shards end, nothing new starts), twice stops at once.

SIGTERM, by which schedulers take a machine back, drains too, for as long as they usually wait before they kill.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tasks.errors import PermanentError

_draining = threading.Event()

# What Kubernetes and the clouds' spot machines give at least is 30 s.
_DRAIN_SECONDS = 25.0
_SHOW_CURSOR = b"\x1b[?25h\n"  # ECMA-48 with DEC's private mode 25, as every terminal of today has it


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
            _leave(130)
        _draining.set()
        print("\nStopping: running shards end first. Press Ctrl-C again to stop at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, on_interrupt)
    _draining.clear()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def draining_on_termination() -> Iterator[None]:
    """Handle SIGTERM for as long as the block lasts, within a flow: Prefect's engine would end it at once.

    What still runs after REMASTER_DRAIN seconds is left as a kill would leave it, and the exit code is 143. Does
    nothing outside the main thread, where signals cannot be handled.
    """
    seconds = float(os.environ.get("REMASTER_DRAIN", _DRAIN_SECONDS))

    def give_up() -> None:
        print(f"Shards still ran {seconds:g} s after SIGTERM: left; run again to go on.", file=sys.stderr, flush=True)
        _leave(128 + signal.SIGTERM)

    def on_termination(number: int, frame: FrameType | None) -> None:
        # Once Ray is up its own handler comes before this one, and has set an alarm that aborts the process in 3 s.
        signal.alarm(0)
        signal.signal(signal.SIGTERM, on_termination)
        if not deadline.is_alive():
            _draining.set()
            deadline.start()
            print(f"Told to end: running shards get {seconds:g} s.", file=sys.stderr, flush=True)

    deadline = threading.Timer(seconds, give_up)
    deadline.daemon = True
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    finally:
        deadline.cancel()
        signal.signal(signal.SIGTERM, before)


def _leave(code: int) -> None:
    """End the process at once; the display, which is not asked, has hidden the terminal's cursor."""
    if sys.stderr.isatty():
        with suppress(OSError):
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(code)


def is_draining() -> bool:
    """True once a person has asked the run to stop."""
    return _draining.is_set()
