"""Faults to put into finished frames [T, 3, H, W], R'G'B' in 0..1: each what a broken pipeline once did to somebody."""

from __future__ import annotations

from collections.abc import Callable

import torch

Mutation = Callable[[torch.Tensor, int], torch.Tensor]
CODE = 1 / 255


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


def flashed(frames: torch.Tensor, at: int) -> torch.Tensor:
    """One frame lighter by twenty codes of 8 bits."""
    mutated = frames.clone()
    mutated[at] += 20 * CODE
    return mutated


def turned_hue(frames: torch.Tensor, at: int) -> torch.Tensor:
    """Chroma turned by three degrees from a frame on, luma untouched."""
    return _coloured(frames, at, torch.full((len(frames) - at,), 3.0))


def turning_hue(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, chroma turns evenly, by more than three degrees in the end: less than two on average."""
    return _coloured(frames, at, torch.linspace(0.0, 3.2, len(frames) - at))


def fading(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, chroma grows weaker evenly, by a fifth in the end: by a tenth on average."""
    turned = torch.zeros(len(frames) - at)
    return _coloured(frames, at, turned, torch.linspace(1.0, 0.8, len(frames) - at))


def drifting(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, ever lighter, by almost six codes in the end: by less than three on average."""
    mutated = frames.clone()
    mutated[at:] += torch.linspace(0.0, 5.9, len(frames) - at)[:, None, None, None] * CODE
    return mutated


def flickering(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, every second one is lighter by a code and a half, the others darker by as much."""
    mutated = frames.clone()
    mutated[at::2] += 1.5 * CODE
    mutated[at + 1 :: 2] -= 1.5 * CODE
    return mutated


def late(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, each is the one before it."""
    return torch.cat([frames[:at], frames[at - 1 : -1]])


def jumping(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, lighter by two codes of 8 bits."""
    mutated = frames.clone()
    mutated[at:] += 2 * CODE
    return mutated


def stuck(frames: torch.Tensor, at: int) -> torch.Tensor:
    """One frame shown twice, the one after it never."""
    mutated = frames.clone()
    mutated[at] = mutated[at - 1]
    return mutated


def seamed(frames: torch.Tensor, at: int) -> torch.Tensor:
    """From a frame on, the right half is lighter by three codes: a tile, which ends at a source pixel, went astray."""
    mutated = frames.clone()
    mutated[at:, :, :, mutated.shape[-1] // 4 * 2 :] += 3 * CODE
    return mutated


def _coloured(
    frames: torch.Tensor, at: int, degrees_T: torch.Tensor, gain_T: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """From a frame on, each frame's chroma turned by so many degrees and so many times as strong; luma untouched."""
    mutated = frames.clone()
    red, green, blue = mutated[at:].unbind(1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    cb, cr = (blue - luma) / 1.8556, (red - luma) / 1.5748
    turn = torch.deg2rad(degrees_T)
    cosine, sine = ((gain_T * part)[:, None, None] for part in (torch.cos(turn), torch.sin(turn)))
    cb, cr = cosine * cb - sine * cr, sine * cb + cosine * cr
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    mutated[at:] = torch.stack([red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], 1)
    return mutated


MUTATIONS: dict[str, Mutation] = {
    "out of order": swapped, "black": black, "flash": flashed, "hue": turned_hue, "turning hue": turning_hue,
    "saturation": fading, "level": drifting, "flicker": flickering, "late": late, "border": jumping, "frozen": stuck,
    "seam": seamed,
}  # fmt: skip
