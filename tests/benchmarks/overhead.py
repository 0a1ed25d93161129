"""One clip through `remaster run` and through a plain loop that decodes, resizes and encodes it in one process.

The loop uses the same model, conversions and encoder settings; it has no plan, segments, Prefect, Ray, hashes or
checks. Target: the pipeline takes at most 1.3 times as long, beyond a fixed start-up of at most 20 s on 2 cores.

Start-up is what does not grow with the clip: from the command's start to planning, from the plan's end to the first
shard's first frame (Ray, the network), and from the finished title to the command's end. All else counts as work.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from flows import environment
from flows.run import RunFiles, list_runs
from tasks.records import MasterRecord, Record, from_json
from tasks.store import Store
from tests.benchmarks.common import Lines, child, remaster, report, scratch
from tests.clips import Clip, make

TARGET_RATIO, TARGET_START_UP = 1.3, 20.0
_CODECS: dict[str, dict[str, Any]] = {
    "h265 medium": {"master.codec": "h265", "master.preset": "medium"},
    "h264 veryfast": {"master.codec": "h264", "master.preset": "veryfast"},
}


def main() -> None:
    """Loop, pipeline, loop again for each codec; the two loops show how steady the machine was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=24)
    parser.add_argument("--codec", choices=sorted(_CODECS), action="append")
    options = parser.parse_args()
    frames = options.seconds * options.rate
    environment.prepare()
    with scratch() as folder:
        cuts = tuple(range(97, frames, 97))
        clip = Clip(frames=frames, width=640, height=360, rate=Fraction(options.rate), cuts=cuts, gop=48)
        source = make(folder / "library" / "clip.mp4", clip)
        for codec in options.codec or _CODECS:
            _measure(codec, source, folder / codec.replace(" ", "-"))


def _measure(codec: str, source: Path, folder: Path) -> None:
    settings = {"model": "lanczos", "scale": 2, **_CODECS[codec]}
    folder.mkdir()
    order = [json.dumps(settings), source, folder / "plain.mp4"]
    before = child("overhead_plain", *order)
    flags = [f"--set={name}={value}" for name, value in settings.items()]
    run = remaster("run", source.parent, folder / "masters", *flags, home=folder.parent)
    after = child("overhead_plain", *order)
    plain = (before["seconds"] + after["seconds"]) / 2
    pipeline = _stages(run, Store(str(folder / "masters" / ".remaster")))
    work = run.seconds - pipeline.start_up
    ratio = work / plain
    figures = {
        "codec": codec,
        "plain": round(plain, 2),
        "plain_runs": [round(before["seconds"], 2), round(after["seconds"], 2)],
        "plain_stages": before["stages"],
        "command": round(run.seconds, 2),
        "start_up": round(pipeline.start_up, 2),
        "start_up_stages": pipeline.fixed,
        "work": round(work, 2),
        "work_stages": pipeline.work,
        "worker_busy": pipeline.busy,
        "ratio": round(ratio, 3),
        "target": {"ratio": TARGET_RATIO, "start_up": TARGET_START_UP},
    }
    where = ", ".join(f"{name} {seconds}" for name, seconds in pipeline.work.items())
    report(
        "overhead",
        figures,
        f"{codec}: {work:.1f} s of work against {plain:.1f} s in the plain loop: ratio {ratio:.2f} (target"
        f" {TARGET_RATIO}), start-up {pipeline.start_up:.1f} s (target {TARGET_START_UP:.0f}); work: {where}",
    )


@dataclass(frozen=True)
class _Stages:
    """Seconds of a run by stage: what is fixed, what grows with the clip, and what the worker's threads did."""

    fixed: dict[str, float]
    work: dict[str, float]
    busy: dict[str, float]

    @property
    def start_up(self) -> float:
        return sum(self.fixed.values())


def _stages(run: Lines, store: Store) -> _Stages:
    """Where a command's time went, from its own lines and the files it left."""
    (run_id,) = list_runs(store)
    files = RunFiles(store, run_id)
    (title,) = files.read_titles()
    rows = files.read_ledger()
    records = [from_json(Record, store.read(shard.record)) for shard in files.read_shards()]
    (master,) = [from_json(MasterRecord, store.read(key)) for key in store.list("masters")]
    planning, finishing, checking, done = (
        run.when(f"{title.name}: {word}") for word in ("planning", "finishing", "checking", "done")
    )
    planned = Path(store.uri(f"runs/{run_id}/shards.parquet/{title.id}.parquet")).stat().st_mtime
    upscaling = min(row.time - row.seconds for row in rows)
    fixed = {"to planning": planning - run.began, "workers": upscaling - planned, "end": run.ended - done}
    work = {
        "plan": planned - planning,
        "upscale": finishing - upscaling,
        "finish": checking - finishing,
        "check": done - checking,
    }
    busy = {stage: sum(record.seconds[stage] for record in records) for stage in records[0].seconds}
    busy["finish"] = master.seconds
    return _Stages(*({name: round(value, 2) for name, value in part.items()} for part in (fixed, work, busy)))


if __name__ == "__main__":
    sys.exit(main())
