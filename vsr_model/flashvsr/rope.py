"""Rotary position embedding over (time, row, column), computed where it is needed: no table, so no longest video.

RoFormer (Su et al. 2021, section 3.2.2) for three axes as in Wan2.1: row and column get a third of the complex pairs of
a head each, rounded down, time the rest. Pairs are neighbouring elements. Everything in float64.

Shape suffixes: N tokens, h rows and w columns of the token grid, E heads, D head width, P = D / 2 complex pairs.
"""

from __future__ import annotations

import torch

BASE = 10_000.0


def rotations(
    first_time: int, times: int, height: int, width: int, head_width: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Unit rotations of a raster of tokens (time, row, column): complex128 [N, P], N = times * height * width.

    Args:
        first_time: position in time of the first latent; positions never start over.
        times, height, width: of the token grid.
        head_width: even.
    """
    side = 2 * (head_width // 6)
    parts = (head_width - 2 * side, side, side)
    starts, counts = (first_time, 0, 0), (times, height, width)
    angles = []
    for axis, (part, start, count) in enumerate(zip(parts, starts, counts, strict=True)):
        frequency_P = BASE ** (-torch.arange(0, part, 2, dtype=torch.float64, device=device) / part)
        position_n = torch.arange(start, start + count, dtype=torch.float64, device=device)
        shape = [1, 1, 1, len(frequency_P)]
        shape[axis] = count
        angle_thwP = (position_n[:, None] * frequency_P).reshape(shape)
        angles.append(angle_thwP.expand(times, height, width, -1))
    angle_NP = torch.cat(angles, dim=-1).flatten(0, 2)
    return torch.polar(torch.ones_like(angle_NP), angle_NP)


def rotate(x_NED: torch.Tensor, turn_NP2: torch.Tensor) -> torch.Tensor:
    """Turn every pair of every head by its token's rotation, in float32 or better; the type of `x_NED` is kept.

    Args:
        x_NED: values.
        turn_NP2: cosines and sines; `as_real` of `rotations`.
    """
    pairs_NEP2 = x_NED.to(turn_NP2.dtype).reshape(*x_NED.shape[:-1], -1, 2)
    real_NEP, imaginary_NEP = pairs_NEP2.unbind(-1)
    cos_N1P, sin_N1P = turn_NP2[:, None].unbind(-1)
    turned = (real_NEP * cos_N1P - imaginary_NEP * sin_N1P, real_NEP * sin_N1P + imaginary_NEP * cos_N1P)
    return torch.stack(turned, dim=-1).flatten(-2).to(x_NED.dtype)


def as_real(rotation_NP: torch.Tensor) -> torch.Tensor:
    """Rotations as cosines and sines in float32, [N, P, 2]."""
    return torch.view_as_real(rotation_NP).float()
