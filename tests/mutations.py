"""Faults to put into finished frames [T, 3, H, W], R'G'B' in 0..1: each what a broken pipeline once did to somebody."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Mutation = Callable[[torch.Tensor, int], torch.Tensor]


def swapped(frames: torch.Tensor, at: int) -> torch.Tensor:
    """Two neighbours in the wrong order."""
    order = list(range(len(frames)))
    order[at], order[at + 1] = order[at + 1], order[at]
    return frames[order]


def black(frames: torch.Tensor, at: int) -> torch.Tensor:
    """One black frame."""
    mutated = frames.clone()
    mutated[at] = 0.0
    return mutated


def turned_hue(frames: torch.Tensor, at: int) -> torch.Tensor:
    """Chroma turned by three degrees from a frame on, luma untouched."""
    mutated = frames.clone()
    red, green, blue = mutated[at:].unbind(1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    cb, cr = (blue - luma) / 1.8556, (red - luma) / 1.5748
    cosine, sine = math.cos(math.radians(3)), math.sin(math.radians(3))
    cb, cr = cosine * cb - sine * cr, sine * cb + cosine * cr
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    mutated[at:] = torch.stack([red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], 1)
    return mutated


def late(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, each is the one before it."""
    return torch.cat([frames[:at], frames[at - 1 : -1]])


def jumping(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, lighter by two codes of 8 bits."""
    mutated = frames.clone()
    mutated[at:] += 2 / 255
    return mutated


def stuck(frames: torch.Tensor, at: int) -> torch.Tensor:
    """One frame shown twice, the one after it never."""
    mutated = frames.clone()
    mutated[at] = mutated[at - 1]
    return mutated


def seamed(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, the right half is lighter by three codes: a tile, which ends at a source pixel, went astray."""
    mutated = frames.clone()
    mutated[at:, :, :, mutated.shape[-1] // 4 * 2 :] += 3 / 255
    return mutated


MUTATIONS: dict[str, Mutation] = {
    "out of order": swapped, "black": black, "hue": turned_hue, "late": late, "border": jumping, "frozen": stuck,
    "seam": seamed,
}  # fmt: skip
