"""Frames a second between coded planes of 1920x1080 and R'G'B', and what HDR costs around a network."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from tasks.media.picture.colour import Colour, to_codes, to_rgb
from tasks.media.picture.pixels import Layout, Planes
from tests.benchmarks.common import report
from tests.hdr import rgb
from vsr_model.contract import Placement, Upscaler
from vsr_model.hdr import HdrUpscaler, Shot
from vsr_model.nits import PQ
from vsr_model.registry import find

_HEIGHT, _WIDTH, _FRAMES = 1080, 1920, 12
_BT709, _BT2020 = Colour(1, 1, 1, False), Colour(9, 9, PQ, False, "topleft")
_KINDS = {
    "8 bits, 4:2:0": (Layout("yuv", 8, 1, 1), _BT709),
    "10 bits, 4:2:0": (Layout("yuv", 10, 1, 1), _BT2020),
    "10 bits, 4:2:2": (Layout("yuv", 10, 1, 0), _BT2020),
    "10 bits, 4:4:4": (Layout("yuv", 10), _BT2020),
}
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    """Time each layout in both directions, then two networks with HDR around them and without."""
    found: dict[str, float] = {}
    for name, (layout, colour) in _KINDS.items():
        there, back = _both_ways(layout, colour)
        found |= {f"{name}: to R'G'B', frames/s": there, f"{name}: to codes, frames/s": back}
    for model in ("lanczos", "swift"):
        network = find(model).load(Placement(str(_DEVICE)))
        plain, around = _upscaled(network), _upscaled(HdrUpscaler(network, PQ, (Shot(0, 1000.0),)))
        found[f"{model} x2 of 480x270: SDR, frames/s"] = plain
        found[f"{model} x2 of 480x270: HDR, frames/s"] = around
    here = found["10 bits, 4:2:0: to R'G'B', frames/s"], found["10 bits, 4:2:0: to codes, frames/s"]
    report("colour", found, f"10-bit 4:2:0 of 1920x1080, frames a second: {here[0]} to R'G'B', {here[1]} back")


def _both_ways(layout: Layout, colour: Colour) -> tuple[float, float]:
    planes = [_planes(layout, number) for number in range(_FRAMES)]
    rgb_T3HW = to_rgb(planes[:1], layout, colour, _DEVICE)
    there = _rate(lambda number: to_rgb([planes[number]], layout, colour, _DEVICE))
    return there, _rate(lambda number: to_codes(rgb_T3HW, layout, colour, number))


def _rate(work: Callable[[int], object]) -> float:
    work(0)
    _wait()
    began = time.perf_counter()
    for number in range(_FRAMES):
        work(number)
    _wait()
    return round(_FRAMES / (time.perf_counter() - began), 1)


def _upscaled(upscaler: Upscaler) -> float:
    frames = [torch.from_numpy(rgb(n, 270, 480)).permute(2, 0, 1).float()[None].to(_DEVICE) for n in range(_FRAMES)]
    stream = upscaler.stream(270, 480, 2)
    with torch.inference_mode():
        return _rate(lambda n: stream.push(frames[n]))


def _planes(layout: Layout, number: int) -> Planes:
    random = np.random.default_rng(number)
    shapes = layout.plane_shapes(_HEIGHT, _WIDTH)
    step = 1 << (layout.depth - 8)
    return tuple(random.integers(16 * step, 235 * step, shape).astype(layout.dtype) for shape in shapes)


def _wait() -> None:
    if _DEVICE.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
