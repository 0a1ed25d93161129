"""A convolution with what follows it, in one kernel where cuDNN has one.

Knows no network. Shape suffixes: B batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_HALVES = (torch.float16, torch.bfloat16)


def conv_relu(conv: nn.Conv2d, x_BCHW: torch.Tensor, add_BCHW: torch.Tensor | None = None) -> torch.Tensor:
    """relu(conv(x) + add) of a 3 x 3 convolution that keeps the size; one kernel where no gradient is asked."""
    if x_BCHW.is_cuda and x_BCHW.dtype in _HALVES and not torch.is_grad_enabled():
        one = [1, 1]
        if add_BCHW is None:
            return torch.cudnn_convolution_relu(x_BCHW, conv.weight, conv.bias, one, one, one, 1)
        return torch.cudnn_convolution_add_relu(x_BCHW, conv.weight, add_BCHW, 1.0, conv.bias, one, one, one, 1)
    out_BCHW = conv(x_BCHW)
    return F.relu(out_BCHW if add_BCHW is None else out_BCHW + add_BCHW)
