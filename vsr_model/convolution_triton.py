"""A 3 x 3 convolution to a few channels on a GPU: as fast as its input can be read.

Libraries make at least 32 channels and throw most of them away. Here a product gives, of each pixel, what each of the
nine taps makes of it, and a second pass adds up what belongs together. Products in the input's type, sums in float32.
Knows no network.

Shape suffixes: B batch, C channels, O of what comes out, H rows, W columns, X pixels of all, M of a program, N taps
times channels that come out, padded.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

CHANNELS = 3  # that may come out
_TAPS = 32  # at least nine times as many
_PRODUCTS, _SUMS = 128, 512  # pixels of a program


def conv_few(conv: nn.Conv2d, x_BCHW: torch.Tensor) -> torch.Tensor:
    """See `convolution.conv_few`; weights and input have their channels side by side, a power of two from 16 on."""
    batch, channels, height, width = x_BCHW.shape
    outs, pixels = conv.out_channels, batch * height * width
    tap_NX = torch.empty((_TAPS, pixels), dtype=torch.float32, device=x_BCHW.device)
    _products[(triton.cdiv(pixels, _PRODUCTS),)](
        x_BCHW, conv.weight, tap_NX, pixels, outs, C=channels, N=_TAPS, M=_PRODUCTS, num_warps=4
    )
    out_BOHW = torch.empty(
        (batch, outs, height, width), dtype=x_BCHW.dtype, device=x_BCHW.device, memory_format=torch.channels_last
    )
    _sums[(triton.cdiv(pixels, _SUMS), outs)](
        tap_NX, x_BCHW if conv.bias is None else conv.bias, out_BOHW, pixels, height, width, outs,
        BIASED=conv.bias is not None, M=_SUMS, num_warps=4,
    )  # fmt: skip
    return out_BOHW


@triton.jit  # type: ignore[untyped-decorator]
def _products(  # type: ignore[no-untyped-def]
    x, weight, tap, pixels, outs, C: tl.constexpr, N: tl.constexpr, M: tl.constexpr
):  # pragma: no cover - compiled
    at_M = tl.program_id(0) * M + tl.arange(0, M)
    at_C, at_N = tl.arange(0, C), tl.arange(0, N)
    value_MC = tl.load(x + at_M[:, None].to(tl.int64) * C + at_C[None, :], (at_M < pixels)[:, None], 0.0)
    tile_CN = (at_N % outs * 9 + at_N // outs)[None, :] * C + at_C[:, None]
    weight_CN = tl.load(weight + tile_CN, (at_N < 9 * outs)[None, :], 0.0)
    tap_MN = tl.dot(value_MC, weight_CN, input_precision="ieee")
    inside_MN = (at_M < pixels)[:, None] & (at_N < 9 * outs)[None, :]
    tl.store(tap + at_N[None, :].to(tl.int64) * pixels + at_M[:, None], tap_MN, inside_MN)


@triton.jit  # type: ignore[untyped-decorator]
def _sums(  # type: ignore[no-untyped-def]
    tap, bias, out, pixels, height, width, outs, BIASED: tl.constexpr, M: tl.constexpr
):  # pragma: no cover - compiled
    channel = tl.program_id(1)
    at_M = tl.program_id(0) * M + tl.arange(0, M)
    row_M, column_M = at_M // width % height, at_M % width
    sum_M = tl.zeros((M,), tl.float32)
    if BIASED:
        sum_M += tl.load(bias + channel).to(tl.float32)
    for n in tl.static_range(9):
        down, right = n // 3 - 1, n % 3 - 1
        y_M, x_M = row_M + down, column_M + right
        inside_M = (at_M < pixels) & (y_M >= 0) & (y_M < height) & (x_M >= 0) & (x_M < width)
        plane = (n * outs + channel).to(tl.int64) * pixels
        sum_M += tl.load(tap + plane + at_M + down * width + right, inside_M, 0.0)
    tl.store(out + at_M.to(tl.int64) * outs + channel, sum_M.to(out.dtype.element_ty), at_M < pixels)
