"""Stage 3: one shard through the pool, and the one question everything else asks: is this shard already done?"""

from __future__ import annotations

from collections.abc import Callable

from tasks.pool.pool import SharedPool
from tasks.records import Record, Shard, Work, from_sealed
from tasks.store import Digest, Store


def done_record(shard: Shard, store: Store) -> Record | None:
    """The record of a shard that is done, or None.

    Done means that the record is there as it was written and the segment's bytes have the hash it names: a segment that
    was deleted, torn or overwritten is a miss, never a wrong answer.
    """
    try:
        record = from_sealed(Record, store.read(shard.record))
    except (FileNotFoundError, ValueError):
        return None
    if record.key != shard.key or record.frames != shard.stop - shard.start:
        return None
    return record if store.matches(shard.segment, Digest(record.sha256, record.size)) else None


def upscale_shard(
    work: Work,
    pool: SharedPool,
    store: Store,
    force: bool,
    progress: Callable[[int], None],
    begin: Callable[[], None],
) -> tuple[Record, bool]:
    """Make sure that a shard is done.

    Args:
        work: the order.
        pool: where to lease a worker.
        store: where segments and records live.
        force: do it again even if it is done.
        progress: called now and then with the number of frames written so far.
        begin: called when a worker is free for it; may raise to leave it.

    Returns:
        Its record, and whether any work was needed.
    """
    record = None if force else done_record(work.shard, store)
    if record is not None:
        return record, False
    meanwhile: list[Record] = []

    def look_again() -> Record | None:
        """Another copy of the same film may have been worked on while this shard waited for a worker."""
        begin()
        found = None if force else done_record(work.shard, store)
        meanwhile.extend([found] if found else [])
        return found

    return pool.run(work, progress, look_again), not meanwhile
