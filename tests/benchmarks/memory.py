"""Peak memory of a worker on a 1-minute and on a 10-minute title. Target: within 10 % of each other.

Once cut into shards as usual, and once with each title as a single shard: neither length may show.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tasks.plan import plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.benchmarks.common import child, memory, report, scratch
from tests.clips import Clip, make

TARGET_RATIO = 1.1
_RATE, _WIDTH, _HEIGHT = 12, 160, 120
_MINUTES = (1, 10)


def main() -> None:
    """Make both titles, run each through a worker in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--title", help=argparse.SUPPRESS)
    parser.add_argument("--shard-frames", type=int, default=240, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.title:
        measure(Path(options.title), options.shard_frames)
        return
    with scratch() as folder:
        for minutes in _MINUTES:
            make(folder / f"{minutes}.mkv", Clip(frames=60 * minutes * _RATE, width=_WIDTH, height=_HEIGHT, audio=""))
        for kind, frames in (("shards of 240 frames", 240), ("one shard a title", 100_000)):
            short, long = (
                child("memory", "--title", folder / f"{minutes}.mkv", "--shard-frames", frames) for minutes in _MINUTES
            )
            _report(kind, short, long)


def _report(kind: str, short: dict[str, Any], long: dict[str, Any]) -> None:
    ratio = long["peak_mb"] / short["peak_mb"]
    figures = {"kind": kind, "short": short, "long": long, "ratio": round(ratio, 3), "target_ratio": TARGET_RATIO}
    report(
        "memory",
        figures,
        f"{kind}: {long['peak_mb']:.0f} MB on {_MINUTES[1]} minutes, {short['peak_mb']:.0f} MB on {_MINUTES[0]}:"
        f" ratio {ratio:.3f} (target {TARGET_RATIO})",
    )


def measure(source: Path, shard_frames: int) -> None:
    """Run every shard of a title through one worker; print its peak memory as JSON."""
    store = Store(str(source.with_suffix(f".{shard_frames}")))
    profile = read_profile(None, {"scale": 2, "shards.frames": shard_frames, "shards.cut_score": 100.0})
    (title,) = scan(str(source), str(source.parent / "masters"), profile)
    plan = plan_title(title, profile, store)
    worker = ShardWorker(WorkerSettings("lanczos"))
    loaded = memory("VmRSS")
    for work in plan.work:
        worker.upscale(work)
    figures = {
        "frames": len(plan.shown),
        "shards": len(plan.shards),
        "loaded_mb": loaded,
        "peak_mb": memory("VmHWM"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
