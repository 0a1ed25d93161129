"""How fast a network is and how much memory it takes, by itself: no decoding, no conversion, no files.

Knows nothing of any one network; one that names its `parts` gets a time for each.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from vsr_model.contract import Divided, Upscaler
from vsr_model.sizes import enlarged, stream_to

CHUNK = 8  # frames pushed at a time


@dataclass(frozen=True)
class Measured:
    """Figures of one run.

    Attributes:
        model, device: what ran where.
        source, result: rows and columns of a frame that goes in, and of one that comes out.
        frames: finished in the timed part.
        fps: finished frames a second in the timed part.
        first: seconds from the first push to the first finished frame, compiling included.
        milliseconds: a chunk of `CHUNK` frames, in all and in each part.
        peak_gb: most memory held, of the device; of the process on a CPU.
    """

    model: str
    device: str
    source: tuple[int, int]
    result: tuple[int, int]
    frames: int
    fps: float
    first: float
    milliseconds: dict[str, float]
    peak_gb: float


def measure(upscaler: Upscaler, height: int, width: int, scale: int | Fraction, chunks: int) -> Measured:
    """Time `chunks` chunks of a stream that has settled, on fresh noise.

    Raises:
        UnsupportedScale: the network cannot enlarge by that factor.
    """
    device, info = upscaler.device, upscaler.info
    generator = torch.Generator(device).manual_seed(0)

    def push() -> int:
        noise_T3HW = torch.rand((CHUNK, 3, height, width), generator=generator, device=device)
        return len(stream.push(noise_T3HW))

    result = enlarged(height, Fraction(scale)), enlarged(width, Fraction(scale))
    stream = stream_to(upscaler, height, width, result)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began, finished = time.perf_counter(), 0
    while not finished:
        finished = push()
    _wait(device)
    first = time.perf_counter() - began
    for _ in range(-(-info.warm_up // CHUNK)):
        push()
    _wait(device)
    began = time.perf_counter()
    frames = sum(push() for _ in range(chunks))
    _wait(device)
    total = time.perf_counter() - began
    # Again for the parts: waiting at every border takes time of its own.
    with _watched(upscaler.parts() if isinstance(upscaler, Divided) else {}, device) as seconds:
        for _ in range(chunks):
            push()
    each = {"all": total, **seconds}
    return Measured(
        model=info.name,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        source=(height, width),
        result=result,
        frames=frames,
        fps=round(frames / total, 3),
        first=round(first, 3),
        milliseconds={name: round(1e3 * value * CHUNK / frames, 3) for name, value in each.items()},
        peak_gb=round(_peak(device) / 1e9, 3),
    )


@contextmanager
def _watched(parts: dict[str, nn.Module], device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds spent in each part while the block runs; the device is waited for at every border."""
    seconds: dict[str, float] = defaultdict(float)
    hooks = []
    for name, part in parts.items():

        def before(*_: Any, name: str = name) -> None:
            _wait(device)
            seconds[name] -= time.perf_counter()

        def after(*_: Any, name: str = name) -> None:
            _wait(device)
            seconds[name] += time.perf_counter()

        hooks += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
