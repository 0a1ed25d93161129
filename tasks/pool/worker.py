"""Turning one shard into one segment: decode, upscale and write at the same time, then commit.

Plain Python: no Ray and no Prefect, so it can be run and timed by itself. Three threads hand over through bounded
queues, so memory depends on the size of a frame and not on the length of a shard or title.

Shape suffixes: T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tasks.commit import commit
from tasks.errors import OutOfMemory, PermanentError
from tasks.media.cadence.read import read_pictures
from tasks.media.picture.alpha import AlphaPath
from tasks.media.picture.bars import cut_off, put_back
from tasks.media.picture.colour import planes_of, to_codes, to_rgb, without_overshoot
from tasks.media.picture.pixels import Planes
from tasks.media.picture.transfer import ToHost
from tasks.media.writing.segment import SegmentWriter
from tasks.pool.gauge import Gauge
from tasks.pool.ladder import Rung, asked, smaller, sturdier
from tasks.pool.stages import Stages, timed
from tasks.records import Network, Record, Work, segment_place
from tasks.software import software_versions
from tasks.sources import open_source
from tasks.store import Store, digest_of
from vsr_model import registry
from vsr_model.classical import lanczos
from vsr_model.contract import OFFLOAD, Placement, Resettable, Upscaler
from vsr_model.hdr import HdrUpscaler
from vsr_model.sizes import Way, stream_to, way_to
from vsr_model.tiling import TiledUpscaler
from vsr_model.tone import to_sdr

_LOG = logging.getLogger("remaster.worker")

# Bumped when the same frames would be upscaled to others for a reason no other version covers.
UPSCALE_VERSION = 1
# Frames converted and pushed at a time, bounded by output pixels so that large pictures do not pile up.
_CHUNK_FRAMES, _CHUNK_PIXELS = 8, 32 << 20
# Torch's own choice, known before a worker of another network sets less for the whole process.
_THREADS = torch.get_num_threads()
# Rows and columns of a shard's frames, and of what is made of them.
_Sizes = tuple[int, int, tuple[int, int]]


@dataclass(frozen=True)
class WorkerSettings(Network):
    """What a worker loads when it starts.

    Attributes:
        threads: for arithmetic and for codecs on the CPU; 0: torch's and FFmpeg's own choice.
    """

    threads: int = 0


def gpus_here() -> int:
    """How many GPUs this machine has, each of which would be a worker's."""
    return torch.cuda.device_count()


