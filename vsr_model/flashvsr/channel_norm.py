"""The norm over channels of Wan's family, and its form for GPUs in which SiLU follows in the same pass over memory.

Shape suffixes: N pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.trial import agree, proven

LEAST_LENGTH = 1e-12  # that is divided by

NormSilu = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ChannelNorm(nn.Module):
    """x / |x| * sqrt(C) * gamma over channels."""

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *([1] * axes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in; channels are the second axis."""
        return channel_norm(x, self.gamma)


def channel_norm(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """See `ChannelNorm`."""
    length = x.norm(dim=1, keepdim=True)
    # Whatever is divided by a length that overflowed is 0, and nobody would notice.
    length = length.masked_fill(length.isinf(), torch.nan).clamp_min(LEAST_LENGTH)
    out: torch.Tensor = x / length * x.shape[1] ** 0.5 * gamma
    return out


def norm_silu(x_NC: torch.Tensor, gamma_C: torch.Tensor) -> torch.Tensor:
    """`ChannelNorm` of pixels one after the other, then SiLU, in ordinary torch, anywhere."""
    return F.silu(channel_norm(x_NC, gamma_C))


@lru_cache(maxsize=8)
def norm_silu_on(device: torch.device, dtype: torch.dtype) -> NormSilu:
    """The fastest `norm_silu` that is right on a device."""
    if device.type != "cuda":
        return norm_silu

    def make() -> NormSilu:
        from vsr_model.flashvsr.fused_triton import norm_silu as kernel

        return kernel

    return proven("the projection's norm is", device, make, lambda kernel: check(kernel, device, dtype)) or norm_silu


def check(fused: NormSilu, device: torch.device, dtype: torch.dtype) -> None:
    """Compare a kernel with `norm_silu` on fresh noise, on zeros, and on what is no number.

    Raises:
        ArithmeticError: they differ by more than rounding explains.
    """
    for channels in (48, 2048):
        x_NC, gamma_C = (torch.randn(shape, device=device).to(dtype) for shape in ((9, channels), (channels,)))
        x_NC[2] = 0.0
        agree("a value", fused(x_NC, gamma_C), norm_silu(x_NC.float(), gamma_C.float()), dtype)
        for odd in (torch.nan, torch.inf):
            x_NC[1, 3] = odd
            if not bool(fused(x_NC, gamma_C)[1].isnan().all()):
                raise ArithmeticError(f"what is divided by a length of {odd} passes for a number")
