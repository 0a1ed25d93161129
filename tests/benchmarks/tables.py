"""200,000 shards planned, written and read back as tables. Targets: under 60 s and under 2 GB of memory.

Every title of the library is the same long film under another name, so that it is decoded once, before the clock runs;
all that planning does with a frame table, it does for every title.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from flows.run import RunFiles
from tasks.plan import plan_title
from tasks.profile import read_profile
from tasks.records import Title
from tasks.scan import scan
from tasks.store import Store
from tests.benchmarks.common import child, memory, report, scratch
from tests.clips import Clip, make

TARGET_SECONDS, TARGET_GB = 60.0, 2.0
_SHARDS_A_TITLE, _FRAMES_A_SHARD = 1000, 8
_SETTINGS = {"scale": 2, "shards.frames": _FRAMES_A_SHARD, "shards.cut_score": 100.0}


def main() -> None:
    """Make the film, then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=200_000)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        measure(Path(options.library), options.shards)
        return
    with scratch() as folder:
        make(
            folder / "film.mkv",
            Clip(frames=_SHARDS_A_TITLE * _FRAMES_A_SHARD, audio="", options=(("preset", "ultrafast"),)),
        )
        plan_title(_film(folder), read_profile(None, dict(_SETTINGS)), Store(str(folder / "store")))
        figures = child("tables", "--library", folder, "--shards", options.shards)
    figures |= {"target_seconds": TARGET_SECONDS, "target_gb": TARGET_GB}
    report(
        "tables",
        figures,
        f"{figures['shards']} shards of {figures['titles']} titles in {figures['seconds']} s (planned and written"
        f" {figures['plan_and_write']} s, read {figures['read']} s), peak {figures['peak_gb']} GB; targets under"
        f" {TARGET_SECONDS:.0f} s, {TARGET_GB:.0f} GB",
    )


def measure(folder: Path, shards: int) -> None:
    """Plan, write, read; print the figures as JSON."""
    profile, store = read_profile(None, dict(_SETTINGS)), Store(str(folder / "store"))
    film, files = _film(folder), RunFiles(store, "bench")
    titles = [replace(film, name=f"film {number}.mkv") for number in range(-(-shards // _SHARDS_A_TITLE))]
    began = time.perf_counter()
    files.write_titles(titles)
    for title in titles:
        files.write_shards(title, plan_title(title, profile, store).shards)
    written = time.perf_counter()
    held = files.read_shards()
    read = time.perf_counter()
    assert len(files.read_titles()) == len(titles)
    assert len(held) == len(titles) * _SHARDS_A_TITLE
    figures = {
        "shards": len(held),
        "titles": len(titles),
        "seconds": round(read - began, 1),
        "plan_and_write": round(written - began, 1),
        "read": round(read - written, 1),
        "peak_gb": round(memory("VmHWM") / 1024, 2),
    }
    print(json.dumps(figures))


def _film(folder: Path) -> Title:
    (film,) = scan(str(folder / "film.mkv"), str(folder / "masters"), read_profile(None, dict(_SETTINGS)))
    return film


if __name__ == "__main__":
    sys.exit(main())
