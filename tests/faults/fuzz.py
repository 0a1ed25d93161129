"""Damaged clips through probe, plan and a two-frame read, in a child whose memory is capped: one line for each.

`python -m tests.faults.fuzz FIRST LAST FOLDER [CLIPS]` treats the mutations FIRST to LAST - 1 of the clips in
FOLDER, which `make_bases` made, and in CLIPS. It prints the number before and the outcome after each, so that whoever
reads along knows what a crash or a hang was about: `refused`, `read`, or `ESCAPED` and an error of no tree of ours.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clips import Clip, make

if TYPE_CHECKING:
    from tasks.media.picture.pixels import Planes
    from tasks.profile import Profile

# Bytes that a child may take beyond what it has when everything is imported.
MEMORY = 1 << 30
_LARGEST = 1_500_000
_OF_SHARED = 0.15

_MADE = {
    "h264.mp4": Clip(subtitle=True, chapters=True),
    "b-frames.mkv": Clip(frames=30, subtitle=True, attachment=True),
    "stream.ts": Clip(codec="mpeg2video", audio="mp2"),
    "ffv1.mkv": Clip(frames=12, codec="ffv1", audio="flac"),
    "vp9.webm": Clip(frames=12, codec="libvpx-vp9", audio="libopus"),
    "mpeg4.avi": Clip(codec="mpeg4", audio="mp2", b_frames=0),
    "rotated.mov": Clip(rotation=90, audio="pcm_s16le"),
    "hevc.mp4": Clip(frames=12, codec="libx265", audio=""),
    "prores.mov": Clip(frames=12, codec="prores_ks", pix_fmt="yuv422p10le", audio=""),
    "raw.264": Clip(audio=""),
}


def make_bases(folder: Path) -> Path:
    """A new folder of sound clips of many kinds."""
    for name, clip in _MADE.items():
        make(folder / name, clip)
    return folder


def shared(folder: Path | None) -> list[Path]:
    """Clips of a folder that are small enough to be decoded many times."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix != ".md" and path.stat().st_size < _LARGEST)


def mutated(number: int, made: list[Path], others: list[Path]) -> tuple[str, bytes]:
    """File name and bytes of a mutation; the same number gives the same ones."""
    chance = random.Random(number)
    base = chance.choice(others if others and chance.random() < _OF_SHARED else made)
    data = bytearray(base.read_bytes())
    for _ in range(chance.choice([1, 1, 2, 4])):
        mutate(data, chance, made)
    return f"{number}{base.suffix}", bytes(data)


def mutate(data: bytearray, chance: random.Random, made: list[Path]) -> None:
    """Damage some bytes in one place; what is spliced in comes from a file of `made`."""
    # Headers are small, and most of what can go wrong is in them.
    reach = chance.choice([64, 1024, len(data)])
    place = chance.randrange(min(reach, len(data)) or 1)
    if chance.random() < 0.3:
        place = max(0, len(data) - 1 - place)
    kind = chance.choice(["bits", "bits", "bytes", "cut", "gone", "twice", "splice", "zeros"])
    length = chance.choice([1, 4, 188, 1000, len(data) // 4 or 1])
    if kind == "bits":
        for _ in range(chance.choice([1, 3, 30])):
            at = min(len(data) - 1, place + chance.randrange(min(reach, 2000)))
            if data:
                data[at] ^= 1 << chance.randrange(8)
    elif kind == "bytes":
        data[place : place + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1"])
    elif kind == "cut":
        del data[place:]
    elif kind == "gone":
        del data[place : place + length]
    elif kind == "twice":
        data[place:place] = data[place : place + length]
    elif kind == "splice":
        other = chance.choice(made).read_bytes()
        start = chance.randrange(len(other))
        data[place : place + length] = other[start : start + length]
    else:
        data[place : place + length] = bytes(length)


def treat(path: Path, store: Path) -> str:
    """What the product says to a file."""
    from tasks.profile import read_profile

    frames = read_some(path.name, str(path), read_profile(None, {"scale": 2}), store, most=2)
    return frames if isinstance(frames, str) else "read"


def read_some(name: str, uri: str, profile: Profile, store: Path, most: int) -> list[Planes] | str:
    """The first pictures of a title as a worker gets them; what is said of it instead, where there are none."""
    from tasks.errors import RemasterError
    from tasks.media.cadence.read import read_pictures, window
    from tasks.plan import plan_title
    from tasks.scan import examine
    from tasks.sources import open_source
    from tasks.store import Store

    title = examine(name, uri, profile)
    if title.refused or title.probe is None:
        return f"ESCAPED {title.refused}" if "Please report it" in title.refused else "refused"
    try:
        plan = plan_title(title, profile, Store(str(store)))
        with open_source(title.uri, title.name) as source:
            pictures = plan.reading.pictures
            some = min(most, len(pictures))
            wanted = window(plan.timeline, *pictures.frames(0, some, len(plan.timeline)))
            frames = list(
                read_pictures(source, title.probe.stream, title.probe.layout, wanted, pictures.recipe(0, some))
            )
    except RemasterError:
        return "refused"
    return frames or "ESCAPED no frame was read"


def treat_each(numbers: range, one: Callable[[int, Path], str]) -> None:
    """Have each number treated under the limit, in a folder for its files, and print what became of it."""
    import tasks.plan  # noqa: F401  # all that it needs is in memory before the limit is set

    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        print("begin", number, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                outcome = one(number, Path(scratch))
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"ESCAPED {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        print("end", outcome.replace("\n", " "), flush=True)


def main(first: int, last: int, folder: Path, clips: Path | None) -> None:
    """Treat mutations and print."""
    made, others = sorted(folder.iterdir()), shared(clips)

    def one(number: int, scratch: Path) -> str:
        name, data = mutated(number, made, others)
        path = Path(scratch, name)
        path.write_bytes(data)
        return treat(path, scratch / "store")

    treat_each(range(first, last), one)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
