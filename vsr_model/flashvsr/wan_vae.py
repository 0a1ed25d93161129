"""The full decoder: Wan2.1's causal video autoencoder, latents to frames, four for a latent but one for the first.

Every convolution in time looks back only, so a video is decoded a few latents at a time; what the next call needs of
this one is kept in a `Memory`. Decoded in pieces or in one go, the frames are the same.

Shape suffixes: T frames or time steps, t latents, 3 colours, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.flashvsr.lq_projection import ChannelNorm

LATENT_CHANNELS = 16
# Mean and standard deviation of each latent channel, as published with Wan2.1.
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
             3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip


@dataclass
class Memory:
    """The last two inputs of every convolution in time, [C, T, H, W] each, in the network's order; empty at first."""

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
        self.last[self._at] = torch.cat((past_CTHW, x_CTHW), dim=1)[:, -steps:]
        self._at += 1
        return past_CTHW


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
        y_CTHW = _through(self.residual, x_CTHW, memory)
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


class Enlarge(nn.Module):
    """Twice the rows and columns, half the channels; with `in_time` also two time steps of every one but the first."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels // 2, 3, padding=1))
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if in_time else None

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """[C, T, H, W] to [C / 2, T', 2 H, 2 W]."""
        if self.time_conv is not None:
            x_CTHW = self._grow(x_CTHW, memory, self.time_conv)
        out_TCHW: torch.Tensor = self.resample(x_CTHW.transpose(0, 1))
        return out_TCHW.transpose(0, 1)

    @staticmethod
    def _grow(x_CTHW: torch.Tensor, memory: Memory, conv: CausalConv3d) -> torch.Tensor:
        # A stream's first time step stays one, and is not part of what the later ones look back at.
        is_first = memory.is_new()
        alone_CTHW, rest_CTHW = x_CTHW[:, : int(is_first)], x_CTHW[:, int(is_first) :]
        if not rest_CTHW.shape[1]:
            memory.past(rest_CTHW, conv.kernel_size[0] - 1)
            return alone_CTHW
        earlier_CTHW, later_CTHW = conv.step(rest_CTHW, memory).chunk(2)
        return torch.cat((alone_CTHW, torch.stack((earlier_CTHW, later_CTHW), dim=2).flatten(1, 2)), dim=1)


class Decoder(nn.Module):
    """The part of the network after the first convolution; names and numbers are the published ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide, middle = 4 * width, 2 * width
        self.conv1 = CausalConv3d(LATENT_CHANNELS, wide)
        self.middle = nn.ModuleList([Residual(wide, wide), SpatialAttention(wide), Residual(wide, wide)])
        layers: list[nn.Module] = [Residual(wide, wide) for _ in range(3)] + [Enlarge(wide, in_time=True)]
        layers += [Residual(middle, wide), Residual(wide, wide), Residual(wide, wide), Enlarge(wide, in_time=True)]
        layers += [Residual(middle, middle) for _ in range(3)] + [Enlarge(middle, in_time=False)]
        layers += [Residual(width, width) for _ in range(3)]
        self.upsamples = nn.ModuleList(layers)
        self.head = nn.Sequential(ChannelNorm(width), nn.SiLU(), CausalConv3d(width, 3))


class WanVae(nn.Module):
    """The decoder with the convolution before it."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.conv2 = CausalConv3d(LATENT_CHANNELS, LATENT_CHANNELS, (1, 1, 1))
        self.decoder = Decoder(width)

    def forward(self, latents_CtHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Decode the next latents of a stream.

        Args:
            latents_CtHW: [16, t, H / 8, W / 8], of mean 0 and deviation 1, as the transformer makes them.
            memory: of the stream; holds what the next call needs.

        Returns:
            [3, T, H, W], not clamped; T = 4 t, or 4 t - 3 at the start of a stream.
        """
        memory.start()
        mean, deviation = (latents_CtHW.new_tensor(values)[:, None, None, None] for values in (MEAN, DEVIATION))
        x_CTHW = self.decoder.conv1.step(self.conv2.step(latents_CtHW * deviation + mean, memory), memory)
        return _through((*self.decoder.middle, *self.decoder.upsamples, *self.decoder.head), x_CTHW, memory)


def _through(layers: Iterable[nn.Module], x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
    """One layer after the other, whether it looks back or not."""
    for layer in layers:
        if isinstance(layer, CausalConv3d | Residual | SpatialAttention | Enlarge):
            x_CTHW = layer.step(x_CTHW, memory)
        else:
            x_CTHW = layer(x_CTHW[None])[0]
    return x_CTHW
