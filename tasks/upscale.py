"""Stage 3: one shard through the pool, by one of the drivers that want it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from tasks.commit import done_record
from tasks.pool.pool import SharedPool
from tasks.records import Record, Work
from tasks.store import Store, lease

_LOG = logging.getLogger("remaster.upscale")


def upscale_shard(
    work: Work,
    pool: SharedPool,
    store: Store,
    force: bool,
    patience: float,
    progress: Callable[[int], None],
    begin: Callable[[], None],
) -> tuple[Record, bool]:
    """Make sure that a shard is done.

    Args:
        work: the order.
        pool: where to lease a worker.
        store: where segments and records live.
        force: do it again even if it is done.
        patience: seconds after which whoever has the shard in hand and gives no sign of life has lost it.
        progress: called now and then with the number of frames written so far.
        begin: called when a worker is free for it, and now and then while somebody else has it; may raise to leave it.

    Returns:
        Its record, and whether any work was needed.
    """
    while True:
        record = None if force else done_record(work.shard, store)
        if record is not None:
            lease.clear(store, work.shard.key)
            return record, False
        try:
            return _upscale(work, pool, store, force, patience, progress, begin)
        except _Elsewhere:
            _LOG.info("shard %s: somebody else has it; waiting", work.shard.name)
            lease.wait(store, work.shard.key, begin)


def _upscale(
    work: Work,
    pool: SharedPool,
    store: Store,
    force: bool,
    patience: float,
    progress: Callable[[int], None],
    begin: Callable[[], None],
) -> tuple[Record, bool]:
    meanwhile: list[Record] = []

    # A shard is claimed with a worker at hand, and a worker is not kept waiting for somebody else's shard.
    def take() -> Record | None:
        begin()
        claimed = lease.claim(store, work.shard.key, patience)
        if claimed is None:
            raise _Elsewhere
        held.enter_context(claimed)
        if force:
            store.delete(work.shard.record)
            return None
        found = done_record(work.shard, store)
        meanwhile.extend([found] if found else [])
        return found

    with ExitStack() as held:
        return pool.run(work, progress, take), not meanwhile


class _Elsewhere(Exception):
    """Somebody else has the shard in hand."""
