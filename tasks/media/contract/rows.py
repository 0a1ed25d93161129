"""A row of the media contract: what is promised, and whether it is kept. The rows themselves are in `contract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["kept", "changed", "lost"]


@dataclass(frozen=True)
class Row:
    """One promise.

    Attributes:
        name: what is promised.
        verdict: whether it is kept.
        source, master: what was seen in either.
        note: why it is changed or how it is lost; empty if it is kept.
    """

    name: str
    verdict: Verdict
    source: str
    master: str
    note: str = ""


def kept_or_lost(name: str, ok: bool, source: str, master: str, note: str) -> Row:
    """A row for what may not change; the note is for its loss."""
    return Row(name, "kept", source, master) if ok else Row(name, "lost", source, master, note)
