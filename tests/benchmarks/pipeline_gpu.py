"""`python -m tests.benchmarks.pipeline_gpu OUT`: a worker's speed on a GPU, and what it does when memory runs out.

A minute of film is made, planned, and run through the class that Ray's actors are, plainly: decoded, converted,
upscaled by FlashVSR (with the weights that are installed, or random ones), converted back and written to lossless
segments in a store on disk; and those made into a master of each codec. The model alone is measured in the same process
before. Then two seconds of it again with too little memory, in processes of their own whose PyTorch is told to fail
above a share of it: the ladder must get them made. With `--gpus N` a film of four shards is instead shared by a worker
on each of 1 to N GPUs. Writes `pipeline.json` into OUT.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from tasks.errors import OutOfMemory
from tasks.finish import finish_title
from tasks.plan import Plan, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import Profile, read_profile
from tasks.records import Record
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from vsr_model import registry
from vsr_model.contract import ModelEntry, ModelRef, Placement
from vsr_model.flashvsr.models import entry, load_random
from vsr_model.measure import measure

MODEL = "flashvsr-v1.1"
CODECS = ("ffv1", "h264")
SHARDS, LENGTH = 4, 480  # of a film that several GPUs share: so many shards of so many frames


def with_some_weights() -> ModelEntry:
    """The registry's row of the model; with random weights, as if they were installed, where none are."""
    real = entry(MODEL)
    if real.missing and not real.missing():
        return real
    return replace(
        real, reference=lambda: ModelRef(MODEL, "random", 0), load=lambda placement: load_random(MODEL, placement),
        missing=None,
    )  # fmt: skip


def planned(clip: Path, profile: Profile, store: str) -> Plan:
    """The one title in the clip's folder, in shards."""
    (title,) = scan(str(clip), str(clip.parent / "out"), profile)
    return plan_title(title, profile, Store(store))


def run(plan: Plan, worker: ShardWorker) -> tuple[dict[str, Any], list[Record]]:
    """Every shard, one after the other, and where the time went."""
    began = time.perf_counter()
    records = [worker.upscale(work) for work in plan.work]
    seconds = time.perf_counter() - began
    busy: Counter[str] = Counter()
    for record in records:
        busy.update(record.seconds)
    frames = sum(record.frames for record in records)
    fed = sum(shard.warm_up + shard.stop - shard.start + shard.look_ahead for shard in plan.shards)
    found = {
        "shards": len(records), "frames": frames, "with warm-up": fed, "seconds": round(seconds, 2),
        "fps": round(frames / seconds, 2), "busy": {name: round(value, 2) for name, value in busy.items()},
        "made": sorted({(record.rung, record.made) for record in records}),
    }  # fmt: skip
    return found, records


def master(film: Path, scale: int, codec: str, records: list[Record], store: str) -> float:
    """Seconds that a film's master takes whose shards are made."""
    profile = read_profile(None, {"model": MODEL, "scale": scale, "master.codec": codec})
    plan, output = planned(film, profile, store), Store(f"{store}-{codec}")
    began = time.perf_counter()
    finish_title(plan, profile, records, Store(store), output, lambda frames: None, lambda: None)
    return round(time.perf_counter() - began, 2)


def with_little(gigabytes: float, film: Path, profile: Profile, store: str) -> dict[str, Any]:
    """What becomes of a film in a process that may use so much of the device's memory."""
    registry._BUILT_IN[MODEL] = with_some_weights
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        worker = ShardWorker(WorkerSettings(MODEL, profile.precision))
        loaded = torch.cuda.max_memory_allocated()
        found, _ = run(planned(film, profile, store), worker)
    except OutOfMemory as error:
        return {"error": str(error)}
    most = torch.cuda.max_memory_reserved()
    return found | {"GB to load": round(loaded / 1e9, 2), "GB at most": round(most / 1e9, 2)}


class OnOneGpu:
    """A worker in a process of its own that sees one GPU only, as Ray gives it to an actor."""

    def __init__(self, number: int, settings: WorkerSettings) -> None:
        self._apart = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_see_one, initargs=(number, settings)
        )

    def begin(self, plan: Plan) -> Future[int]:
        """Make every shard; the number of frames comes back."""
        return self._apart.submit(_make_all, plan)

    def end(self) -> None:
        """Give the GPU back."""
        self._apart.shutdown()


