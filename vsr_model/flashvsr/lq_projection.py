"""Source frames to tokens: 16 x 16 patches of pixels through two causal convolutions that take four frames to one.

The versions of FlashVSR differ in what a convolution is told of the time before a clip, and each's weights were trained
with its own rule: v1.1 carries the frames before ("causal"), v1 repeats the clip's own last two in front of it
("buffer"). The wrong rule shows as ghosts of frames to come.

Shape suffixes: T frames, K token frames, 3 colours, C channels, H rows, W columns, h and w of the token grid, s frames
under a kernel, O channels that come out, N tokens, X pixels that a kernel needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.convolution import conv_soonest
from vsr_model.flashvsr.channel_norm import ChannelNorm, norm_silu_on
from vsr_model.layout import words

PATCH = 16
CLIP = 4  # frames of every call but the first
HISTORY = 2  # frames before a clip that a convolution sees
Rule = Literal["causal", "buffer"]


@dataclass
class History:
    """What the next call needs of this one: the last inputs of both convolutions; None before the first call."""

    first_CThw: torch.Tensor | None = None
    second_CThw: torch.Tensor | None = None


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
        clip_CThw = _patches(frames_3THW)
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
    def _convolve(
        conv: nn.Conv3d, norm: ChannelNorm, before_CThw: torch.Tensor, clip_CThw: torch.Tensor
    ) -> torch.Tensor:
        if clip_CThw.is_cuda:
            return _flat_convolution(conv, norm, before_CThw, clip_CThw)
        x_1CThw = F.pad(torch.cat((before_CThw, clip_CThw), dim=1)[None], (1, 1, 1, 1, 0, 0), mode="replicate")
        out_CKhw: torch.Tensor = F.silu(norm(conv(x_1CThw)))[0]
        return out_CKhw


def _patches(frames_3THW: torch.Tensor) -> torch.Tensor:
    """The pixels of each patch as channels, which lie side by side in memory, [3 * PATCH * PATCH, T, h, w]."""
    _, times, height, width = frames_3THW.shape
    h, w = height // PATCH, width // PATCH
    x_3ThPwP = frames_3THW.reshape(3, times, h, PATCH, w, PATCH)
    return x_3ThPwP.permute(1, 2, 4, 0, 3, 5).reshape(times, h, w, -1).permute(3, 0, 1, 2)


def _flat_convolution(
    conv: nn.Conv3d, norm: ChannelNorm, before_CThw: torch.Tensor, clip_CThw: torch.Tensor
) -> torch.Tensor:
    """The same with the frames under the kernel as channels: GPU libraries are twice as fast in two dimensions.

    All that lies in memory has its channels side by side, also what is returned.
    """
    x_ThwC = torch.cat([x_CThw.permute(1, 2, 3, 0) for x_CThw in (before_CThw, clip_CThw)])
    times, height, width, _ = x_ThwC.shape
    steps, stride = conv.kernel_size[0], conv.stride[0]
    places = _under_kernel(times, height, width, steps, stride, x_ThwC.device)
    under_XC = words(x_ThwC).flatten(0, 2).index_select(0, places).view(x_ThwC.dtype)
    under_KhwC = under_XC.view(-1, height + 2, width + 2, steps * x_ThwC.shape[-1])
    weight_OC33 = conv.weight.transpose(1, 2).flatten(1, 2)
    out_KhwC = conv_soonest(under_KhwC.permute(0, 3, 1, 2), weight_OC33, conv.bias).permute(0, 2, 3, 1)
    normed_NC = norm_silu_on(out_KhwC.device, out_KhwC.dtype)(out_KhwC.flatten(0, 2), norm.gamma.flatten())
    return normed_NC.view(out_KhwC.shape).permute(3, 0, 1, 2)


@lru_cache(maxsize=16)
def _under_kernel(times: int, height: int, width: int, steps: int, stride: int, device: torch.device) -> torch.Tensor:
    """Numbers of the pixels, of all frames, that a convolution needs with the border repeated once.

    For each of its time steps, row by row each place in a frame with a border around it, and there one of every frame
    under the kernel, [X].
    """
    time_Ks = torch.arange(0, times - steps + 1, stride, device=device)[:, None] + torch.arange(steps, device=device)
    row_h, column_w = (torch.arange(-1, side + 1, device=device).clamp(0, side - 1) for side in (height, width))
    line_Kh1s = time_Ks[:, None, None] * height + row_h[:, None, None]
    return (line_Kh1s * width + column_w[:, None]).flatten()
