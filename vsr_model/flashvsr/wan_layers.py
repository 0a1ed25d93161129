"""What the two halves of Wan2.1's causal video autoencoder are built of, and the scale of its latents.

Every convolution in time looks back only, so a video passes a few time steps at a time; what the next call needs of
this one is kept in a `Memory`. In pieces or in one go, the result is the same.

Knows neither half (see `wan_vae`, `wan_encoder`).

Shape suffixes: T time steps, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.flashvsr.channel_norm import ChannelNorm

LATENT_CHANNELS = 16
PATCH, FRAMES = 8, 4  # what a latent stands for: pixels along either side, frames
# Mean and standard deviation of each latent channel, as published with Wan2.1.
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
             3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip


def latent_scale(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the latents, [16, 1, 1, 1] each, in the type and place of `like`."""
    mean, deviation = (like.new_tensor(values)[:, None, None, None] for values in (MEAN, DEVIATION))
    return mean, deviation


@dataclass
class Memory:
    """The last inputs of every convolution in time, [C, T, H, W] each, in the network's order; empty at first."""

    last: list[torch.Tensor] = field(default_factory=list)
    _at: int = 0

    def start(self) -> None:
        """Begin a call."""
        self._at = 0

    def is_new(self) -> bool:
        """True if nothing is remembered yet at this place of the network: the stream has just begun."""
        return self._at == len(self.last)

    def past(self, x_CTHW: torch.Tensor, steps: int) -> torch.Tensor:
        """The `steps` inputs before `x_CTHW` at this place, zeros at the start; remembers the new ones."""
        if self.is_new():
            self.last.append(x_CTHW.new_zeros((x_CTHW.shape[0], steps, *x_CTHW.shape[2:])))
        past_CTHW = self.last[self._at]
        recent_CTHW = x_CTHW if x_CTHW.shape[1] >= steps else torch.cat((past_CTHW, x_CTHW), dim=1)
        # A view would hold all it was cut from: at four frames a latent, three times as much.
        self.last[self._at] = recent_CTHW[:, -steps:].clone()
        self._at += 1
        return past_CTHW

    def move(self, device: torch.device) -> None:
        """Keep it there from now on."""
        self.last = [past_CTHW.to(device) for past_CTHW in self.last]


class CausalConv3d(nn.Conv3d):
    """A convolution that sees this time step and the ones before it; zeros outside the picture."""

    def __init__(self, channels: int, out: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(channels, out, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """[C, T, H, W] in, as many time steps out."""
        steps = self.kernel_size[0] - 1
        if steps:
            x_CTHW = torch.cat((memory.past(x_CTHW, steps), x_CTHW), dim=1)
        out_CTHW: torch.Tensor = self(x_CTHW[None])[0]
        return out_CTHW


class Residual(nn.Module):
    """Twice norm, SiLU, convolution; added to the input, which is brought to the new width where that differs."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ChannelNorm(channels), nn.SiLU(), CausalConv3d(channels, out),
            ChannelNorm(out), nn.SiLU(), nn.Dropout(0.0), CausalConv3d(out, out),
        )  # fmt: skip
        self.shortcut = CausalConv3d(channels, out, (1, 1, 1)) if channels != out else None

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """[C, T, H, W] to [out, T, H, W]."""
        y_CTHW = through(self.residual, x_CTHW, memory)
        return y_CTHW + (x_CTHW if self.shortcut is None else self.shortcut.step(x_CTHW, memory))


class SpatialAttention(nn.Module):
    """Attention of one head over the pixels of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Same shape out as in; `memory` is for the others."""
        x_TCHW = x_CTHW.transpose(0, 1)
        q, k, v = (y.flatten(2).transpose(1, 2)[:, None] for y in self.to_qkv(self.norm(x_TCHW)).chunk(3, dim=1))
        seen_TCHW = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x_TCHW.shape)
        out_TCHW: torch.Tensor = x_TCHW + self.proj(seen_TCHW)
        return out_TCHW.transpose(0, 1)


@runtime_checkable
class Streaming(Protocol):
    """A layer that is told where in a stream it is."""

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The next time steps in, what comes of them out."""
        ...


def through(layers: Iterable[nn.Module], x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
    """One layer after the other, whether it looks back or not."""
    for layer in layers:
        x_CTHW = layer.step(x_CTHW, memory) if isinstance(layer, Streaming) else layer(x_CTHW[None])[0]
    return x_CTHW
