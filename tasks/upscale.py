"""Stage 3: one shard through the pool, by one of the drivers that want it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, nullcontext

from tasks.commit import done_record
from tasks.pool.pool import SharedPool
from tasks.records import Record, Work
from tasks.store import Store, lease

_LOG = logging.getLogger("remaster.upscale")


class Watch:
    """Who is told how a shard comes along; this one does not mind."""

    def begin(self) -> None:
        """A worker is free for it; also called now and then while somebody else has it. May raise to leave it."""

    def taken(self, worker: str) -> None:
        """The worker of this name has it in hand."""

    def progress(self, frames: int) -> None:
        """So many of its frames are written."""

    def said(self, level: int, words: str) -> None:
        """The worker logged this, at a level of `logging`."""

    def waiting(self) -> AbstractContextManager[None]:
        """A block that lasts as long as somebody else has it."""
        return nullcontext()


def upscale_shard(
    work: Work, pool: SharedPool, store: Store, force: bool, patience: float, watch: Watch
) -> tuple[Record, bool]:
    """Make sure that a shard is done.

    Args:
        work: the order.
        pool: where to lease a worker.
        store: where segments and records live.
        force: do it again even if it is done.
        patience: seconds after which whoever has the shard in hand and gives no sign of life has lost it.
        watch: is told.

    Returns:
        Its record, and whether any work was needed.
    """
    while True:
        record = None if force else done_record(work.shard, store)
        if record is not None:
            lease.clear(store, work.shard.key)
            return record, False
        try:
            return _upscale(work, pool, store, force, patience, watch)
        except _Elsewhere:
            _LOG.info("shard %s: somebody else has it; waiting", work.shard.name)
            with watch.waiting():
                lease.wait(store, work.shard.key, watch.begin)


def _upscale(
    work: Work, pool: SharedPool, store: Store, force: bool, patience: float, watch: Watch
) -> tuple[Record, bool]:
    meanwhile: list[Record] = []

    # A shard is claimed with a worker at hand, and a worker is not kept waiting for somebody else's shard.
    def take(worker: str) -> Record | None:
        watch.begin()
        claimed = lease.claim(store, work.shard.key, patience)
        if claimed is None:
            raise _Elsewhere
        held.enter_context(claimed)
        if force:
            store.delete(work.shard.record)
        else:
            found = done_record(work.shard, store)
            if found is not None:
                meanwhile.append(found)
                return found
        watch.taken(worker)
        return None

    with ExitStack() as held:
        return pool.run(work, watch.progress, take, watch.said), not meanwhile


class _Elsewhere(Exception):
    """Somebody else has the shard in hand."""
