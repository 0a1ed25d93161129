"""Waiting for files to come into a library: each counts as new once, when it lies still. Starts nothing itself.

What came to no end counts as new again, after pauses that grow to a day.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

from tasks.scan import is_meant, list_library, unsettled_seconds
from tasks.store import stat

A_DAY = 86_400.0  # seconds
_LOOKERS = 8


@dataclass(frozen=True)
class _Taken:
    """A file that was taken in hand.

    Attributes:
        seen: its size and stamp then.
        pause: seconds after which it counts as new again, from then on.
        due: when that is, by `time.monotonic`.
    """

    seen: tuple[int, str]
    pause: float = math.inf
    due: float = math.inf


class Watched:
    """A library, and which of its files were taken in hand.

    Args:
        library: normalised URI.
        settle: seconds for which a file must not have changed.
        only: glob of the names that are of interest; empty: all.
        rate: of runs of numbered images, see `list_library`.
        pause: seconds after which a file that came to no end is new again; from then on twice as long, up to a day.
    """

    def __init__(
        self, library: str, settle: float, only: str = "", rate: Fraction | None = None, pause: float = 30.0
    ) -> None:
        self._library, self._settle, self._only, self._rate = library, settle, only, rate
        self._pause = pause
        self._taken: dict[str, _Taken] = {}
        self._seen: dict[str, tuple[int, str]] = {}
        self._new: list[str] = []
        self._rests_until = -math.inf

    def new(self) -> list[str]:
        """Names of the files that lie still and are new, or changed, since they were taken; at first, of all.

        Those whose pause is over count as new too. None does for as long as it rests.

        Raises:
            UsageError: the library is not there.
            StoreError: its store does not answer.
        """
        now = time.monotonic()
        if now < self._rests_until:
            return []
        self._seen = _lying_still(self._library, self._settle, self._only, self._rate)
        self._new = sorted(name for name in self._seen if not self._is_taken(name) or self._taken[name].due <= now)
        return self._new

    def take(self, ended: Collection[str] | None = None) -> None:
        """What was just seen is in hand; until it is, it stays new.

        Args:
            ended: names of what need not be tried again; what else was new will be. None: all.
        """
        for name, seen in self._seen.items():
            if ended is None or name in ended:
                self._taken[name] = _Taken(seen)
            elif name in self._new:
                pause = min(2 * self._taken[name].pause, A_DAY) if self._is_taken(name) else self._pause
                self._taken[name] = _Taken(seen, pause, time.monotonic() + pause)

    def rest(self, seconds: float) -> None:
        """Nothing counts as new for so long."""
        self._rests_until = time.monotonic() + seconds

    def _is_taken(self, name: str) -> bool:
        """True if a file that was just seen was taken as it is."""
        return name in self._taken and self._taken[name].seen == self._seen[name]


def _lying_still(library: str, settle: float, only: str, rate: Fraction | None) -> dict[str, tuple[int, str]]:
    """Size and stamp of every file of interest that did not change for `settle` seconds, by name."""

    def look(entry: tuple[str, str]) -> tuple[str, tuple[int, str]] | None:
        name, uri = entry
        if unsettled_seconds(uri, settle) is not None:
            return None
        try:
            seen = stat(uri)
        except FileNotFoundError:
            return None
        return name, (seen.size, seen.stamp)

    with ThreadPoolExecutor(_LOOKERS) as lookers:
        wanted = (entry for entry in list_library(library, rate) if is_meant(entry[0], only))
        return dict(found for found in lookers.map(look, wanted) if found)
