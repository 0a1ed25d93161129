"""What a store holds that nobody needs any more: shards that no run speaks of, and files that killed processes left.

Only what is surely ours and of a known kind is ever named; anything else is counted and left alone. Which shards are
spoken of is the caller's to know.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tasks.store import Store

# A file on its way to the store changes all the time; one that has not for so long is nobody's.
_FORGOTTEN = 24 * 3600.0
_KEY = r"(?P<first>[0-9a-f]{2})/(?P<key>(?P=first)[0-9a-f]{62})"
# Records before segments: they are the commit marks, and a shard must never look done when it is not.
_KINDS = {
    "records": re.compile(rf"records/{_KEY}\.json"),
    "results": re.compile(r"results/shard-(?P<key>[0-9a-f]{64})"),
    "segments": re.compile(rf"segments/{_KEY}-[0-9a-f]{{16}}\.mkv"),
}
# Prefect files the results of masters beside those of shards.
_NOT_OURS_TO_JUDGE = re.compile(r"results/master-[0-9a-f]{64}")


@dataclass(frozen=True)
class Waste:
    """What can go.

    Attributes:
        shards: keys of files in the store that belong to shards nobody speaks of, in the order to remove them.
        temporaries: names of left-over temporary files and folders.
        sizes: bytes of each of both.
        kept: files of shards that are spoken of.
        unknown: files in the same folders that are of no known kind.
    """

    shards: tuple[str, ...]
    temporaries: tuple[str, ...]
    sizes: dict[str, int]
    kept: int
    unknown: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all that can go."""
        return sum(self.sizes.values())


def find_waste(store: Store, needed: Collection[str], now: float | None = None) -> Waste:
    """Look for what can go; removes nothing.

    Args:
        store: where to look.
        needed: keys of the shards that some run speaks of.
        now: seconds since the epoch, by which files are old; this moment's if left out.
    """
    shards, unknown, kept = [], [], 0
    for folder, pattern in _KINDS.items():
        for file in store.list(folder):
            match = pattern.fullmatch(file)
            if match is None:
                unknown += [file] if not _NOT_OURS_TO_JUDGE.fullmatch(file) else []
            elif match["key"] in needed:
                kept += 1
            else:
                shards.append(file)
    before = (time.time() if now is None else now) - _FORGOTTEN
    old = {left.key: left.size for left in store.temporaries() if left.changed < before}
    sizes = {file: store.size(file) for file in shards} | old
    return Waste(tuple(shards), tuple(sorted(old)), sizes, kept, tuple(unknown))


def remove_waste(store: Store, waste: Waste, needed: Callable[[], Collection[str]]) -> int:
    """Remove what was found, except what is needed by now; returns the bytes removed.

    Args:
        store: where it was found.
        waste: what was found.
        needed: tells again, just before anything is removed, which shards some run speaks of.
    """
    spared = needed()
    removed = 0
    for file in waste.shards:
        match = next(found for pattern in _KINDS.values() if (found := pattern.fullmatch(file)))
        if match["key"] not in spared:
            store.delete(file)
            removed += waste.sizes[file]
    for left in waste.temporaries:
        store.delete_temporary(left)
        removed += waste.sizes[left]
    return removed
