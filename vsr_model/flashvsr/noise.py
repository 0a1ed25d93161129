"""Standard normal noise as a function of seed and place: every shard, tile and restart draws the same field.

Each value is hashed from (seed, frame, channel, row, column) with splitmix64's finaliser (Steele, Lea and Flood 2014,
figure 16), and made normal by Box and Muller's transform in float64, so devices agree to the last bit or nearly so.

Shape suffixes: C channels, t latent frames, H rows, W columns.
"""

from __future__ import annotations

import math

import torch

_GOLDEN, _MIX_1, _MIX_2 = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def noise(
    seed: int,
    frames: list[int],
    channels: int,
    height: int,
    width: int,
    top: int = 0,
    left: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw [channels, len(frames), height, width] in float32.

    Args:
        seed: of the title.
        frames: the place in time of each latent, by any numbering that shards share.
        channels, height, width: of the field.
        top, left: of the field's first row and column in the whole picture.
        device: where to draw.
    """
    # All of it made on the device: what comes from the host makes it wait.
    spans = ((0, channels), (top, top + height), (left, left + width))
    places = [torch.cat([torch.full((1,), frame, device=device) for frame in frames])]
    places += [torch.arange(first, stop, device=device) for first, stop in spans]
    key = _mix(torch.full((), seed % 2**63, device=device))
    for axis, place in enumerate(places):
        shape = [1, 1, 1, 1]
        shape[axis] = len(place)
        key = _mix(key + place.reshape(shape) * _GOLDEN)
    # 53 bits each; the first is never 0, whose logarithm there is not.
    first, second = _unit(_mix(key + _GOLDEN)), _unit(_mix(key + _GOLDEN + _GOLDEN))
    normal_tCHW = (-2.0 * (first + 2.0**-54).log()).sqrt() * (second * (2.0 * math.pi)).cos()
    return normal_tCHW.float().transpose(0, 1).contiguous()


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shifted(x, 30)) * _MIX_1
    x = (x ^ _shifted(x, 27)) * _MIX_2
    return x ^ _shifted(x, 31)


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right with zeros coming in, which torch has not for signed integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _unit(x: torch.Tensor) -> torch.Tensor:
    """The top 53 bits as a number in [0, 1)."""
    return _shifted(x, 11).double() * 2.0**-53
