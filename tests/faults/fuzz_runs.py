"""Runs of numbered images with one file damaged through scan, plan and a read of all, as `fuzz` does it with clips.

`python -m tests.faults.fuzz_runs FIRST LAST FOLDER` treats the numbers FIRST to LAST - 1 of the runs in FOLDER, which
`make_runs` made. `read` means more here: every file gives a picture, and where the damage takes away or replaces a
whole file or its end, they are those of the sound run. Bytes that were flipped may be samples, which nobody can tell
from others.
"""

from __future__ import annotations

import functools
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.faults.fuzz import mutate, read_some, treat_each
from tests.numbered import make_run

if TYPE_CHECKING:
    from tasks.media.picture.pixels import Planes

FRAMES = 5
# Ending, depth, height and width: two of each kind, so that each has strangers of its own kind and of others.
_MADE = {
    "dpx-10": (".dpx", 10, 48, 64),
    "dpx-16": (".dpx", 16, 32, 40),
    "exr": (".exr", 16, 48, 64),
    "exr-small": (".exr", 16, 32, 40),
    "png-16": (".png", 16, 32, 40),
    "png-8": (".png", 8, 48, 64),
    "tiff-16": (".tif", 16, 32, 40),
    "tiff-8": (".tif", 8, 48, 64),
}


def make_runs(folder: Path) -> Path:
    """A new folder of sound runs, each in a folder of its own."""
    for name, (suffix, depth, height, width) in _MADE.items():
        make_run(folder / name, f"a.%04d{suffix}", FRAMES, depth, height=height, width=width)
    return folder


def damage(number: int, runs: list[Path], place: Path) -> tuple[Path, str]:
    """Copy a run to a new folder and damage one of its files; the sound run, and what was done.

    The same number does the same.
    """
    chance = random.Random(number)
    base = runs[number % len(runs)]
    shutil.copytree(base, place)
    files = sorted(place.iterdir())
    victim = chance.choice(files)
    data = victim.read_bytes()
    kind = chance.choice(["bytes", "bytes", "cut", "emptied", "stranger", "missing"])
    if kind == "bytes":
        changed = bytearray(data)
        mutate(changed, chance, files)
        victim.write_bytes(changed)
    elif kind == "cut":
        victim.write_bytes(data[: chance.randrange(1, len(data))])
    elif kind == "emptied":
        victim.write_bytes(b"")
    elif kind == "stranger":
        other = chance.choice([run for run in runs if run != base])
        victim.write_bytes(chance.choice(sorted(other.iterdir())).read_bytes())
    else:
        chance.choice(files[1:-1]).unlink()  # without its first or last file a run is a shorter one, and sound
    return base, kind


@functools.cache
def sound(run: Path) -> list[Planes]:
    """The pictures of a run that nothing was done to."""
    frames = _read(run, run.parent.parent / "store")
    assert not isinstance(frames, str), frames
    return frames


def treat(number: int, runs: list[Path], scratch: Path) -> str:
    """What the product says to a damaged run."""
    base, kind = damage(number, runs, scratch / "run")
    frames = _read(scratch / "run", scratch / "store")
    if isinstance(frames, str):
        return frames
    if len(frames) != FRAMES:
        return f"ESCAPED {kind}: {len(frames)} pictures of {FRAMES} files, and not a word"
    if kind != "bytes" and not _are_equal(frames, sound(base)):
        return f"ESCAPED {kind}: other pictures than the sound run's, and not a word"
    return "read"


def _read(run: Path, store: Path) -> list[Planes] | str:
    from tasks.profile import read_profile

    suffix = next(run.iterdir()).suffix
    codec = "exr" if suffix == ".exr" else "ffv1"
    profile = read_profile(None, {"scale": 2, "sequence.fps": "24", "master.codec": codec})
    name = f"a.%04d{suffix}"
    return read_some(name, f"{run}/{name}", profile, store, most=FRAMES)


def _are_equal(one: list[Planes], other: list[Planes]) -> bool:
    return all(len(a) == len(b) and all(map(np.array_equal, a, b)) for a, b in zip(one, other, strict=True))


def main(first: int, last: int, folder: Path) -> None:
    """Treat damaged runs and print."""
    runs = sorted(folder.iterdir())
    treat_each(range(first, last), lambda number, scratch: treat(number, runs, scratch))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
