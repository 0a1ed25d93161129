"""Waiting for files to come into a library: each is told of once, when it lies still. Starts nothing itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from flows.run import Run
from tasks.errors import StoreError, UsageError
from tasks.scan import list_library, unsettled_seconds
from tasks.store import stat

_LOG = logging.getLogger("remaster.watching")
_LOOKERS = 8


def watch(run: Run, every: float) -> Iterator[list[str]]:
    """Names of files that are new or changed and lie still, as soon as there are some; at first, of all there are.

    A library that cannot be reached for a while is looked at again later. Ends with Ctrl-C.

    Args:
        run: whose library, and for how many seconds a file must not have changed.
        every: seconds between two looks.
    """
    told: dict[str, tuple[int, str]] = {}
    try:
        while True:
            try:
                still = lying_still(run.library, run.settle)
                new = sorted(name for name, seen in still.items() if told.get(name) != seen)
            except (StoreError, UsageError) as error:
                _LOG.warning("%s", error)
                new = []
            if new:
                yield new
                told = still
            time.sleep(every)
    except KeyboardInterrupt:
        return


def lying_still(library: str, settle: float) -> dict[str, tuple[int, str]]:
    """Size and stamp of every file of a library that did not change for `settle` seconds, by name."""

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
        return dict(found for found in lookers.map(look, list_library(library)) if found)
