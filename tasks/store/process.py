"""Which process made something, and whether that process is surely gone.

A process is named by its machine, its number and when it started, so that a number given out again is another process.
It knows of this machine only: of a process elsewhere it can never say that it is gone.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/PID/stat after the command's name, which may hold spaces and brackets itself.
_STATE, _STARTED = 0, 19
_ENDED = {"Z", "X"}
_NOWHERE = "unknown"


def this_process() -> str:
    """This process's name: letters, digits and two hyphens."""
    return f"{_machine()}-{os.getpid()}-{_stat(os.getpid())[_STARTED]}"


def is_gone(process: str) -> bool:
    """True if a process of that name ran on this machine and does so no more; False whenever that is not sure."""
    number, _, started = process.partition("-")[2].partition("-")
    if not is_here(process) or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
        stat = _stat(int(number))
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's
    return stat[_STARTED] != started or stat[_STATE] in _ENDED


def is_here(process: str) -> bool:
    """True if a process of that name, if it runs, runs on this machine."""
    return _machine() != _NOWHERE and process.partition("-")[0] == _machine()


def _stat(number: int) -> list[str]:
    try:
        return (_PROC / str(number) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except FileNotFoundError as error:
        if _machine() == _NOWHERE:
            return ["", *["0"] * _STARTED]
        raise ProcessLookupError from error


@cache
def _machine() -> str:
    """One start of one machine, as one container sees it: processes have numbers of their own in each."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
        numbering = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return _NOWHERE
    return hashlib.blake2b(f"{boot} {numbering}".encode(), digest_size=6).hexdigest()
