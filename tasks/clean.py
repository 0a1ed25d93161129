"""What a store holds that nobody needs any more: shards that no run speaks of, segments that another took the place of,
and files that killed processes left.

Only what is surely ours and of a known kind is ever named; anything else is counted and left alone. Which shards are
spoken of is the caller's to know.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from tasks.hold import list_holds
from tasks.records import Record, from_sealed, record_place
from tasks.store import Store

# A file on its way to the store changes all the time; one that has not for so long is nobody's.
_FORGOTTEN = 24 * 3600.0
_KEY = r"(?P<first>[0-9a-f]{2})/(?P<key>(?P=first)[0-9a-f]{62})"
# Records before segments: they are the commit marks, and a shard must never look done when it is not.
_KINDS = {
    "parts": re.compile(rf"parts/{_KEY}/(parts\.json|\d+\.\w+)"),  # made again from their sources when asked for
    "records": re.compile(rf"records/{_KEY}\.json"),
    "results": re.compile(r"results/shard-(?P<key>[0-9a-f]{64})"),
    "segments": re.compile(rf"segments/{_KEY}-[0-9a-f]{{16}}\.mkv"),
}
_OF_PART = re.compile(rf"/parts/{_KEY}/")
# Prefect files the results of masters beside those of shards.
_NOT_OURS_TO_JUDGE = re.compile(r"results/master-[0-9a-f]{64}")


@dataclass(frozen=True)
class Waste:
    """What can go.

    Attributes:
        shards: keys of files in the store that belong to shards nobody speaks of, in the order to remove them.
        replaced: keys of segments of shards that are spoken of, whose records name other ones.
        temporaries: names of left-over temporary files and folders.
        sizes: bytes of each of both.
        kept: files of shards that are spoken of.
        unknown: files in the same folders that are of no known kind.
    """

    shards: tuple[str, ...]
    replaced: tuple[str, ...]
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
    shards, unknown, segments, kept = [], [], [], 0
    # What a person is to decide of is a source, if it is a part of one.
    sources = (_OF_PART.search(hold.title.uri) for hold in list_holds(store) if hold.state != "settled")
    needed = {*needed, *(source["key"] for source in sources if source)}
    for folder, pattern in _KINDS.items():
        for file in store.list(folder):
            segments += [file] if folder == "segments" else []
            match = pattern.fullmatch(file)
            if match is None:
                unknown += [file] if not _NOT_OURS_TO_JUDGE.fullmatch(file) else []
            elif match["key"] in needed:
                kept += 1
            else:
                shards.append(file)
    before = (time.time() if now is None else now) - _FORGOTTEN
    old = {left.key: left.size for left in store.temporaries() if left.changed < before}
    replaced = _replaced(store, needed, segments)
    sizes = {file: store.size(file) for file in (*shards, *replaced)} | old
    return Waste(tuple(shards), replaced, tuple(sorted(old)), sizes, kept - len(replaced), tuple(unknown))


def _replaced(store: Store, needed: Collection[str], segments: Iterable[str]) -> tuple[str, ...]:
    """Of these segments of needed shards those that were made again, and came out otherwise to the bit."""
    of: dict[str, list[str]] = defaultdict(list)
    for file in segments:
        match = _KINDS["segments"].fullmatch(file)
        if match is not None and match["key"] in needed:
            of[match["key"]].append(file)
    several = {key: files for key, files in of.items() if len(files) > 1}
    return tuple(file for key, files in several.items() for file in files if _is_replaced(file, key, files, store))


def _is_replaced(file: str, key: str, files: list[str], store: Store) -> bool:
    try:
        named = from_sealed(Record, store.read(record_place(key))).segment
    except (FileNotFoundError, ValueError):
        return False  # the shard is not done: nobody knows yet which one will do
    return named in files and file != named


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
    # A record that names another one now has made that one needed again.
    for file in set(waste.replaced) & set(_replaced(store, spared, store.list("segments") if waste.replaced else ())):
        store.delete(file)
        removed += waste.sizes[file]
    for left in waste.temporaries:
        store.delete_temporary(left)
        removed += waste.sizes[left]
    return removed
