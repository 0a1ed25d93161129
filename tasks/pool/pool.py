"""The lease pool: Ray actors with one network each, one a GPU, handed out one shard at a time.

Ray restarts a dead actor; whether its shard is tried again is decided above (Prefect's retries), after this pool has
counted the death: a shard that takes down three actors is quarantined, an actor that dies four times without finishing
anything is not leased again (the last one left: twelve times). What went down with its whole node says nothing of its
shard: machines are taken back, and lose their power.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from tasks.errors import PermanentError, Quarantined, UsageError, WorkerLost, is_permanent
from tasks.pool import metrics
from tasks.pool.actor import ShardActor
from tasks.pool.host import RayHost
from tasks.pool.worker import WorkerSettings
from tasks.records import Record, Work, from_json, to_json

_LOG = logging.getLogger("remaster.pool")
_DEATHS_PER_SHARD = 3
_DEATHS_PER_ACTOR = 4
_DEATHS_OF_THE_LAST = 4 * _DEATHS_PER_SHARD
_POLL_SECONDS = 0.5
_START_SECONDS = 600.0
_RESTART_SECONDS = 180.0
_PROBE_SECONDS = 5.0
# Names the GPUs that the cluster's autoscaler may start in all.
GROWS_TO = "REMASTER_CLUSTER_GPUS"
# An answer that is ready is a few hundred bytes.
_FETCH_SECONDS = 60.0

_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.GetTimeoutError,
)


# Told of a line that a worker logs: its level, as of `logging`, and its words.
Hear = Callable[[int, str], None]


@dataclass(frozen=True)
class PoolSettings:
    """What a pool is made of.

    Attributes:
        worker: what each actor loads.
        workers: how many actors; 0: one a GPU, or one where there is none.
        ray_address: of a cluster to join; empty starts Ray on this machine.
        stall: seconds without a frame after which a worker counts as hung, and is killed.
    """

    worker: WorkerSettings
    workers: int = 0
    ray_address: str = ""
    stall: float = 1800.0


@dataclass
class _Slot:
    """One actor and what it has been through."""

    actor: Any
    number: int
    name: str = ""
    node: str = ""  # that it was last known to be on
    deaths: int = 0
    suspect: bool = False
    patience: float = 0.0  # until when a suspect may come back
    heard: int = 0  # lines of its log


class WorkerPool:
    """Leases workers. Thread-safe; use `worker_pool` to get one."""

    def __init__(self, settings: PoolSettings) -> None:
        """Start the actors and wait until each has loaded its network.

        Raises:
            UsageError: the Ray cluster does not answer, or has not the GPUs asked for.
            ModelError: the network cannot be loaded.
        """
        self._idle: queue.Queue[_Slot] = queue.Queue()
        self._deaths: dict[str, list[str]] = defaultdict(list)  # nodes of the actors that died, by shard key
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stall = settings.stall
        self._grows = False
        self._late: threading.Thread | None = None
        self._ray = RayHost(settings.ray_address, settings.workers)
        try:
            self.size, slots = self._ray.ask(lambda: self._start_actors(settings))
            self._usable = self._pending = len(slots)
            self._gather({slot.actor.ready.remote(): slot for slot in slots})
        except BaseException:
            self._ray.close()
            raise

    def _start_actors(self, settings: PoolSettings) -> tuple[int, list[_Slot]]:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        there = int(resources.get("GPU", 0))
        gpus = max(there, _gpus_to_come())
        self._grows = gpus > there
        size = settings.workers or gpus or 1
        if gpus and size > gpus:
            raise UsageError(f"{size} workers asked for and the cluster has {gpus} GPUs; ask for at most {gpus}.")
        options = {
            "num_gpus": 1 if gpus else 0,
            "num_cpus": 0 if gpus else 1,
            "max_restarts": -1,
            "max_task_retries": 0,
            "concurrency_groups": {"watch": 1},
        }
        actor_class: Any = ray.remote(**options)(ShardActor)  # type: ignore[call-overload]
        # Heads and drivers are nodes too, without anything to work with.
        asked_for = "GPU" if gpus else "CPU"
        nodes = sum(node["Alive"] and asked_for in node["Resources"] for node in ray.nodes())  # type: ignore[no-untyped-call]
        neighbours = -(-(min(size, there) if self._grows else size) // max(1, nodes)) or 1
        return size, [_Slot(actor_class.remote(settings.worker, neighbours), number) for number in range(size)]

    def run(
        self,
        work: Work,
        progress: Callable[[int], None],
        begin: Callable[[str], Record | None] = lambda worker: None,
        hear: Hear = lambda level, words: None,
    ) -> Record:
        """Lease a worker, run a shard on it, give it back. Blocks until a worker is free.

        Args:
            work: the order.
            progress: called now and then with the number of frames written so far.
            begin: called with a worker's name once it is leased, before anything is asked of it. A record that it
                returns, or an error that it raises, ends the matter.
            hear: called with what the worker logs meanwhile.

        Raises:
            WorkerLost: the worker or its node died under the shard; worth another attempt.
            Quarantined: that happened three times to this shard.
            RemasterError, ModelError: what the worker itself raised.
        """
        slot = self._lease()
        self._show()
        try:
            known = begin(slot.name)
            return known if known is not None else self._run_on(slot, work, progress, hear)
        finally:
            self._give_back(slot)
            self._show()

    def close(self) -> None:
        """Let running shards go, free the GPUs, and leave or stop Ray."""
        self._closed.set()
        if self._late:
            self._late.join()
        while not self._idle.empty():
            ray.kill(self._idle.get_nowait().actor)
        self._ray.close()

    def _show(self) -> None:
        idle = self._idle.qsize()
        metrics.show("remaster_workers", idle, state="idle")
        metrics.show("remaster_workers", max(0, self._usable - self._pending - idle), state="busy")

    def _lease(self) -> _Slot:
        while not self._closed.is_set():
            if self._usable == 0:
                break
            try:
                slot = self._idle.get(timeout=1.0)
            except queue.Empty:
                continue
            if not slot.suspect or self._is_back(slot):
                return slot
        raise PermanentError(
            "no worker is left: each died several times without finishing a shard. See Ray's logs (under /tmp/ray) for"
            " why; not enough memory is the usual reason."
            if not self._closed.is_set()
            else "the run is stopping"
        )

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            # The last one may outlive several shards that kill: they are set aside, and the others need a worker.
            there = self._usable - self._pending
            limit = _DEATHS_PER_ACTOR if there > 1 else _DEATHS_OF_THE_LAST
        if slot.deaths >= limit:
            self._retire(slot, f"died {slot.deaths} times without finishing a shard")
        else:
            self._idle.put(slot)

    def _retire(self, slot: _Slot, why: str) -> None:
        _LOG.error("worker %d %s and is retired", slot.number, why)
        with self._lock:
            self._usable -= 1
        ray.kill(slot.actor)

    def _run_on(self, slot: _Slot, work: Work, progress: Callable[[int], None], hear: Hear) -> Record:
        answer = slot.actor.upscale.remote(to_json(work))
        frames, moved, hung = 0, time.monotonic(), False
        try:
            while not ray.wait([answer], timeout=_POLL_SECONDS)[0]:
                now_done = self._ask(slot, frames, hear)
                if now_done != frames:
                    frames, moved = now_done, time.monotonic()
                    progress(frames)
                elif hung and time.monotonic() - moved > _FETCH_SECONDS:
                    raise ray.exceptions.GetTimeoutError("Ray does not say what became of it")  # its head is stuck
                elif not hung and time.monotonic() - moved > self._stall:
                    moved, hung = time.monotonic(), True
                    ray.kill(slot.actor, no_restart=False)  # the answer is then that it died
            self._ask(slot, frames, hear)
            record = from_json(Record, ray.get(answer, timeout=_FETCH_SECONDS))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BaseException):
                raise error.cause from None
            raise
        except _DEATHS as error:
            why = f"not a frame in {self._stall:.0f} s" if hung else type(error).__name__
            raise self._bury(slot, work, why) from error
        slot.deaths = 0
        return record

    def _bury(self, slot: _Slot, work: Work, why: str) -> Exception:
        """Count a death and say what it means for the shard."""
        slot.deaths += 1
        slot.suspect = True
        # Where its node went, another has to come first.
        slot.patience = time.monotonic() + (_START_SECONDS if self._grows else _RESTART_SECONDS)
        what = f"shard {work.shard.name}: worker {slot.number} died under it ({why})"
        with self._lock:
            died = self._deaths[work.shard.key]
            died.append(slot.node)
        try:
            standing = self._ray.ask(_standing_nodes)
        except UsageError as error:
            return WorkerLost(f"{what}; it is tried again elsewhere. Whether its node stands is not known: {error}")
        # All deaths are looked at anew: the cluster hears of a node that is gone later than of its actors.
        deaths = sum(node in standing for node in died)
        _LOG.warning("%s; death %d of this shard", what, deaths)
        if deaths >= _DEATHS_PER_SHARD:
            return Quarantined(
                f"{what}; it took down {deaths} workers and is set aside. Try a smaller `tile`, or look in Ray's"
                " logs for what killed the workers, then `remaster rerun`."
            )
        return WorkerLost(f"{what}; it is tried again elsewhere.")

    def _ask(self, slot: _Slot, before: int, hear: Hear) -> int:
        """How many frames are done, by what a worker says or what was known before; what it logged is passed on."""
        try:
            done, lines = ray.get(slot.actor.news.remote(slot.heard), timeout=_PROBE_SECONDS)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
            return before
        for number, level, words in lines:
            slot.heard = number
            hear(level, words)
        return int(done)

    def _is_back(self, slot: _Slot) -> bool:
        """True once a restarted actor answers. Until then others are asked first; at last it is retired."""
        try:
            slot.name, slot.node = ray.get(slot.actor.ready.remote(), timeout=_PROBE_SECONDS)
            slot.heard = 0  # another process, which counts its own
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            # Ray is still restarting it; what was asked of the one before may yet be answered with its death.
            if time.monotonic() < slot.patience:
                time.sleep(_POLL_SECONDS)
                self._idle.put(slot)
                return False
        except ray.exceptions.RayError:
            pass
        else:
            slot.suspect = False
            return True
        self._retire(slot, "does not come back")
        return False

    def _gather(self, coming: dict[Any, _Slot]) -> None:
        """Wait for all workers; where a cluster grows for them, for one: the others join when their nodes are there."""
        enough = 1 if self._grows else len(coming)
        ready, others = ray.wait(list(coming), num_returns=enough, timeout=_START_SECONDS)
        if len(ready) < enough:
            raise UsageError(
                f"no place for worker {coming[others[0]].number} was found in {_START_SECONDS:.0f} s: the Ray cluster"
                " is full or too small. Ask for fewer --workers, or wait for other jobs to end."
            )
        for answer in ready:
            self._join(coming[answer], answer)
        if others:
            late = {answer: coming[answer] for answer in others}
            self._late = threading.Thread(target=self._gather_late, args=(late,), name="late workers", daemon=True)
            self._late.start()

    def _gather_late(self, coming: dict[Any, _Slot]) -> None:
        """As long as the pool is there: machines may be short for hours."""
        while coming and not self._closed.is_set():
            for answer in ray.wait(list(coming), timeout=_POLL_SECONDS)[0]:
                slot = coming.pop(answer)
                try:
                    self._join(slot, answer)
                except Exception as error:
                    self._retire(slot, f"did not start ({error})")
        for slot in coming.values():
            ray.kill(slot.actor)

    def _join(self, slot: _Slot, answer: Any) -> None:
        """Take in a worker that has answered; raises what kept it from loading its network."""
        with self._lock:
            self._pending -= 1
        try:
            slot.name, slot.node = ray.get(answer, timeout=_FETCH_SECONDS)
            self._idle.put(slot)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, Exception) else UsageError(f"a worker cannot start: {error}")) from error


def _standing_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def _gpus_to_come() -> int:
    """GPUs that there are once an autoscaler has made the cluster as large as it may; 0 where there is none.

    Ray does not say it before they are there.
    """
    return int(os.environ.get(GROWS_TO) or 0)


class SharedPool:
    """One pool for everybody in this process who asks for the same settings; it starts with the first shard."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._broken: Exception | None = None
        self.users = 0

    @property
    def size(self) -> int:
        """How many workers it has; 0 before it has started."""
        pool = self._pool  # without the lock, which a start holds for minutes
        return pool.size if pool is not None else 0

    def run(
        self,
        work: Work,
        progress: Callable[[int], None],
        begin: Callable[[str], Record | None] = lambda worker: None,
        hear: Hear = lambda level, words: None,
    ) -> Record:
        """See `WorkerPool.run`; raises what starting the pool raises too."""
        return self.start().run(work, progress, begin, hear)

    def start(self) -> WorkerPool:
        """The pool, started if it was not."""
        with self._lock:
            if self._broken is not None:
                raise self._broken
            try:
                self._pool = self._pool or WorkerPool(self._settings)
            except Exception as error:
                if is_permanent(error):
                    self._broken = error  # or every shard in turn would wait for the same answer
                raise
            return self._pool

    def close(self) -> None:
        """Stop the workers, if there are any."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None


_shared: dict[PoolSettings, SharedPool] = {}
_shared_lock = threading.Lock()


@contextmanager
def worker_pool(settings: PoolSettings) -> Iterator[SharedPool]:
    """The pool of these settings: kept until the last of those who use it leaves the block."""
    with _shared_lock:
        pool = _shared.setdefault(settings, SharedPool(settings))
        pool.users += 1
    try:
        yield pool
    finally:
        with _shared_lock:
            pool.users -= 1
            last = pool.users == 0
            if last:
                del _shared[settings]
        if last:
            pool.close()
