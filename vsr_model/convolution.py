"""Convolutions in the fewest kernels: with what follows, with an enlargement before, and to a few channels; and large
ones in halves where a GPU's library does those sooner.

Knows no network. Shape suffixes: B batch, C channels, O of what comes out, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.layout import words
from vsr_model.trial import agree, proven

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


_WORTH = 0.9  # of the time of the whole: what is hardly sooner shall not be chosen by chance
_in_halves: dict[tuple[object, ...], bool] = {}


def conv_soonest(x_BCHW: torch.Tensor, weight_OCyx: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    """A convolution without padding of tensors whose channels lie side by side, as they do in what is returned.

    cuDNN guesses which of its kernels is the fastest, and for some sizes takes one that is four times as slow as those
    for sizes around them. So the first call of a size on a GPU times two halves too, and later ones do what was sooner.
    """
    if not x_BCHW.is_cuda:
        return F.conv2d(x_BCHW, weight_OCyx, bias_O)
    size = (x_BCHW.shape, weight_OCyx.shape, x_BCHW.dtype, x_BCHW.device)
    if size not in _in_halves:
        whole, halves = (_milliseconds(way, x_BCHW, weight_OCyx, bias_O) for way in (F.conv2d, conv_in_halves))
        _in_halves[size] = halves < _WORTH * whole
    return (conv_in_halves if _in_halves[size] else F.conv2d)(x_BCHW, weight_OCyx, bias_O)


def conv_in_halves(x_BCHW: torch.Tensor, weight_OCyx: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    """The same as two convolutions, each to half of the channels, of which there are two at least."""
    biases = (None, None) if bias_O is None else bias_O.chunk(2)
    halves = [F.conv2d(x_BCHW, *half) for half in zip(weight_OCyx.chunk(2), biases, strict=True)]
    return torch.cat([half_BOHW.permute(0, 2, 3, 1) for half_BOHW in halves], dim=-1).permute(0, 3, 1, 2)


def _milliseconds(
    way: Callable[..., torch.Tensor], x_BCHW: torch.Tensor, weight_OCyx: torch.Tensor, bias_O: torch.Tensor | None
) -> float:
    """The least that one of three calls takes on the device, after one that loads what it needs."""
    way(x_BCHW, weight_OCyx, bias_O)
    taken: list[float] = []
    for _ in range(3):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        way(x_BCHW, weight_OCyx, bias_O)
        ended.record()
        ended.synchronize()
        taken.append(began.elapsed_time(ended))
    return min(taken)


Few = Callable[[nn.Conv2d, torch.Tensor], torch.Tensor]


def conv_few(conv: nn.Conv2d, x_BCHW: torch.Tensor) -> torch.Tensor:
    """A 3 x 3 convolution that keeps the size and makes a few channels; on a GPU in half precision by a kernel."""
    if x_BCHW.is_cuda and x_BCHW.dtype in _HALVES and not torch.is_grad_enabled():
        few = _few_on(x_BCHW.device, x_BCHW.dtype)
        whole = x_BCHW.shape[1] in (16, 32, 64, 128) and x_BCHW.is_contiguous(memory_format=torch.channels_last)
        if few and whole and conv.weight.is_contiguous(memory_format=torch.channels_last):
            return few(conv, x_BCHW)
    out_BOHW: torch.Tensor = conv(x_BCHW)
    return out_BOHW


@lru_cache(maxsize=8)
def _few_on(device: torch.device, dtype: torch.dtype) -> Few | None:
    """The kernel for a device, if it runs there and computes what it should."""

    def make() -> Few:
        from vsr_model.convolution_triton import conv_few as kernel

        return kernel

    return proven("the convolution to a few channels is", device, make, lambda few: check_few(few, device, dtype))


@torch.no_grad()
def check_few(few: Few, device: torch.device, dtype: torch.dtype) -> None:
    """Compare a kernel with the convolution of torch on fresh noise.

    Raises:
        ArithmeticError: they differ by more than rounding explains.
    """
    for channels, outs, biased in ((128, 3, True), (16, 2, False)):
        conv = nn.Conv2d(channels, outs, 3, padding=1, bias=biased, device=device).to(dtype)
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
        x_BCHW = (
            torch.randn((2, channels, 7, 45), device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        )
        exact = nn.Conv2d(channels, outs, 3, padding=1, bias=biased, device=device)
        exact.load_state_dict(conv.state_dict())
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            agree("its result", few(conv, x_BCHW), exact(x_BCHW.float()), dtype)


def phase_weights(weight_OC33: torch.Tensor) -> torch.Tensor:
    """The weights of `conv_enlarged`: four 2 x 2 convolutions, one for each pixel that one becomes, [4 O, C, 2, 2].

    Of the three taps along an axis two fall on one pixel of the picture before it was enlarged, so their weights add
    up: 16 products for four pixels instead of 36.
    """
    # What the near and the far tap of an even and an odd pixel are made of.
    taps_a23 = weight_OC33.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    weight_abOC22 = torch.einsum("ocyx,aky,blx->abockl", weight_OC33, taps_a23, taps_a23)
    return weight_abOC22.flatten(0, 2).contiguous(memory_format=torch.channels_last)


def conv_enlarged(x_BCHW: torch.Tensor, weights: list[torch.Tensor], bend: bool) -> torch.Tensor:
    """Pictures made twice as large, each pixel repeated, and then 3 x 3 convolutions that keep the size.

    Args:
        x_BCHW: the small pictures, channels side by side in memory.
        weights: `phase_weights` of each convolution's, which make pictures of their own of every small one.
        bend: ReLU after it.

    Returns:
        [B * len(weights), O, 2 H, 2 W], what is made of one small picture lies together.
    """
    batch, _, height, width = x_BCHW.shape
    outs = len(weights[0]) // 4
    out_BOHW = torch.empty(
        (batch * len(weights), outs, 2 * height, 2 * width), dtype=x_BCHW.dtype, device=x_BCHW.device,
        memory_format=torch.channels_last,
    )  # fmt: skip
    to_BHWO = words(out_BOHW.permute(0, 2, 3, 1))
    to_BnHaWbO = to_BHWO.view(batch, len(weights), height, 2, width, 2, -1)
    for n, weight_PC22 in enumerate(weights):
        phases_BPHW = _bent(x_BCHW, weight_PC22) if bend else F.conv2d(x_BCHW, weight_PC22, padding=1)
        made_BHWP = phases_BPHW.permute(0, 2, 3, 1)
        made_BHWabO = (words(made_BHWP) if to_BHWO.is_complex() else made_BHWP).view(
            batch, height + 1, width + 1, 2, 2, -1
        )
        of_b, of_h, of_w, of_y, of_x, of_o = made_BHWabO.stride()
        # Pixel (y + a, x + b) of phase (a, b) for all four in one copy: a step in a is one in y as well.
        to_BnHaWbO[:, n] = made_BHWabO.as_strided(
            (batch, height, 2, width, 2, made_BHWabO.shape[-1]), (of_b, of_h, of_h + of_y, of_w, of_w + of_x, of_o)
        )
        del phases_BPHW, made_BHWP, made_BHWabO  # before the next ones are made
    return out_BOHW


def _bent(x_BCHW: torch.Tensor, weight_OC22: torch.Tensor) -> torch.Tensor:
    """A 2 x 2 convolution over the picture with a border of zeros, and ReLU."""
    if x_BCHW.is_cuda and x_BCHW.dtype in _HALVES:
        return torch.cudnn_convolution_relu(x_BCHW, weight_OC22, None, [1, 1], [1, 1], [1, 1], 1)
    return F.relu(F.conv2d(x_BCHW, weight_OC22, padding=1))
