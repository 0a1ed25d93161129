"""What a name stands for: one file or object, or a run of numbered ones that are read as one."""

from __future__ import annotations

from tasks.store import sequence
from tasks.store.backend import backend
from tasks.store.protocol import Contents


def contents(uri: str) -> Contents:
    """What reads and makes what a normalised URI stands for."""
    return sequence if sequence.pattern_of(uri) else backend(uri)