_worker: ShardWorker  # of a process that has one GPU


def _see_one(number: int, settings: WorkerSettings) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(number)  # read when CUDA is first asked for anything
    registry._BUILT_IN[MODEL] = with_some_weights
    global _worker
    _worker = ShardWorker(settings)


def _make_all(plan: Plan) -> int:
    return sum(record.frames for record in run(plan, _worker)[1])


def shared(gpus: int, plan: Plan, warm: Plan, settings: WorkerSettings) -> float:
    """Frames a second of workers on so many GPUs that take the shards of a film in turns."""
    workers = [OnOneGpu(number, settings) for number in range(gpus)]
    for ready in [worker.begin(warm) for worker in workers]:
        ready.result()
    began = time.perf_counter()
    parts = [replace(plan, work=plan.work[n::gpus]) for n in range(gpus)]
    frames = sum(made.result() for made in [worker.begin(part) for worker, part in zip(workers, parts, strict=True)])
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.end()
    return round(frames / seconds, 2)


def on_several(gpus: int, height: int, width: int, scale: int) -> dict[int, float]:
    """Frames a second by number of GPUs."""
    profile = read_profile(None, {"model": MODEL, "scale": scale, "shards.frames": LENGTH})
    settings = WorkerSettings(MODEL, profile.precision)
    clip = Clip(SHARDS * LENGTH, width, height, rate=Fraction(24), audio="", options=(("preset", "ultrafast"),))
    with tempfile.TemporaryDirectory() as folder:
        film = make(Path(folder) / "film" / "film.mkv", clip)
        short = make(Path(folder) / "warm" / "warm.mkv", replace(clip, frames=64))
        warm = planned(short, profile, f"{folder}/warm-store")
        return {n: shared(n, planned(film, profile, f"{folder}/{n}"), warm, settings) for n in range(1, gpus + 1)}


def write(found: dict[str, Any], out: Path) -> None:
    """Keep the figures."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "pipeline.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    """Make, measure, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="360x640", help="rows and columns of a source frame")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--frames", type=int, default=1440)
    parser.add_argument("--gpus", type=int, default=0)
    too_little = [10.0, 7.0, 5.0, 3.0]
    parser.add_argument("--memory", type=float, nargs="*", default=too_little, help="GB that shall not suffice")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    registry._BUILT_IN[MODEL] = with_some_weights
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    if arguments.gpus:
        found["shared"] = on_several(arguments.gpus, height, width, arguments.scale)
        print(json.dumps(found, indent=1))
        write(found, arguments.out)
        return
    alone = load_random(MODEL, Placement("cuda", "bfloat16"))
    found["model alone"] = asdict(measure(alone, height, width, arguments.scale, 16))
    del alone
    with tempfile.TemporaryDirectory() as folder:
        profile = read_profile(None, {"model": MODEL, "scale": arguments.scale})
        settings = WorkerSettings(MODEL, profile.precision)
        clip = Clip(arguments.frames, width, height, rate=Fraction(24), audio="", options=(("preset", "ultrafast"),))
        film = make(Path(folder) / "film" / "film.mkv", clip)
        began = time.perf_counter()
        plan = planned(film, profile, folder + "/store")
        found["plan"] = round(time.perf_counter() - began, 2)
        worker = ShardWorker(settings)
        worker.upscale(planned(make(Path(folder) / "warm" / "warm.mkv", replace(clip, frames=64)), profile,
                               folder + "/warm-store").work[0])  # fmt: skip
        found["worker"], records = run(plan, worker)
        found["share"] = round(found["worker"]["fps"] / found["model alone"]["fps"], 4)
        found["masters"] = {codec: master(film, arguments.scale, codec, records, folder + "/store") for codec in CODECS}
        print(json.dumps(found, indent=1), flush=True)
        del worker
        torch.cuda.empty_cache()
        short = make(Path(folder) / "short" / "short.mkv", replace(clip, frames=48))
        for gigabytes in arguments.memory:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
                row = apart.submit(with_little, gigabytes, short, profile, f"{folder}/store-{gigabytes}").result()
            found[f"with {gigabytes} GB"] = row
            print(gigabytes, json.dumps(row), flush=True)
    write(found, arguments.out)


if __name__ == "__main__":
    main()