def sharing(settings: WorkerSettings, neighbours: int) -> WorkerSettings:
    """The same for one of so many workers, this one counted, that share this machine's cores."""
    share = max(1, (os.cpu_count() or 1) // neighbours)
    return replace(settings, threads=settings.threads or share)


class ShardWorker:
    """Holds one network on one device and runs shards through it, one at a time."""

    def __init__(self, settings: WorkerSettings, told: Callable[[], None] = lambda: None) -> None:
        """Load the network; `told` is called for each frame written."""
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._first, self._told = settings, told
        self._threads = settings.threads or _THREADS
        self._take_up(settings)
        self._done_frames = 0
        self.name = f"{socket.gethostname()}:{os.getpid()}:{self._device.type}"

    def _take_up(self, settings: Network) -> None:
        """Have this network, and no other, from now on."""
        self._network: Upscaler | None = None
        self._loaded: Rung | None = None
        self._fits = False
        self._free_memory()
        entry = registry.find(settings.model)
        weights_hash = entry.reference().weights_hash
        # Only now: one that cannot be had must not pass for the one that is held.
        self._settings, self._entry, self._info, self._weights_hash = settings, entry, entry.info, weights_hash
        self._offload = bool(dict(settings.model_settings).get(OFFLOAD))
        self._wanted: dict[_Sizes, Rung] = {}  # that frames of a size begin with
        self._rungs: dict[_Sizes, Rung] = {}  # that they were last made on
        torch.set_num_threads(max(1, self._threads // 2) if self._info.light else self._threads)
        began = time.perf_counter()
        try:
            self._load(Rung(precision=settings.precision, offload=self._offload))
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{settings.model}: its weights do not fit into what is free of the memory of {self._device} on"
                f" {socket.gethostname()}. End what else uses it, or use another device or network."
            ) from error
        self._fits = True
        _LOG.info("%s loaded on %s in %.1f s", settings.model, self._device, time.perf_counter() - began)

    @property
    def done_frames(self) -> int:
        """Frames of the shard in hand that are written so far."""
        return self._done_frames

    def upscale(self, work: Work) -> Record:
        """Produce and commit one shard, on a lower rung (see `ladder`) if it cannot be done as asked.

        Raises:
            SourceError, SourceChanged: the source is not what was planned.
            StoreError: the store cannot be read or written.
            OutOfMemory: the device's memory does not suffice for the network that is asked for now, or not even for a
                classical resize.
            PermanentError: other weights than planned, frames lost, or numbers that overflow in every precision.
            ModelError: the order is for a network that cannot be loaded.
        """
        if (work.network or self._first) != self._settings or not self._fits:
            self._take_up(work.network or self._first)
        if work.weights_hash != self._weights_hash:
            raise PermanentError(
                f"shard {work.shard.name}: {self._settings.model} does not hold the weights it was planned with, here"
                f" on {self.name}. Have the same file on every node, leave it alone during a run, then run again."
            )
        size, way = (work.height, work.width, work.result), self._way(work)
        if size not in self._wanted:  # once: how much memory is free changes
            first = Rung(precision=self._settings.precision, offload=self._offload)
            tile = self._settings.tile
            if tile != "auto":
                tile = way.given(tile, work.height)
            self._wanted[size] = asked(first, tile, self._info, way, self._device, self._overlap(work))
        wanted = self._wanted[size]
        rung = self._rungs.get(size, wanted)
        while True:
            made = self._try(work, rung, wanted)
            if isinstance(made, Record):
                if not rung.classical:  # memory that others took may be free again for the next shard
                    # What overflowed was this shard's content, what did not fit is every shard's size.
                    self._rungs[size] = replace(rung, precision=wanted.precision)
                return made
            rung = made
            _LOG.warning(
                "shard %s: did not fit or overflowed; tried again with %s", work.shard.name, rung.words(wanted)
            )

    def _try(self, work: Work, rung: Rung, wanted: Rung) -> Record | Rung:
        """Produce and commit one shard on a rung, or say which rung to try next."""
        try:
            return self._commit(work, rung, wanted)
        except torch.OutOfMemoryError as error:
            lower = smaller(rung, self._info, self._way(work), self._overlap(work))
            if lower is None:
                raise OutOfMemory(
                    f"shard {work.shard.name}: the device ran out of memory at {work.width}x{work.height}"
                    f" to {work.result[1]}x{work.result[0]}, with the smallest tile and without a network too. Free its"
                    " memory, or use another."
                ) from error
        except _NotNumbers as error:
            lower = sturdier(rung, self._info, self._device)
            if lower is None:
                raise PermanentError(
                    f"shard {work.shard.name}: {self._settings.model} made what is no number at frame {error.frame}, in"
                    f" {rung.precision} precision too. Its weights may be damaged: install them again, or use another"
                    " network."
                ) from error
        self._free_memory()  # only now that no traceback holds tensors any more
        return lower

    def _way(self, work: Work) -> Way:
        """What the network does for a shard's frames."""
        return way_to(self._info, work.height, work.width, work.result)

    def _overlap(self, work: Work) -> int:
        """What tiles discard at their inner edges, in pixels of what the network is given."""
        return self._way(work).given(self._settings.tile_overlap, work.height)

    def _free_memory(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _commit(self, work: Work, rung: Rung, wanted: Rung) -> Record:
        self._done_frames = 0
        began = time.perf_counter()
        store = Store(work.store)
        with store.temporary_folder() as folder:
            path = str(Path(folder) / "segment.mkv")
            seconds, gauge = self._produce(work, self._upscaler(rung, work), path)
            frames = work.shard.stop - work.shard.start
            if self._done_frames != frames:
                made = f"made {self._done_frames} of {frames} frames"
                raise PermanentError(f"shard {work.shard.name}: {self._settings.model} {made}. Use another network.")
            with Path(path).open("rb") as segment:
                digest = digest_of(segment)
            store.put_file(path, segment_place(work.shard.key, digest.sha256), move=True, digest=digest)
        seconds["total"] = time.perf_counter() - began
        _LOG.info(
            "shard %s: %d pictures, %d before and %d after them; %s", work.shard.name, frames, work.shard.warm_up,
            work.shard.look_ahead, ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()),
        )  # fmt: skip
        record = Record(
            key=work.shard.key,
            sha256=digest.sha256,
            size=digest.size,
            frames=frames,
            fidelity=round(gauge.lowest, 3),
            least_alike=gauge.frame,
            seconds={name: round(value, 4) for name, value in seconds.items()},
            worker=self.name,
            rung=rung.number(wanted),
            made=rung.words(
                wanted if self._settings.tile != "auto" else replace(wanted, tile=0, offload=self._offload)
            ),
            software=software_versions(),
            light=gauge.light,
        )
        return commit(work.shard, record, store)

    def _upscaler(self, rung: Rung, work: Work) -> Upscaler:
        """The network as a rung wants it."""
        if rung.classical:
            self._network = self._loaded = None
            return lanczos(self._device)
        network = self._load(rung)
        if not rung.tile:
            return network
        return TiledUpscaler(network, rung.tile, min(self._overlap(work), rung.tile // 5), park=rung.offload)

    def _load(self, rung: Rung) -> Upscaler:
        """The network in a rung's precision and place; the one before is let go first."""
        weights = Rung(precision=rung.precision, offload=rung.offload)
        if self._network is None or self._loaded != weights:
            self._network = None
            settings = self._settings.model_settings + ((OFFLOAD, True),) * rung.offload
            placement = Placement(str(self._device), rung.precision, settings)
            self._network, self._loaded = self._entry.load(placement), weights
        return self._network

    def _produce(self, work: Work, upscaler: Upscaler, path: str) -> tuple[dict[str, float], Gauge]:
        """Write the segment file; returns busy seconds a stage, and what was measured of its frames."""
        busy = {"decode": 0.0, "model": 0.0, "write": 0.0}
        chunk = max(1, min(_CHUNK_FRAMES, _CHUNK_PIXELS // math.prod(self._way(work).made)))
        with open_source(work.source, work.shard.name) as source, Stages(capacity=2 * chunk) as stages:
            decoded = stages.produce(
                timed(read_pictures(source, work.stream, work.layout, work.window, work.recipe), busy, "decode")
            )
            finished = stages.consume(lambda frames: self._write(work, path, frames, busy))
            gauge = Gauge(work)
            for planes in self._run(work, upscaler, decoded, chunk, gauge, busy):
                finished(planes)
        return busy, gauge

    @torch.inference_mode()
    def _run(
        self, work: Work, upscaler: Upscaler, decoded: Iterator[Planes], chunk: int, gauge: Gauge,
        busy: dict[str, float],
    ) -> Iterator[Planes]:  # fmt: skip
        """Planes in, upscaled planes out, warm-up frames dropped and nothing made beyond the shard's end."""
        stream = stream_to(upscaler, work.height, work.width, work.result, work.seed, _first_fed(work))
        if work.hdr and work.hdr.shots:
            stream = HdrUpscaler(upscaler, work.colour.transfer, work.hdr.shots).around(stream, _first_fed(work))
        position = fed = _first_fed(work)  # title's numbers of the next frames to come out and to go in
        finished: _Finished | None = None
        alpha = AlphaPath(work.layout, work.target_layout, work.result, self._device) if work.layout.alpha else None

        def begin(out_T3HW: torch.Tensor) -> _Finished:
            nonlocal position
            unwanted = min(max(work.shard.start - position, 0), out_T3HW.shape[0])
            position += unwanted
            wanted_T3HW = out_T3HW[unwanted:][: work.shard.stop - position]
            made = _Finished(wanted_T3HW, position, work, gauge, alpha)
            position += len(wanted_T3HW)
            return made

        for batch in _batches(decoded, chunk, _first_fed(work), work.cuts):
            began = time.perf_counter()
            if position >= work.shard.stop:
                continue  # what was looked ahead is decoded to its end, which proves the source is still the same
            if fed in work.cuts and isinstance(stream, Resettable):
                stream.reset()
            shown = [cut_off(planes, work.layout, work.bars) for planes in batch]
            source_T3HW = to_rgb(shown, work.layout, work.colour, self._device)
            if work.hdr and work.hdr.tone:
                source_T3HW = to_sdr(source_T3HW, work.colour.transfer, work.colour.primaries, work.hdr.tone)
            gauge.remember(source_T3HW, fed)
            if alpha:
                alpha.remember(shown, fed)
            fed += len(batch)
            # Fetched only when the next are under way: a GPU then never waits for the host.
            before, finished = finished, begin(stream.push(source_T3HW))
            planes = before.planes() if before else []
            busy["model"] += time.perf_counter() - began
            yield from planes
        began = time.perf_counter()
        planes = finished.planes() if finished else []
        if position < work.shard.stop:
            planes += begin(stream.finish()).planes()
        busy["model"] += time.perf_counter() - began
        yield from planes

    def _write(self, work: Work, path: str, frames: Iterator[Planes], busy: dict[str, float]) -> None:
        restored = work.restored
        height = work.result[0] + restored.top + restored.bottom
        width = work.result[1] + restored.left + restored.right
        threads = self._first.threads
        with SegmentWriter(path, height, width, work.target_layout, work.shard.start, threads) as writer:
            for planes in frames:
                began = time.perf_counter()
                writer.write(planes)
                self._done_frames += 1
                self._told()
                busy["write"] += time.perf_counter() - began


class _Finished:
    """Finished frames on their way to the host, with what is to be known of them."""

    def __init__(
        self, frames_T3HW: torch.Tensor, first: int, work: Work, gauge: Gauge, alpha: AlphaPath | None
    ) -> None:
        """Take frames of the title from number `first` on."""
        self._first, self._work, self._gauge, self._coming = first, work, gauge, None
        if len(frames_T3HW):
            self._sampled, errors, light = gauge.measured(frames_T3HW, first)
            finite = torch.isfinite(frames_T3HW).all()
            codes = to_codes(frames_T3HW, work.target_layout, work.target_colour, first)
            if work.hdr and work.hdr.shots:
                codes = without_overshoot(codes, frames_T3HW, work.target_layout, work.target_colour)
            if alpha:
                codes.append(alpha.codes(first, len(frames_T3HW)))
            self._coming = ToHost([finite, errors, light, *codes])

    def planes(self) -> list[Planes]:
        """The frames, once they are there."""
        if self._coming is None:
            return []
        finite, errors, light, *codes = self._coming.wait()
        if not bool(finite):
            raise _NotNumbers(self._first)
        self._gauge.note(self._sampled, errors.tolist(), light.tolist())
        work = self._work
        return [put_back(planes, work.target_layout, work.target_colour, work.restored) for planes in planes_of(codes)]


class _NotNumbers(Exception):
    """A finished frame holds infinities or worse."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


def _first_fed(work: Work) -> int:
    """The title's number of the first picture the network is given."""
    return work.shard.start - work.shard.warm_up


def _batches(items: Iterator[Planes], size: int, first: int, cuts: tuple[int, ...]) -> Iterator[list[Planes]]:
    """Groups of at most `size` consecutive frames that never span the beginning of a shot."""
    batch: list[Planes] = []
    for position, item in enumerate(items, first):
        if batch and (len(batch) == size or position in cuts):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
