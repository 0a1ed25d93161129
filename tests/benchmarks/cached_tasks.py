"""3,000 shards that are done already, through the `remaster` command and a real Prefect server. Target: under 60 s.

First with a Prefect that has never heard of them (as after moving a store, or to a new server): the task body finds the
record. Then again, when Prefect files them as `Cached`. Either way each segment's hash is proven.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from flows import environment
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.writing.segment import SegmentWriter
from tasks.plan import Plan, plan_title
from tasks.profile import Profile, read_profile
from tasks.records import Record, Work, segment_place, to_json
from tasks.scan import scan
from tasks.store import Store, digest_of
from tests.benchmarks.common import prefect_server, remaster, report, scratch
from tests.clips import Clip, make

TARGET_SECONDS = 60.0
_SIDE, _FRAMES_PER_SHARD = 64, 2
_SETTINGS = {
    "model": "lanczos",
    "scale": 1,
    "shards.frames": _FRAMES_PER_SHARD,
    "shards.cut_score": 100.0,
    "check.fidelity": 0.0,
    "master.preset": "ultrafast",
}


def main() -> None:
    """Build a store of finished shards, run over it twice, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=3000)
    shards = parser.parse_args().shards
    environment.prepare()
    with scratch() as folder:
        profile = read_profile(None, dict(_SETTINGS))
        library, output = folder / "library", folder / "masters"
        make(library / "title.mkv", Clip(frames=shards * _FRAMES_PER_SHARD, width=_SIDE, height=_SIDE, audio=""))
        _finish_all_shards(library, output, profile)
        options = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        figures: dict[str, Any] = {"shards": shards}
        with prefect_server(folder / "server") as api:
            for kind, state in (("resumed", "Completed"), ("cached", "Cached")):
                begun = time.time()
                run = remaster("run", library, output, *options, home=folder, env={"PREFECT_API_URL": api})
                seconds = _task_seconds(api, begun, shards, state)
                recorded = time.time() - run.ended
                stages = [run.when(f"title.mkv: {word}") for word in ("planning", "finishing", "checking", "done")]
                plan_and_shards, finish, check = (b - a for a, b in pairwise(stages))
                figures[kind] = {
                    "seconds": round(seconds, 1),
                    "ms_per_task": round(1000 * seconds / shards, 2),
                    "plan_and_shards": round(plan_and_shards, 1),
                    "finish": round(finish, 1),
                    "check": round(check, 1),
                    "command": round(run.seconds, 1),
                    "recorded_after": round(recorded, 1),
                }
        figures["target_seconds"] = TARGET_SECONDS
    resumed, cached = figures["resumed"], figures["cached"]
    report(
        "cached_tasks",
        figures,
        f"{shards} shards: {cached['seconds']} s as Prefect's cache hits ({cached['ms_per_task']} ms each),"
        f" {resumed['seconds']} s when Prefect does not know them yet; whole command {cached['command']} s and"
        f" {resumed['command']} s; target under {TARGET_SECONDS:.0f} s",
    )


def _finish_all_shards(library: Path, output: Path, profile: Profile) -> None:
    """Leave what workers leave: a real segment with its hash in a record, for every shard. The picture is gray."""
    store = Store(str(output / ".remaster"))
    store.check_writable()
    (title,) = scan(str(library), str(output), profile)
    plan: Plan = plan_title(title, profile, store)
    for work in plan.work:
        _finish_shard(work, store)


def _finish_shard(work: Work, store: Store) -> None:
    shard, layout = work.shard, work.target_layout
    height, width = work.result
    gray = _gray(layout, height, width)
    with store.temporary_folder() as folder:
        path = str(folder / "segment.mkv")
        with SegmentWriter(path, height, width, layout, shard.start, threads=1) as writer:
            for _ in range(shard.start, shard.stop):
                writer.write(gray)
        with open(path, "rb") as segment:
            digest = digest_of(segment)
        store.put_file(path, segment_place(shard.key, digest.sha256), move=True, digest=digest)
    record = Record(
        key=shard.key,
        sha256=digest.sha256,
        size=digest.size,
        frames=shard.stop - shard.start,
        fidelity=60.0,
        least_alike=shard.start,
        seconds={"decode": 0.0, "model": 0.0, "write": 0.0, "total": 0.0},
        worker="benchmark",
    )
    store.write(shard.record, to_json(record))


def _gray(layout: Layout, height: int, width: int) -> Planes:
    return tuple(np.full(shape, 1 << (layout.depth - 1), layout.dtype) for shape in layout.plane_shapes(height, width))


def _task_seconds(api: str, begun: float, shards: int, state: str) -> float:
    """From the first shard task's start to the last one's end: the times are the run's own, kept by the server."""
    since = datetime.fromtimestamp(begun).astimezone().isoformat()
    wanted = {
        "task_runs": {"name": {"like_": "shard "}, "state": {"name": {"any_": [state]}}},
        "flow_runs": {"expected_start_time": {"after_": since}},
    }
    # The server is told by events and writes them down in its own time.
    deadline = time.monotonic() + 600
    while (known := _ask(api, "task_runs/count", wanted)) < shards:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{known} of {shards} shard tasks are {state}")
        time.sleep(2)
    runs: list[dict[str, Any]] = []
    while len(runs) < shards:
        runs += _ask(api, "task_runs/filter", {**wanted, "limit": 200, "offset": len(runs), "sort": "ID_DESC"})
    starts = [datetime.fromisoformat(run["start_time"] or run["end_time"]) for run in runs]
    ends = [datetime.fromisoformat(run["end_time"]) for run in runs]
    return (max(ends) - min(starts)).total_seconds()


def _ask(api: str, route: str, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{api}/{route}", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
