"""Prefect's cached results, kept in the run's own store and never trusted further than the bytes they speak of.

Prefect asks this block for the result filed under a task's cache key, which is the content key of a shard or master.
It gets one only if the segment or master is there with the hash that the result names: anything else is a miss.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import threading
from typing import Any

from prefect.filesystems import WritableFileSystem
from prefect.results import ResultRecord  # type: ignore[attr-defined]
from pydantic import PrivateAttr

from tasks.finish import is_held
from tasks.records import MasterRecord, Record, from_json, from_sealed, record_place
from tasks.seal import opened, sealed
from tasks.store import Digest, Store


class StoreResults(WritableFileSystem):
    """Result storage on a store. Credentials stay in the environment: the saved block holds only the root's URI."""

    _block_type_name = "Remaster store results"
    _block_type_slug = "remaster-store-results"
    _description = "Results of shards and masters, beside the segments they speak of."

    root: str
    # Prefect reads twice on a hit (is it there? what is it?): the bytes are proven once.
    _proven: dict[str, bytes] = PrivateAttr(default_factory=dict)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def read_path(self, path: str, **_: Any) -> bytes:  # type: ignore[override]
        """The result filed under `path`.

        Raises:
            FileNotFoundError: there is none, or what it speaks of is gone or changed.
        """
        with self._lock:
            known = self._proven.pop(path, None)
        if known is not None:
            return known
        store = Store(self.root)
        try:
            content = opened(store.read(_place(path)))
        except ValueError as error:
            raise FileNotFoundError(f"the result {path} is damaged") from error
        if not _still_true(path, content, store):
            raise FileNotFoundError(f"the result {path} speaks of bytes that are gone or changed")
        with self._lock:
            self._proven[path] = content
        return content

    def write_path(self, path: str, content: bytes, **_: Any) -> None:  # type: ignore[override]
        """File a result under `path`."""
        with self._lock:
            self._proven.pop(path, None)
        Store(self.root).write(_place(path), sealed(json.dumps(json.loads(content), indent=1).encode()))


def results_block(root: str) -> StoreResults:
    """The block for a store, registered with the Prefect server, to give to `result_storage`.

    The block and not its name: Prefect asks the server for a block by name once a task.
    """
    block = StoreResults(root=root)
    block.save(_block_name(root), overwrite=True)
    return block


def _block_name(root: str) -> str:
    """For a person to know it by, of the letters that Prefect lets it have, and for no other store."""
    known_by = re.sub("[^a-z0-9]+", "-", root.lower()).strip("-")[-60:].lstrip("-")
    digest = hashlib.sha256(root.encode(errors="surrogateescape")).hexdigest()[:12]
    return "-".join(filter(None, ("store", known_by, digest)))


def shard_cache_key(key: str) -> str:
    """Prefect's cache key of a shard."""
    return f"shard-{key}"


def master_cache_key(key: str) -> str:
    """Prefect's cache key of a master."""
    return f"master-{key}"


def _place(path: str) -> str:
    return f"results/{posixpath.basename(path)}"


def _still_true(path: str, content: bytes, store: Store) -> bool:
    kind, _, key = posixpath.basename(path).partition("-")
    record_of_prefect: ResultRecord[Any] = ResultRecord.deserialize(content)
    result = record_of_prefect.result
    if kind == "shard":
        record = from_json(Record, str(result))
        return (
            record.key == key
            and _is_committed(record, store)
            and store.matches(record.segment, Digest(record.sha256, record.size))
        )
    if kind == "master":
        master = from_json(MasterRecord, str(result))
        if is_held(master.uri):  # what becomes of it is a person's decision, and asked for each time
            return False
        folder, leaf = posixpath.split(master.uri)
        return master.key == key and Store(folder).matches(leaf, Digest(master.sha256, master.size))
    return True


def _is_committed(record: Record, store: Store) -> bool:
    """Our own record is the commit mark: where it is gone or damaged the shard is not done, whatever Prefect knows."""
    try:
        return from_sealed(Record, store.read(record_place(record.key))).sha256 == record.sha256
    except (FileNotFoundError, ValueError):
        return False
