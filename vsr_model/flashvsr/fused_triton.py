"""The steps of `fused` as Triton kernels: every value is read once and written once.

Sums, roots and rotations in float32 whatever the type; results are rounded once.

Shape suffixes: see `fused`; B a block, which a row is padded to.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

from vsr_model.flashvsr.attention import WINDOW, WINDOW_TOKENS
from vsr_model.flashvsr.fused import EPS, Plain, Turned

_WHOLE = 1 << 15  # scores that a program holds at once


class Fused:
    """The steps on a GPU."""

    def add_norm(
        self, x_NC: torch.Tensor, y_NC: torch.Tensor, gate_1C: torch.Tensor | None, weight_C: torch.Tensor,
        bias_C: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """See `fused.Steps`; `x_NC` and `y_NC` are dense."""
        out_NC = torch.empty_like(x_NC)
        _add_norm[(len(x_NC),)](
            x_NC, y_NC, y_NC if gate_1C is None else gate_1C, weight_C, bias_C, out_NC, EPS,
            C=x_NC.shape[1], B=triton.next_power_of_2(x_NC.shape[1]), GATED=gate_1C is not None, num_warps=4,
        )  # fmt: skip
        return out_NC

    def windows(self, query_NC: torch.Tensor, key_NC: torch.Tensor, value_NC: torch.Tensor, to: Turned) -> torch.Tensor:
        """See `fused.Steps`; all inputs are dense, and heads of an even width that is a power of two."""
        tokens, width = query_NC.shape
        query_EWLD = torch.empty(to.key_EWLD.shape, dtype=query_NC.dtype, device=query_NC.device)
        strides = [x.stride(0) for x in (query_EWLD, to.key_EWLD, to.value_EWLD)]
        _windows[(tokens,)](
            query_NC, key_NC, value_NC, to.query_weight_C, to.key_weight_C, to.turn_NP2,
            query_EWLD, to.key_EWLD, to.value_EWLD, *strides, *to.grid[1:], EPS,
            C=width, B=triton.next_power_of_2(width), D=to.key_EWLD.shape[-1],
            TIMES=WINDOW[0], ROWS=WINDOW[1], COLUMNS=WINDOW[2], L=WINDOW_TOKENS, num_warps=4,
        )  # fmt: skip
        return query_EWLD

    def linear_gelu(self, linear: nn.Linear, x_NC: torch.Tensor) -> torch.Tensor:
        """See `fused.Steps`: cuBLAS applies bias and GELU before it writes."""
        if not x_NC.is_cuda:  # where this call means another GELU
            return Plain().linear_gelu(linear, x_NC)
        out_NC: torch.Tensor = torch._addmm_activation(linear.bias, x_NC, linear.weight.T, use_gelu=True)
        return out_NC

    def kth_largest(self, x_EM: torch.Tensor, k: int) -> torch.Tensor:
        """See `fused.Steps`; values of 1 at most. By halving: which bits can be set so that k values are as large?"""
        rows, scores = x_EM.shape
        out_E1 = torch.empty((rows, 1), device=x_EM.device)
        block = min(triton.next_power_of_2(scores), _WHOLE)
        _kth_largest[(rows,)](x_EM, out_E1, k, scores, B=block, WHOLE=scores <= block, num_warps=32)
        return out_E1


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(  # type: ignore[no-untyped-def]
    x, y, gate, weight, bias, out, eps, C: tl.constexpr, B: tl.constexpr, GATED: tl.constexpr
):  # pragma: no cover - compiled
    row = tl.program_id(0).to(tl.int64) * C
    at_B = tl.arange(0, B)
    inside_B = at_B < C
    sum_B = tl.load(x + row + at_B, inside_B, 0.0).to(tl.float32)
    more_B = tl.load(y + row + at_B, inside_B, 0.0).to(tl.float32)
    if GATED:
        more_B *= tl.load(gate + at_B, inside_B, 0.0).to(tl.float32)
    # As it will be read next time: the norm is of what is kept.
    kept_B = (sum_B + more_B).to(x.dtype.element_ty)
    tl.store(x + row + at_B, kept_B, inside_B)
    value_B = kept_B.to(tl.float32)
    mean = tl.sum(value_B, 0) / C
    apart_B = tl.where(inside_B, value_B - mean, 0.0)
    scale = tl.rsqrt(tl.sum(apart_B * apart_B, 0) / C + eps)
    weight_B = tl.load(weight + at_B, inside_B, 0.0).to(tl.float32)
    bias_B = tl.load(bias + at_B, inside_B, 0.0).to(tl.float32)
    tl.store(out + row + at_B, (apart_B * scale * weight_B + bias_B).to(out.dtype.element_ty), inside_B)


@triton.jit  # type: ignore[untyped-decorator]
def _turned(x, weight, turn, row, eps, C: tl.constexpr, B: tl.constexpr, D: tl.constexpr):  # type: ignore[no-untyped-def] # pragma: no cover
    at_B = tl.arange(0, B)
    inside_B = at_B < C
    value_B = tl.load(x + row * C + at_B, inside_B, 0.0).to(tl.float32)
    value_B *= tl.rsqrt(tl.sum(value_B * value_B, 0) / C + eps)
    value_B *= tl.load(weight + at_B, inside_B, 0.0).to(tl.float32)
    turn_B = tl.load(turn + row * D + at_B % D)
    real_b, imaginary_b = tl.split(tl.reshape(value_B, (B // 2, 2)))
    cos_b, sin_b = tl.split(tl.reshape(turn_B, (B // 2, 2)))
    turned_b2 = tl.join(real_b * cos_b - imaginary_b * sin_b, real_b * sin_b + imaginary_b * cos_b)
    return tl.reshape(turned_b2, (B,))


@triton.jit  # type: ignore[untyped-decorator]
def _windows(  # type: ignore[no-untyped-def]
    query, key, value, query_weight, key_weight, turn, query_out, key_out, value_out,
    query_stride, key_stride, value_stride, height, columns, eps, C: tl.constexpr, B: tl.constexpr, D: tl.constexpr,
    TIMES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, L: tl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    token = tl.program_id(0)
    column, above = token % columns, token // columns
    line, time = above % height, above // height
    across, down = columns // COLUMNS, height // ROWS
    window = (time // TIMES * down + line // ROWS) * across + column // COLUMNS
    within = (time % TIMES * ROWS + line % ROWS) * COLUMNS + column % COLUMNS
    at_B = tl.arange(0, B)
    inside_B = at_B < C
    head_B = (at_B // D).to(tl.int64)
    place_B = (window.to(tl.int64) * L + within) * D + at_B % D
    row = token.to(tl.int64)
    query_B = _turned(query, query_weight, turn, row, eps, C, B, D)
    tl.store(query_out + head_B * query_stride + place_B, query_B.to(query_out.dtype.element_ty), inside_B)
    key_B = _turned(key, key_weight, turn, row, eps, C, B, D)
    tl.store(key_out + head_B * key_stride + place_B, key_B.to(key_out.dtype.element_ty), inside_B)
    value_B = tl.load(value + row * C + at_B, inside_B, 0.0)
    tl.store(value_out + head_B * value_stride + place_B, value_B, inside_B)


@triton.jit  # type: ignore[untyped-decorator]
def _kth_largest(x, out, k, scores, B: tl.constexpr, WHOLE: tl.constexpr):  # type: ignore[no-untyped-def] # pragma: no cover
    row = tl.program_id(0)
    at_B = tl.arange(0, B)
    start = x + row.to(tl.int64) * scores
    bits_B = tl.load(start + at_B, at_B < scores, -1.0).to(tl.int32, bitcast=True)
    found = 0
    bit = 1 << 29  # the highest that a float of 1 or less has, read as an integer
    for _ in range(30):
        tried = found | bit
        count = tl.sum((bits_B >= tried).to(tl.int32), 0)
        if not WHOLE:
            for first in range(B, scores, B):
                more_B = tl.load(start + first + at_B, first + at_B < scores, -1.0).to(tl.int32, bitcast=True)
                count += tl.sum((more_B >= tried).to(tl.int32), 0)
        found = tl.where(count >= k, tried, found)
        bit = bit // 2
    tl.store(out + row, tl.cast(found, tl.float32, bitcast=True))
