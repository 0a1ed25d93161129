"""Waiting for files to come into a library: each counts as new once, when it lies still. Starts nothing itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from tasks.scan import is_meant, list_library, unsettled_seconds
from tasks.store import stat

_LOOKERS = 8


class Watched:
    """A library, and which of its files were taken in hand.

    Args:
        library: normalised URI.
        settle: seconds for which a file must not have changed.
        only: glob of the names that are of interest; empty: all.
        rate: of runs of numbered images, see `list_library`.
    """

    def __init__(self, library: str, settle: float, only: str = "", rate: Fraction | None = None) -> None:
        self._library, self._settle, self._only, self._rate = library, settle, only, rate
        self._taken: dict[str, tuple[int, str]] = {}
        self._seen: dict[str, tuple[int, str]] = {}

    def new(self) -> list[str]:
        """Names of the files that lie still and are new, or changed, since they were taken; at first, of all.

        Raises:
            UsageError: the library is not there.
            StoreError: its store does not answer.
        """
        self._seen = _lying_still(self._library, self._settle, self._only, self._rate)
        return sorted(name for name, seen in self._seen.items() if self._taken.get(name) != seen)

    def take(self) -> None:
        """What was just seen is in hand; until it is, it stays new."""
        self._taken |= self._seen


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
