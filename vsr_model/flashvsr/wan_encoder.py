"""The other half of Wan2.1's causal video autoencoder: frames to latents, four to one, but the first to one alone.

Rendering does not need it, and the import of weights leaves it out; training does, to make latents of clean frames.

Shape suffixes: T frames or time steps, t latents, 3 colours, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from vsr_model.flashvsr.channel_norm import ChannelNorm
from vsr_model.flashvsr.wan_layers import (
    FRAMES,
    LATENT_CHANNELS,
    PATCH,
    CausalConv3d,
    Memory,
    Residual,
    SpatialAttention,
    latent_scale,
    through,
)


class Reduce(nn.Module):
    """Half the rows and columns; with `in_time` also one time step for every two, but for the first."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        # Filled up on the right and below only, as the published weights were trained.
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if in_time else None

    def step(self, x_CTHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """[C, T, H, W] to [C, T', H / 2, W / 2]."""
        small_TCHW: torch.Tensor = self.resample(x_CTHW.transpose(0, 1))
        small_CTHW = small_TCHW.transpose(0, 1)
        return small_CTHW if self.time_conv is None else self._shrink(small_CTHW, memory, self.time_conv)

    @staticmethod
    def _shrink(x_CTHW: torch.Tensor, memory: Memory, conv: nn.Conv3d) -> torch.Tensor:
        # A stream's first time step stays one, and the next ones look back at it.
        is_first = memory.is_new()
        past_CTHW = memory.past(x_CTHW, 1)
        if not is_first:
            x_CTHW = torch.cat((past_CTHW, x_CTHW), dim=1)
        less_CTHW = conv(x_CTHW[None])[0] if x_CTHW.shape[1] > 1 else x_CTHW[:, :0]
        return torch.cat((x_CTHW[:, : int(is_first)], less_CTHW), dim=1)


class Encoder(nn.Module):
    """The part of the network before the last convolution; names and numbers are the published ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        middle, wide = 2 * width, 4 * width
        self.conv1 = CausalConv3d(3, width)
        layers: list[nn.Module] = [Residual(width, width), Residual(width, width), Reduce(width, in_time=False)]
        layers += [Residual(width, middle), Residual(middle, middle), Reduce(middle, in_time=True)]
        layers += [Residual(middle, wide), Residual(wide, wide), Reduce(wide, in_time=True)]
        layers += [Residual(wide, wide), Residual(wide, wide)]
        self.downsamples = nn.ModuleList(layers)
        self.middle = nn.ModuleList([Residual(wide, wide), SpatialAttention(wide), Residual(wide, wide)])
        self.head = nn.Sequential(ChannelNorm(wide), nn.SiLU(), CausalConv3d(wide, 2 * LATENT_CHANNELS))


class WanEncoder(nn.Module):
    """The encoder with the convolution after it."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.conv1 = CausalConv3d(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, (1, 1, 1))

    def forward(self, frames_3THW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Encode the next frames of a stream.

        Args:
            frames_3THW: in -1..1, H and W multiples of 8; 1 + 4 k of them at the start of a stream, then 4 k.
            memory: of the stream; holds what the next call needs.

        Returns:
            [16, t, H / 8, W / 8]: the most likely latents, of mean 0 and deviation 1, as the decoder takes them.

        Raises:
            ValueError: a number of frames or a side that makes no whole latents.
        """
        memory.start()
        frames, height, width = frames_3THW.shape[1:]
        if not frames or (frames - int(memory.is_new())) % FRAMES or height % PATCH or width % PATCH:
            first = "1 + " if memory.is_new() else ""
            raise ValueError(
                f"{frames} frames of {width}x{height}: {first}{FRAMES} k frames make latents here, of {PATCH} k pixels"
            )
        layers = (*self.encoder.downsamples, *self.encoder.middle, *self.encoder.head, self.conv1)
        parts_CtHW = through(layers, self.encoder.conv1.step(frames_3THW, memory), memory)
        mean, deviation = latent_scale(parts_CtHW)
        # The second half is how sure the encoder is.
        return (parts_CtHW[:LATENT_CHANNELS] - mean) / deviation
