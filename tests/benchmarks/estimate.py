"""`python -m tests.benchmarks.estimate CLIP...`: what `remaster plan` says of each clip, against what a run then takes.

Each clip is a library of its own: one after the other, as a machine of few cores would have them. With
`--processor-time` the stages themselves are run, and what they and the plan take is seconds of the processor: what can
be compared on a machine that others use too.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.cli import _settings
from tasks.estimate import estimate, forecast
from tasks.finish import finish_title
from tasks.plan import network_of, plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings, sharing
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.benchmarks.common import remaster, report, scratch

_PARTS = {"gpu_hours": "GPU hours", "store_bytes": "store", "master_bytes": "master", "hours": "done in"}


def planned(library: Path, folder: Path, settings: list[str]) -> tuple[dict[str, Any], float]:
    """The row of the clip, and how many seconds it took to know it."""
    began = time.time()
    remaster("plan", library, "--output", folder / "out", "--workers", 1, *settings, home=folder)
    (table,) = (folder / "out" / ".remaster" / "estimates").glob("*.parquet")
    return pq.read_table(table).to_pylist()[0], time.time() - began


def taken(library: Path, folder: Path, settings: list[str]) -> dict[str, float]:
    """The same figures of a run, from its ledger and its files."""
    remaster("run", library, folder / "out", "--workers", 1, *settings, home=folder)
    (run,) = (folder / "out" / ".remaster" / "runs").iterdir()
    ledger = pq.read_table(run / "ledger.parquet").to_pylist()
    (master,) = (path for path in (folder / "out").iterdir() if path.stem == library.stem)
    ended = (run / "verdict.json").stat().st_mtime
    return {
        "gpu_hours": sum(row["seconds"] for row in ledger) / 3600,
        "store_bytes": sum(row["bytes"] for row in ledger),
        "master_bytes": master.stat().st_size,
        "hours": (ended - min(row["began"] for row in ledger).timestamp()) / 3600,
    }


def by_processor(clip: Path, folder: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """What is said of a clip, and what its shards and its master then take, without a server, Ray, check and report."""
    profile = read_profile(None, settings)
    store, output = Store(str(folder / "store")), Store(str(folder / "out"))
    store.check_writable()
    output.check_writable()
    (title,) = scan(str(clip), output.root, profile)
    plan = plan_title(title, profile, store)
    network = sharing(WorkerSettings(**vars(network_of(profile))), 1)
    known = forecast(plan, profile, store, output, ShardWorker(network).upscale)
    (said, _) = estimate([known], profile.cost, 1, 1)
    worker = ShardWorker(network)
    records = [worker.upscale(order) for order in plan.work]
    master = finish_title(plan, profile, records, store, output, lambda frames: None, lambda: None)
    seconds = sum(record.seconds["total"] for record in records)
    return asdict(said), {
        "gpu_hours": seconds / 3600,
        "store_bytes": sum(record.size for record in records),
        "master_bytes": master.size,
        "hours": (seconds + master.seconds) / 3600,
    }


def main() -> None:
    """Print a row for each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP", type=Path, nargs="+")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="of the profile")
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    if arguments.processor_time:
        time.perf_counter = time.process_time
    settings = [word for setting in arguments.set for word in ("--set", setting)]
    for clip in arguments.clips:
        with scratch() as folder:
            if arguments.processor_time:
                began = time.time()
                said, true = by_processor(clip, folder, _settings("--set", arguments.set))
                seconds = time.time() - began
            else:
                said, seconds = planned(clip, folder, settings)
                true = taken(clip, folder, settings)
        off = {name: said[name] / true[name] - 1 for name in _PARTS}
        figures = {
            "clip": clip.name,
            "frames": said["frames"],
            "sampled": said["sampled"],
            "wall_seconds": round(seconds),
        }
        figures |= {name: {"said": said[name], "true": true[name]} for name in _PARTS}
        line = ", ".join(f"{word} {off[name]:+.1%}" for name, word in _PARTS.items())
        report("estimate", figures, f"{clip.name}, {said['frames']} frames: {line}")


if __name__ == "__main__":
    main()
