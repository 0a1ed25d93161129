"""A shard is done once: whoever comes late changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tasks.commit import commit, done_record
from tasks.records import Record, Shard, to_json
from tasks.store import Store

SHARD = Shard("film.mkv", 0, 0, 4, 0, 0, "start", 0, 3, 0, 1.0, "ab" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def made(store: Store, segment: bytes, worker: str) -> Record:
    """A record whose segment is in place, as a worker has it before it commits."""
    sha256 = hashlib.sha256(segment).hexdigest()
    record = Record(SHARD.key, sha256, len(segment), 4, 40.0, 0, {"total": 1.0}, worker)
    store.write(record.segment, segment)
    return record


def test_the_first_record_stands_and_so_does_its_segment(store: Store) -> None:
    first = made(store, b"one", "first")
    assert commit(SHARD, first, store) == first
    late = made(store, b"other bytes", "late")
    assert commit(SHARD, late, store) == first
    assert done_record(SHARD, store) == first
    assert store.read(first.segment) == b"one"


@pytest.mark.parametrize("spoil", ["segment gone", "segment torn", "record torn", "another's record"])
def test_a_record_that_proves_nothing_is_replaced(store: Store, spoil: str) -> None:
    before = commit(SHARD, made(store, b"one", "before"), store)
    if spoil == "segment gone":
        store.delete(before.segment)
    elif spoil == "segment torn":
        store.write(before.segment, b"on")
    elif spoil == "record torn":
        store.write(SHARD.record, to_json(before)[:-9])
    else:
        store.write(SHARD.record, to_json(before).replace(b"abab", b"cdcd"))
    assert done_record(SHARD, store) is None
    again = made(store, b"two", "again")
    assert commit(SHARD, again, store) == again == done_record(SHARD, store)
