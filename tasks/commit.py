"""When a shard is done, and making it so.

A segment is named by its content and a record is made once: whoever comes second, however late, changes neither the
record nor a byte of the segment it names. It knows neither who makes segments nor how.
"""

from __future__ import annotations

from tasks.records import Record, Shard, from_sealed, to_sealed
from tasks.store import Digest, Store


def done_record(shard: Shard, store: Store) -> Record | None:
    """The record of a shard that is done, or None.

    Done means that the record is there and the segment's bytes have the hash it names: a segment that was deleted, torn
    or overwritten is a miss, never a wrong answer.
    """
    try:
        record = from_sealed(Record, store.read(shard.record))
    except (FileNotFoundError, ValueError):
        return None
    if record.key != shard.key or record.frames != shard.stop - shard.start:
        return None
    return record if store.matches(record.segment, Digest(record.sha256, record.size)) else None


def commit(shard: Shard, record: Record, store: Store) -> Record:
    """Say that a shard is done, its segment being in place; returns the record that counts.

    That is another one if the shard was done meanwhile by somebody else.
    """
    while not store.create(shard.record, to_sealed(record)):
        standing = done_record(shard, store)
        if standing is not None:
            return standing
        store.delete(shard.record)  # what it names is gone or damaged
    return record
