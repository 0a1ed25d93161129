"""Source frames to tokens: 16 x 16 patches of pixels through two causal convolutions that take four frames to one.

The versions of FlashVSR differ in what a convolution is told of the time before a clip, and each's weights were trained
with its own rule: v1.1 carries the frames before ("causal"), v1 repeats the clip's own last two in front of it
("buffer"). The wrong rule shows as ghosts of frames to come.

Shape suffixes: T frames, K token frames, 3 colours, C channels, H rows, W columns, h and w of the token grid, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

PATCH = 16
CLIP = 4  # frames of every call but the first
HISTORY = 2  # frames before a clip that a convolution sees
Rule = Literal["causal", "buffer"]
_LEAST_LENGTH = 1e-12  # that is divided by


@dataclass
class History:
    """What the next call needs of this one: the last inputs of both convolutions; None before the first call."""

    first_CThw: torch.Tensor | None = None
    second_CThw: torch.Tensor | None = None


class ChannelNorm(nn.Module):
    """x / |x| * sqrt(C) * gamma over channels."""

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *([1] * axes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in; channels are the second axis."""
        length = x.norm(dim=1, keepdim=True)
        # Whatever is divided by a length that overflowed is 0, and nobody would notice.
        length = length.masked_fill(length.isinf(), torch.nan).clamp_min(_LEAST_LENGTH)
        out: torch.Tensor = x / length * x.shape[1] ** 0.5 * self.gamma
        return out


class LqProjection(nn.Module):
    """The network; `widths` are those of its two convolutions."""

    def __init__(self, width: int = 1536, widths: tuple[int, int] = (2048, 3072), rule: Rule = "causal") -> None:
        super().__init__()
        self.rule = rule
        self.conv1 = nn.Conv3d(3 * PATCH * PATCH, widths[0], (4, 3, 3), (2, 1, 1))
        self.norm1 = ChannelNorm(widths[0])
        self.conv2 = nn.Conv3d(widths[0], widths[1], (4, 3, 3), (2, 1, 1))
        self.norm2 = ChannelNorm(widths[1])
        self.linear_layers = nn.ModuleList([nn.Linear(widths[1], width)])

    def lay_out(self) -> None:
        """Put the weights in memory as the convolutions read them, so that they need not be copied for every call."""
        for conv in (self.conv1, self.conv2):
            weight_OhwKC = conv.weight.data.permute(0, 3, 4, 2, 1).contiguous()
            conv.weight.data = weight_OhwKC.permute(0, 4, 3, 1, 2)

    def forward(self, frames_3THW: torch.Tensor, history: History) -> torch.Tensor | None:
        """Take the first frame of a stream alone, then four at a time.

        Args:
            frames_3THW: source frames at result size, in -1..1; H and W multiples of 16.
            history: of the stream; replaced by that for the next call.

        Returns:
            Tokens [N, C] of one token frame in raster order; None for the first call.
        """
        is_first = history.first_CThw is None
        if is_first:
            frames_3THW = frames_3THW.repeat(1, CLIP, 1, 1)
        clip_CThw = F.pixel_unshuffle(frames_3THW.transpose(0, 1), PATCH).transpose(0, 1)
        before_CThw = (
            clip_CThw[:, :1].repeat(1, HISTORY, 1, 1) if is_first else self._before(clip_CThw, history.first_CThw)
        )
        history.first_CThw = clip_CThw[:, -HISTORY:]
        middle_CThw = self._convolve(self.conv1, self.norm1, before_CThw, clip_CThw)
        before_second_CThw, history.second_CThw = history.second_CThw, middle_CThw
        if is_first:
            return None
        before_CThw = self._before(middle_CThw, before_second_CThw)
        out_CKhw = self._convolve(self.conv2, self.norm2, before_CThw, middle_CThw)
        tokens_NC: torch.Tensor = self.linear_layers[0](out_CKhw.flatten(1).T)
        return tokens_NC

    def _before(self, clip_CThw: torch.Tensor, carried_CThw: torch.Tensor | None) -> torch.Tensor:
        if self.rule == "buffer" or carried_CThw is None:
            return clip_CThw[:, -HISTORY:]
        return carried_CThw

    @staticmethod
    def _convolve(conv: nn.Conv3d, norm: nn.Module, before_CThw: torch.Tensor, clip_CThw: torch.Tensor) -> torch.Tensor:
        x_1CThw = F.pad(torch.cat((before_CThw, clip_CThw), dim=1)[None], (1, 1, 1, 1, 0, 0), mode="replicate")
        x_1CKhw = conv(x_1CThw) if x_1CThw.device.type == "cpu" else _flat_convolution(conv, x_1CThw)
        out_CKhw: torch.Tensor = F.silu(norm(x_1CKhw))[0]
        return out_CKhw


def _flat_convolution(conv: nn.Conv3d, x_1CThw: torch.Tensor) -> torch.Tensor:
    """The same with the frames under the kernel as channels: GPU libraries are twice as fast in two dimensions."""
    steps, stride = conv.kernel_size[0], conv.stride[0]
    x_TChw = x_1CThw[0].transpose(0, 1).contiguous(memory_format=torch.channels_last)
    x_KChw = torch.cat([x_TChw[t : len(x_TChw) - steps + t + 1 : stride] for t in range(steps)], dim=1)
    out_KChw = F.conv2d(x_KChw, conv.weight.transpose(1, 2).flatten(1, 2), conv.bias)
    return out_KChw.transpose(0, 1)[None]
