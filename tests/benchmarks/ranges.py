"""Finishing a title whose picture one encoder encodes, and two at once: how much sooner it is done, and at what cost.

Segments are made once. Each figure is from a process of its own, in turns; the best of each is taken.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from tasks.finish import finish_title
from tasks.plan import plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tasks.upscale import done_record
from tests.benchmarks.common import child, memory, report, scratch
from tests.clips import Clip, make

_CLIP = Clip(frames=96, rate=Fraction(24), width=320, height=180, grain=4.0)
_SCALE, _SHARD = 4, 24
_CODECS = ("h265", "prores", "ffv1")


def main() -> None:
    """Make a film and its segments, then finish it in one range and in two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codecs", nargs="+", default=_CODECS)
    parser.add_argument("--ranges", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--finish", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.finish:
        folder, codec, ranges = options.finish
        print(json.dumps(_finish(Path(folder), codec, int(ranges))))
        return
    with scratch() as folder:
        make(folder / "films" / "film.mkv", _CLIP)
        for codec in options.codecs:
            _finish(folder, codec, 1)  # its segments
            taken: dict[int, list[dict[str, Any]]] = {ranges: [] for ranges in options.ranges}
            for _ in range(options.rounds):
                for ranges, results in taken.items():
                    results.append(child("ranges", "--finish", folder, codec, ranges))
            best = {ranges: min(results, key=lambda each: each["seconds"]) for ranges, results in taken.items()}
            alone = best[options.ranges[0]]["seconds"]
            words = "; ".join(
                f"in {ranges}: {one['seconds']:.1f} s ({alone / one['seconds']:.2f} times as fast),"
                f" {one['cpu']:.1f} s of CPU, peak {one['mb']:.0f} MB"
                for ranges, one in best.items()
            )
            report("ranges", {"codec": codec, "best": best}, f"{codec} {words}")


def _finish(folder: Path, codec: str, ranges: int) -> dict[str, float]:
    settings = {"scale": _SCALE, "shards.frames": _SHARD, "shards.cut_score": 100.0, "master.codec": codec}
    profile = read_profile(None, settings | {"master.ranges": ranges, "check.picture": "off"})
    store, output = Store(str(folder / "work")), Store(str(folder / "masters"))
    (title,) = scan(str(folder / "films"), output.root, profile)
    plan = plan_title(title, profile, store)
    records = [done_record(work.shard, store) for work in plan.work]
    if None in records:
        worker = ShardWorker(WorkerSettings(profile.model))
        records = [worker.upscale(work) for work in plan.work]
    began, worked = time.perf_counter(), time.process_time()
    finish_title(plan, profile, [each for each in records if each], store, output, lambda frames: None, lambda: None)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    shutil.rmtree(output.root)
    return {"seconds": seconds, "cpu": cpu, "mb": memory("VmHWM")}


if __name__ == "__main__":
    sys.exit(main())
