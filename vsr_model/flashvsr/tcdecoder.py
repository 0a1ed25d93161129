"""The small decoder: latents and the source frames they belong to become frames, four for a latent.

A TAEHV-style stack of convolutions in which blocks also see their own input one time step ago. The source, folded 8 x 8
x 4 to the latents' grid, comes in beside the latents, so the decoder need not invent what the source shows.

Shape suffixes: T frames or time steps, t latents, 3 colours, C channels, H rows, W columns, h and w of the latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import nn

from vsr_model.convolution import conv_enlarged, conv_few, conv_relu, phase_weights
from vsr_model.layout import order_of, words

FRAMES = 4  # of a latent
PATCH = 8
LATENT_CHANNELS = 16
CONDITION_CHANNELS = 3 * FRAMES * PATCH * PATCH
WIDTHS = (512, 256, 128, 128)
FEW = 3  # channels that a convolution makes, for which it has a kernel of its own


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
        times, channels, *size = x_TCHW.shape
        both_TCHW = _empty_like(x_TCHW, (times, 2 * channels, *size))
        to, now = _words(both_TCHW), _words(x_TCHW)
        half = now.shape[-1]
        to[..., :half] = now
        to[1:, ..., half:] = now[:-1]
        to[0, ..., half:] = 0.0 if last_CHW is None else _words(last_CHW[None])[0]
        first, _, second, _, third = self.conv
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        assert isinstance(third, nn.Conv2d)
        return conv_relu(third, conv_relu(second, conv_relu(first, both_TCHW)), x_TCHW)


class TimeGrow(nn.Module):
    """A 1 x 1 convolution that makes `factor` time steps of one, earlier ones from the first channels; then twice as
    large in both directions, each pixel repeated.

    The original enlarges first. A 1 x 1 convolution sees no neighbours, so that is the same at four times the work.

    Where `merge` has been told of the 3 x 3 convolution after it, that is done as well: one convolution of the small
    picture does all, with weights that are products of both.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(channels, channels * factor, 1, bias=False)
        self.merged: list[torch.Tensor] = []
        self.bend = False

    def merge(self, following: nn.Conv2d, bend: bool) -> None:
        """Take over the convolution after it, and ReLU after that; weights must not change any more."""
        weight_FMC = self.conv.weight.float().view(self.factor, -1, self.conv.in_channels)
        for weight_MC in weight_FMC:
            weight_OC33 = torch.einsum("omyx,mc->ocyx", following.weight.float(), weight_MC)
            self.merged.append(phase_weights(weight_OC33).to(self.conv.weight.dtype))
        self.bend = bend

    def forward(self, x_TCHW: torch.Tensor) -> torch.Tensor:
        """[T, C, H, W] to [T * factor, C or what the convolution after it makes, 2 H, 2 W]."""
        if self.merged:
            return conv_enlarged(x_TCHW, self.merged, self.bend)
        grown = _words(self.conv(x_TCHW))
        times, height, width, _ = grown.shape
        channels = self.conv.out_channels // self.factor
        out_TCHW = _empty_like(x_TCHW, (times * self.factor, channels, 2 * height, 2 * width))
        to = _words(out_TCHW).view(times, self.factor, height, 2, width, 2, -1)
        to.copy_(grown.view(times, height, 1, width, 1, self.factor, -1).permute(0, 5, 1, 2, 3, 4, 6))
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
                nn.Identity(),  # has a number in the published file
                TimeGrow(width, grow),
                nn.Conv2d(width, wider, 3, padding=1, bias=False),
            ]
        layers += [nn.ReLU(), nn.Conv2d(widths[3], widths[3], 3, padding=1, bias=False), nn.ReLU()]
        layers += [nn.Conv2d(widths[3], 3, 3, padding=1)]
        self.decoder = nn.ModuleList(layers)

    @staticmethod
    def _through(
        layers: nn.ModuleList, x_TCHW: torch.Tensor, last: list[torch.Tensor], kept: list[torch.Tensor]
    ) -> torch.Tensor:
        """Through some of the layers; blocks that look back read from `last` and add to `kept`."""
        done: nn.Module | None = None
        for layer, following in pairwise([*layers, nn.Identity()]):
            if layer is done:
                continue
            if isinstance(layer, MemoryBlock):
                last_CHW = last[len(kept)] if last else None
                # A view would hold all time steps.
                kept.append(x_TCHW[-1].clone())
                x_TCHW = layer(x_TCHW, last_CHW)
            elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.ReLU):
                x_TCHW = conv_relu(layer, x_TCHW)
            elif isinstance(layer, nn.Conv2d) and layer.out_channels <= FEW:
                x_TCHW = conv_few(layer, x_TCHW)
            elif not isinstance(layer, nn.ReLU):  # each has been applied with the convolution before it
                done = following if isinstance(layer, TimeGrow) and layer.merged else None
                x_TCHW = layer(x_TCHW)
        return x_TCHW

    def lay_out(self) -> None:
        """Put the weights in memory as the convolutions read them; on a GPU in half precision merge what can be."""
        for weight in self.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=order_of(weight.device))
        if weight.is_cuda and weight.dtype.itemsize == 2:
            self.merge()

    def merge(self) -> None:
        """Make one convolution of each that enlarges and the one after it, which rounds once less."""
        layers = [*self.decoder, nn.Identity()]
        for grow, conv, after in zip(layers, layers[1:], layers[2:], strict=False):
            if isinstance(grow, TimeGrow):
                assert isinstance(conv, nn.Conv2d)
                grow.merge(conv, isinstance(after, nn.ReLU))

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
        times, *size = latents_CtHW.shape[1:]
        x_TCHW = _empty_like(latents_CtHW, (times, CONDITION_CHANNELS + LATENT_CHANNELS, *size))
        fold(source_3THW, x_TCHW[:, :CONDITION_CHANNELS])
        x_TCHW[:, CONDITION_CHANNELS:] = latents_CtHW.transpose(0, 1)
        memory.last, last = [], memory.last
        last_grow = max(n for n, layer in enumerate(self.decoder) if isinstance(layer, TimeGrow))
        x_TCHW = self._through(self.decoder[:last_grow], x_TCHW, last, memory.last)
        # From here on no time step sees another, and all at once would take most of a chunk's memory.
        grow, rest = self.decoder[last_grow], self.decoder[last_grow + 1 :]
        assert isinstance(grow, TimeGrow)
        rest = rest[1:] if grow.merged else rest
        missing = FRAMES - 1 if is_first else 0
        frames_3THW, minus_1 = x_TCHW.new_empty(source_3THW.shape), x_TCHW.new_full((), -1.0)
        parts = (part for before_1CHW in torch.split(x_TCHW, 1) for part in torch.split(grow(before_1CHW), 1))
        for number, x_1CHW in enumerate(parts, -missing):
            x_13HW = self._through(rest, x_1CHW, [], [])
            if number >= 0:
                torch.add(minus_1, x_13HW[0], alpha=2, out=frames_3THW[:, number])
        return frames_3THW


def _words(x_TCHW: torch.Tensor) -> torch.Tensor:
    """See `layout.words`: [T, H, W, ...]."""
    return words(x_TCHW.permute(0, 2, 3, 1))


def _empty_like(x_TCHW: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    order = order_of(x_TCHW.device)
    return torch.empty(shape, dtype=x_TCHW.dtype, device=x_TCHW.device, memory_format=order)


def fold(source_3THW: torch.Tensor, to_tCHW: torch.Tensor) -> None:
    """Put source frames on the latents' grid, [t, 768, h, w]; the first is repeated in front to fill a latent."""
    missing = -source_3THW.shape[1] % FRAMES
    if missing:
        source_3THW = torch.cat((source_3THW[:, :1].repeat(1, missing, 1, 1), source_3THW), dim=1)
    _, frames, height, width = source_3THW.shape
    x = source_3THW.reshape(3, frames // FRAMES, FRAMES, height // PATCH, PATCH, width // PATCH, PATCH)
    x = x.permute(1, 0, 2, 4, 6, 3, 5)
    to_tCHW.view(x.shape).copy_(x)
