"""`python -m tests.benchmarks.estimate CLIP...`: what `remaster plan` says of each clip, against what a run then takes.

Each clip is a library of its own: one after the other, as a machine of few cores would have them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

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


def main() -> None:
    """Print a row for each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", metavar="CLIP", type=Path, nargs="+")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="of the profile")
    arguments = parser.parse_args()
    settings = [word for setting in arguments.set for word in ("--set", setting)]
    for clip in arguments.clips:
        with scratch() as folder:
            said, seconds = planned(clip, folder, settings)
            true = taken(clip, folder, settings)
        off = {name: said[name] / true[name] - 1 for name in _PARTS}
        figures = {"clip": clip.name, "frames": said["frames"], "sampled": said["sampled"], "plan_seconds": seconds}
        figures |= {name: {"said": said[name], "true": true[name]} for name in _PARTS}
        line = ", ".join(f"{word} {off[name]:+.1%}" for name, word in _PARTS.items())
        report("estimate", figures, f"{clip.name}, {said['frames']} frames: {line}; known in {seconds:.0f} s")


if __name__ == "__main__":
    main()
