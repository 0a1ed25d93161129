"""The small decoder: latents and the source frames they belong to become frames, four for a latent.

A TAEHV-style stack of convolutions in which blocks also see their own input one time step ago. The source, folded 8 x 8
x 4 to the latents' grid, comes in beside the latents, so the decoder need not invent what the source shows.

Shape suffixes: T frames or time steps, t latents, 3 colours, C channels, H rows, W columns, h and w of the latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

FRAMES = 4  # of a latent
PATCH = 8
LATENT_CHANNELS = 16
CONDITION_CHANNELS = 3 * FRAMES * PATCH * PATCH
WIDTHS = (512, 256, 128, 128)


@dataclass
class Memory:
    """The last input of every block that looks back, [C, H, W] each, in the network's order; empty at first."""

    last: list[torch.Tensor] = field(default_factory=list)


class MemoryBlock(nn.Module):
    """Three convolutions over a time step and the one before it, and a way round them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x_TCHW: torch.Tensor, last_CHW: torch.Tensor | None) -> torch.Tensor:
        """All time steps of a call at once; `last_CHW` is the step before the first, or None at the stream's start."""
        first_CHW = torch.zeros_like(x_TCHW[0]) if last_CHW is None else last_CHW
        past_TCHW = torch.cat((first_CHW[None], x_TCHW[:-1]))
        return F.relu(self.conv(torch.cat((x_TCHW, past_TCHW), dim=1)) + x_TCHW)


class TimeGrow(nn.Module):
    """A 1 x 1 convolution that makes `factor` time steps of one, earlier ones from the first channels."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(channels, channels * factor, 1, bias=False)

    def forward(self, x_TCHW: torch.Tensor) -> torch.Tensor:
        """[T, C, H, W] to [T * factor, C, H, W]."""
        out_TCHW: torch.Tensor = self.conv(x_TCHW).unflatten(1, (self.factor, -1)).flatten(0, 1)
        return out_TCHW


class SoftClamp(nn.Module):
    """tanh(x / 3) * 3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in."""
        return torch.tanh(x / 3) * 3


class TcDecoder(nn.Module):
    """The network; the numbers of `decoder` are those of the published file."""

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            SoftClamp(), nn.Conv2d(CONDITION_CHANNELS + LATENT_CHANNELS, widths[0], 3, padding=1), nn.ReLU(),
            nn.Conv2d(widths[0], widths[0], 3, padding=1, bias=False), nn.ReLU(),
        ]  # fmt: skip
        for width, wider, grow in zip(widths[:3], widths[1:], (1, 2, 2), strict=True):
            layers += [MemoryBlock(width) for _ in range(3)]
            layers += [
                nn.Upsample(scale_factor=2),
                TimeGrow(width, grow),
                nn.Conv2d(width, wider, 3, padding=1, bias=False),
            ]
        layers += [nn.ReLU(), nn.Conv2d(widths[3], widths[3], 3, padding=1, bias=False), nn.ReLU()]
        layers += [nn.Conv2d(widths[3], 3, 3, padding=1)]
        self.decoder = nn.ModuleList(layers)

    def forward(self, latents_CtHW: torch.Tensor, source_3THW: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Decode a chunk.

        Args:
            latents_CtHW: [16, t, H / 8, W / 8].
            source_3THW: source frames at result size, in -1..1: 4 t - 3 with a stream's first chunk, then 4 t.
            memory: of the stream; replaced by that for the next chunk.

        Returns:
            [3, T, H, W] about -1..1, T as in `source_3THW`.
        """
        is_first = not memory.last
        x_TCHW = torch.cat((fold(source_3THW), latents_CtHW.transpose(0, 1)), dim=1)
        kept: list[torch.Tensor] = []
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                last_CHW = None if is_first else memory.last[len(kept)]
                kept.append(x_TCHW[-1])
                x_TCHW = layer(x_TCHW, last_CHW)
            else:
                x_TCHW = layer(x_TCHW)
        memory.last = kept
        frames_T3HW = x_TCHW[FRAMES - 1 :] if is_first else x_TCHW
        return frames_T3HW.transpose(0, 1) * 2 - 1


def fold(source_3THW: torch.Tensor) -> torch.Tensor:
    """Source frames on the latents' grid, [t, 768, h, w]; the first is repeated in front to fill a latent."""
    missing = -source_3THW.shape[1] % FRAMES
    filled_3THW = torch.cat((source_3THW[:, :1].repeat(1, missing, 1, 1), source_3THW), dim=1)
    _, frames, height, width = filled_3THW.shape
    x = filled_3THW.reshape(3, frames // FRAMES, FRAMES, height // PATCH, PATCH, width // PATCH, PATCH)
    return x.permute(1, 0, 2, 4, 6, 3, 5).reshape(frames // FRAMES, CONDITION_CHANNELS, height // PATCH, width // PATCH)
