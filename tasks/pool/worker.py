"""Turning one shard into one segment: decode, upscale and write at the same time, then commit.

Plain Python: no Ray and no Prefect, so it can be run and timed by itself. Three threads hand over through bounded
queues, so memory depends on the size of a frame and not on the length of a shard or title.

Shape suffixes: T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import gc
import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F

from tasks.commit import commit
from tasks.errors import OutOfMemory, PermanentError
from tasks.media.bars import cut_off, put_back
from tasks.media.colour import to_planes, to_rgb
from tasks.media.pixels import Planes
from tasks.media.read import read_pictures
from tasks.media.segment import SegmentWriter
from tasks.pool.ladder import Rung, Size, asked, smaller, sturdier
from tasks.pool.stages import Stages, timed
from tasks.records import Record, Work, segment_place
from tasks.software import software_versions
from tasks.sources import open_source
from tasks.store import Store, digest_of
from vsr_model import registry
from vsr_model.classical import lanczos
from vsr_model.contract import OFFLOAD, Placement, Resettable, Upscaler
from vsr_model.tiling import TiledUpscaler

# Bumped when the same frames would be upscaled to others for a reason no other version covers.
UPSCALE_VERSION = 1
# Frames converted and pushed at a time, bounded by output pixels so that large pictures do not pile up.
_CHUNK_FRAMES, _CHUNK_PIXELS = 8, 32 << 20
_FIDELITY_EVERY = 8


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker loads once.

    Attributes:
        model: registry name or path of a weights file.
        precision: "auto", "float32", "bfloat16" or "float16".
        tile: side of a tile in source pixels; 0: whole frames; "auto": as large as memory allows.
        tile_overlap: source pixels discarded at each inner edge of a tile.
        model_settings: of the network, by name.
        threads: for arithmetic and for codecs on the CPU; 0: torch's and FFmpeg's own choice.
    """

    model: str
    precision: str = "auto"
    tile: int | Literal["auto"] = 0
    tile_overlap: int = 16
    model_settings: tuple[tuple[str, str | int | float | bool], ...] = ()
    threads: int = 0


