"""A `ShardWorker` in a process of Ray's: what the pool asks of it, and what it tells."""

from __future__ import annotations

from functools import partial

import ray

from tasks.pool import metrics
from tasks.pool.said import Line, Said
from tasks.pool.worker import ShardWorker, WorkerSettings, sharing
from tasks.records import Work, from_json, to_json


class ShardActor:
    """Records cross as JSON so that nothing is unpickled on either side."""

    def __init__(self, settings: WorkerSettings, neighbours: int) -> None:
        """Load the network; `neighbours` workers, this one counted, share its machine."""
        self._worker: ShardWorker | None = None
        self._said = Said()
        self._said.listen()
        # Ray gives an actor one arithmetic thread a CPU it reserves; a worker wants its share of its machine.
        # A constructor that raises makes Ray restart the actor for ever: keep the error for `ready` to raise.
        try:
            frames = partial(metrics.count, "remaster_frames", device=_device())
            self._worker = ShardWorker(sharing(settings, neighbours), frames)
        except Exception as error:
            self._broken = error

    @ray.method(concurrency_group="watch")
    def ready(self) -> tuple[str, str]:
        """The worker's name and its node's id, once its network is loaded; raises what kept it from loading."""
        if self._worker is None:
            raise self._broken
        return self._worker.name, str(ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group="watch")
    def news(self, heard: int) -> tuple[int, list[tuple[int, int, str]]]:
        """Frames of the shard in hand that are written so far, and what was logged after line `heard`.

        A line is its number, level and words (see `said.Line`).
        """
        lines: list[Line] = self._said.since(heard)
        done = self._worker.done_frames if self._worker else 0
        return done, [(line.number, line.level, line.words) for line in lines]

    def upscale(self, work: bytes) -> bytes:
        """Run one shard."""
        assert self._worker is not None
        record = self._worker.upscale(from_json(Work, work))
        for stage in ("decode", "model", "write"):
            metrics.count("remaster_busy_seconds", record.seconds[stage], device=_device(), stage=stage)
        return to_json(record)


def _device() -> str:
    """What this actor has for itself, e.g. `cuda0`."""
    return "+".join(f"cuda{gpu}" for gpu in ray.get_gpu_ids()) or "cpu"
