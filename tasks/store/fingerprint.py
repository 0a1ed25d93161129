"""What identifies a source: a hash of its content, wherever it is and whatever it is called.

Knows files, objects and runs of numbered files, not what is in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from tasks.errors import SourceChanged
from tasks.store import sequence
from tasks.store.contents import contents
from tasks.store.digest import BLOCK
from tasks.store.uri import open_read


@dataclass(frozen=True, slots=True)
class SourceStat:
    """What can be said of a source without reading it: its size in bytes, and a stamp that changes with its content.

    The stamp is the time of the last change in nanoseconds, or an object's entity tag and time.
    """

    size: int
    stamp: str


def stat(uri: str) -> SourceStat:
    """The source's size and stamp; with its URI, a key under which a fingerprint may be kept.

    Raises FileNotFoundError (also for a folder), UsageError, StoreError.
    """
    return SourceStat(*contents(uri).stat(uri))


def last_change(uri: str) -> float:
    """When the storage itself last saw a file change, in seconds since the epoch.

    Raises FileNotFoundError, UsageError, StoreError.
    """
    return contents(uri).last_change(uri)


def fingerprint(uri: str) -> str:
    """BLAKE2b-256 of the source's content, 64 hex digits. Reads all of it, in constant memory.

    Raises FileNotFoundError (also for a folder), UsageError, StoreError, and SourceChanged if it changes meanwhile.
    """
    before = stat(uri)
    if sequence.pattern_of(uri):
        digest = sequence.fingerprint(uri)
    else:
        with open_read(uri) as file:
            digest = _blake2b(file)
    if stat(uri) != before:
        raise SourceChanged(f"{uri} changed while it was being read. Wait until it is complete, then run again.")
    return digest


def _blake2b(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=32)
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
