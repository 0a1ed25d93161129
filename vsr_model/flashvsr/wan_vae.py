"""The full decoder: Wan2.1's causal video autoencoder, latents to frames, four for a latent but one for the first.

Shape suffixes: T frames or time steps, t latents, 3 colours, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from vsr_model.flashvsr.channel_norm import ChannelNorm
from vsr_model.flashvsr.wan_layers import (
    LATENT_CHANNELS,
    CausalConv3d,
    Memory,
    Residual,
    SpatialAttention,
    latent_scale,
    through,
)


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
        mean, deviation = latent_scale(latents_CtHW)
        x_CTHW = self.decoder.conv1.step(self.conv2.step(latents_CtHW * deviation + mean, memory), memory)
        return through((*self.decoder.middle, *self.decoder.upsamples, *self.decoder.head), x_CTHW, memory)
