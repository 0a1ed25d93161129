"""Frames a second of reading and writing numbered image files of 1920x1080, each kind by itself."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from tasks.media.cadence.read import read_window, window
from tasks.media.picture.colour import Colour
from tasks.media.picture.halves import places
from tasks.media.picture.pixels import Layout, Planes, to_frame
from tasks.media.reading.probe import probe
from tasks.media.reading.timeline import read_timeline
from tasks.media.writing.codecs import STILLS, EncodeSettings, master_layout
from tasks.media.writing.numbered import write_files
from tasks.sources import open_source
from tasks.store.sequence import Pattern
from tests.benchmarks.common import report, scratch
from tests.numbered import codes, light

_FRAMES, _HEIGHT, _WIDTH = 24, 1080, 1920
_KINDS = (("dpx", 10), ("dpx", 16), ("exr", 16), ("tiff", 16), ("png", 16), ("png", 8))


def main() -> None:
    """Write a run of each kind, then read it as a worker does."""
    found = {}
    with scratch() as folder:
        for codec, depth in _KINDS:
            found |= _measure(Path(folder), codec, depth)
    dpx = ", ".join(f"{found[f'dpx 10: {what}, frames/s']} {what}" for what in ("written", "planned", "read"))
    report("sequences", found, f"10-bit DPX of 1920x1080, frames a second: {dpx}")


def _measure(folder: Path, codec: str, depth: int) -> dict[str, float]:
    settings = EncodeSettings(codec=codec, bit_depth=depth)  # type: ignore[arg-type]
    source = Layout("light", 16) if codec == "exr" else Layout("rgb", depth)
    layout = master_layout(settings, source, codec)
    pictures = [_planes(n, layout) for n in range(4)]
    run = Pattern(f"{folder}/{codec}{depth}.", 4, f".{STILLS[codec]}", Fraction(24))
    began = time.perf_counter()
    frames = (to_frame(pictures[n % 4], layout) for n in range(_FRAMES))
    write_files(run.name, settings, layout, Colour(0, 1, 8, True), Fraction(1), Fraction(24), frames)
    written = time.perf_counter()
    with open_source(str(run), codec) as files:
        stream = probe(files).stream
        timeline = read_timeline(files, stream)
        planned = time.perf_counter()
        assert sum(1 for _ in read_window(files, stream, layout, window(timeline, 0, _FRAMES))) == _FRAMES
    read = time.perf_counter()
    for n in range(_FRAMES):
        Path(run.name(n)).unlink()
    name = f"{codec} {depth}"
    return {
        f"{name}: written, frames/s": round(_FRAMES / (written - began), 1),
        f"{name}: planned, frames/s": round(_FRAMES / (planned - written), 1),
        f"{name}: read, frames/s": round(_FRAMES / (read - planned), 1),
    }


def _planes(number: int, layout: Layout) -> Planes:
    if layout.family == "light":
        pixels = light(number, _HEIGHT, _WIDTH)
        return tuple(places(pixels[..., i]) for i in range(3))
    pixels = codes(number, _HEIGHT, _WIDTH, layout.depth).astype(layout.dtype)
    return tuple(np.ascontiguousarray(pixels[..., i]) for i in range(3))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