class ShardWorker:
    """Holds one network on one device and runs shards through it, one at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        self._settings = settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._entry = registry.find(settings.model)
        self._weights_hash, self._info = self._entry.reference().weights_hash, self._entry.info
        self._network: Upscaler | None = None
        self._loaded: Rung | None = None
        self._offload = bool(dict(settings.model_settings).get(OFFLOAD))
        self._load(Rung(precision=settings.precision, offload=self._offload))
        self._wanted: dict[Size, Rung] = {}  # that frames of a size begin with
        self._rungs: dict[Size, Rung] = {}  # that they were last made on
        threads = settings.threads or torch.get_num_threads()
        torch.set_num_threads(max(1, threads // 2) if self._info.light else threads)
        self._done_frames = 0
        self.name = f"{socket.gethostname()}:{os.getpid()}:{self._device.type}"

    @property
    def done_frames(self) -> int:
        """Frames of the shard in hand that are written so far."""
        return self._done_frames

    def upscale(self, work: Work) -> Record:
        """Produce and commit one shard, on a lower rung (see `ladder`) if it cannot be done as asked.

        Raises:
            SourceError, SourceChanged: the source is not what was planned.
            StoreError: the store cannot be read or written.
            OutOfMemory: the device's memory does not even suffice for a classical resize.
            PermanentError: other weights than planned, frames lost, or numbers that overflow in every precision.
        """
        if work.weights_hash != self._weights_hash:
            raise PermanentError(
                f"shard {work.shard.name}: {self._settings.model} does not hold the weights it was planned with, here"
                f" on {self.name}. Have the same file on every node, leave it alone during a run, then run again."
            )
        size = (work.height, work.width, work.scale)
        if size not in self._wanted:  # once: how much memory is free changes
            first = Rung(precision=self._settings.precision, offload=self._offload)
            self._wanted[size] = asked(first, self._settings.tile, self._info, size, self._device)
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

    def _try(self, work: Work, rung: Rung, wanted: Rung) -> Record | Rung:
        """Produce and commit one shard on a rung, or say which rung to try next."""
        try:
            return self._commit(work, rung, wanted)
        except torch.OutOfMemoryError as error:
            lower = smaller(rung, self._info, (work.height, work.width, work.scale))
            if lower is None:
                raise OutOfMemory(
                    f"shard {work.shard.name}: the device ran out of memory at {work.width}x{work.height}"
                    f" x{work.scale}, with the smallest tile and without a network too. Free its memory, or use"
                    " another."
                ) from error
        except _NotNumbers as error:
            lower = sturdier(rung, self._info, self._device)
            if lower is None:
                raise PermanentError(
                    f"shard {work.shard.name}: {self._settings.model} made what is no number at frame {error.frame}, in"
                    f" {rung.precision} precision too. Its weights may be damaged: install them again, or use another"
                    " network."
                ) from error
        # Only now that no traceback holds tensors any more.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return lower

    def _commit(self, work: Work, rung: Rung, wanted: Rung) -> Record:
        self._done_frames = 0
        began = time.perf_counter()
        store = Store(work.store)
        with store.temporary_folder() as folder:
            path = str(Path(folder) / "segment.mkv")
            seconds, fidelity, least_alike = self._produce(work, self._upscaler(rung), path)
            frames = work.shard.stop - work.shard.start
            if self._done_frames != frames:
                made = f"made {self._done_frames} of {frames} frames"
                raise PermanentError(f"shard {work.shard.name}: {self._settings.model} {made}. Use another network.")
            with Path(path).open("rb") as segment:
                digest = digest_of(segment)
            store.put_file(path, segment_place(work.shard.key, digest.sha256), move=True, digest=digest)
        seconds["total"] = time.perf_counter() - began
        record = Record(
            key=work.shard.key,
            sha256=digest.sha256,
            size=digest.size,
            frames=frames,
            fidelity=round(fidelity, 3),
            least_alike=least_alike,
            seconds={name: round(value, 4) for name, value in seconds.items()},
            worker=self.name,
            rung=rung.number(wanted),
            made=rung.words(wanted if self._settings.tile != "auto" else replace(wanted, tile=0)),
            software=software_versions(),
        )
        return commit(work.shard, record, store)

    def _upscaler(self, rung: Rung) -> Upscaler:
        """The network as a rung wants it."""
        if rung.classical:
            self._network = self._loaded = None
            return lanczos(self._device)
        network = self._load(rung)
        if not rung.tile:
            return network
        overlap = min(self._settings.tile_overlap, rung.tile // 5)
        return TiledUpscaler(network, rung.tile, overlap, park=rung.offload)

    def _load(self, rung: Rung) -> Upscaler:
        """The network in a rung's precision and place; the one before is let go first."""
        weights = Rung(precision=rung.precision, offload=rung.offload)
        if self._network is None or self._loaded != weights:
            self._network = None
            settings = self._settings.model_settings + ((OFFLOAD, True),) * rung.offload
            placement = Placement(str(self._device), rung.precision, settings)
            self._network, self._loaded = self._entry.load(placement), weights
        return self._network

    def _produce(self, work: Work, upscaler: Upscaler, path: str) -> tuple[dict[str, float], float, int]:
        """Write the segment file; returns busy seconds a stage, the lowest fidelity and its frame."""
        busy = {"decode": 0.0, "model": 0.0, "write": 0.0}
        chunk = max(1, min(_CHUNK_FRAMES, _CHUNK_PIXELS // (work.height * work.width * work.scale**2)))
        with open_source(work.source, work.shard.name) as source, Stages(capacity=2 * chunk) as stages:
            decoded = stages.produce(
                timed(read_pictures(source, work.stream, work.layout, work.window, work.cadence), busy, "decode")
            )
            finished = stages.consume(lambda frames: self._write(work, path, frames, busy))
            gauge = _Fidelity(work)
            for planes in self._run(work, upscaler, decoded, chunk, gauge, busy):
                finished(planes)
        return busy, gauge.lowest, gauge.frame

    @torch.inference_mode()
    def _run(
        self, work: Work, upscaler: Upscaler, decoded: Iterator[Planes], chunk: int, gauge: _Fidelity,
        busy: dict[str, float],
    ) -> Iterator[Planes]:  # fmt: skip
        """Planes in, upscaled planes out, warm-up frames dropped and nothing made beyond the shard's end."""
        stream = upscaler.stream(work.height, work.width, work.scale, work.seed, _first_fed(work))
        position = _first_fed(work)  # title's number of the next frame to come out
        fed = _first_fed(work)
        restored = work.restored.times(work.scale)

        def emit(out_T3HW: torch.Tensor) -> Iterator[Planes]:
            nonlocal position
            unwanted = min(max(work.shard.start - position, 0), out_T3HW.shape[0])
            position += unwanted
            gauge.skip_to(position)
            wanted_T3HW = out_T3HW[unwanted:][: work.shard.stop - position]
            if wanted_T3HW.shape[0]:
                if not bool(torch.isfinite(wanted_T3HW).all()):
                    raise _NotNumbers(position)
                gauge.compare(wanted_T3HW)
                planes = to_planes(wanted_T3HW, work.target_layout, work.target_colour, position)
                position += len(planes)
                for whole in planes:
                    yield put_back(whole, work.target_layout, work.target_colour, restored)

        for batch in _batches(decoded, chunk, _first_fed(work), work.cuts):
            began = time.perf_counter()
            if position >= work.shard.stop:
                continue  # what was looked ahead is decoded to its end, which proves the source is still the same
            if fed in work.cuts and isinstance(stream, Resettable):
                stream.reset()
            shown = [cut_off(planes, work.layout, work.bars) for planes in batch]
            source_T3HW = to_rgb(shown, work.layout, work.colour, self._device)
            gauge.remember(source_T3HW, fed)
            fed += len(batch)
            finished = list(emit(stream.push(source_T3HW)))
            busy["model"] += time.perf_counter() - began
            yield from finished
        if position < work.shard.stop:
            began = time.perf_counter()
            finished = list(emit(stream.finish()))
            busy["model"] += time.perf_counter() - began
            yield from finished

    def _write(self, work: Work, path: str, frames: Iterator[Planes], busy: dict[str, float]) -> None:
        restored = work.restored
        height = (work.height + restored.top + restored.bottom) * work.scale
        width = (work.width + restored.left + restored.right) * work.scale
        threads = self._settings.threads
        with SegmentWriter(path, height, width, work.target_layout, work.shard.start, threads) as writer:
            for planes in frames:
                began = time.perf_counter()
                writer.write(planes)
                self._done_frames += 1
                busy["write"] += time.perf_counter() - began


class _Fidelity:
    """Lowest PSNR of output frames, averaged down to the source's size, against the source; a sample of frames.

    Catches a network that went wrong (black, shifted, garbled frames) for the price of a reduction; it does not judge
    beauty.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sources: dict[int, torch.Tensor] = {}
        self._position = _first_fed(work)
        self.lowest = math.inf
        self.frame = work.shard.start

    def _sampled(self, frame: int) -> bool:
        shard = self._work.shard
        return frame >= shard.start and ((frame - shard.start) % _FIDELITY_EVERY == 0 or frame == shard.stop - 1)

    def remember(self, source_T3HW: torch.Tensor, first: int) -> None:
        for t in range(source_T3HW.shape[0]):
            if self._sampled(first + t):
                self._sources[first + t] = source_T3HW[t]

    def skip_to(self, frame: int) -> None:
        self._position = frame

    def compare(self, out_T3HW: torch.Tensor) -> None:
        for t in range(out_T3HW.shape[0]):
            source_3HW = self._sources.pop(self._position + t, None)
            if source_3HW is not None:
                reduced = F.avg_pool2d(out_T3HW[t].float(), self._work.scale)
                error = float((reduced - source_3HW).square().mean())
                psnr = min(-10.0 * math.log10(max(error, 1e-12)), 120.0) if math.isfinite(error) else 0.0
                if psnr < self.lowest:
                    self.lowest, self.frame = psnr, self._position + t


class _NotNumbers(Exception):
    """A finished frame holds infinities or worse."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


def _first_fed(work: Work) -> int:
    """The title's number of the first frame the network is given."""
    return work.window.start + work.window.before


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
