"""The steps of `fused` as Triton kernels: every value is read once and written once.

Sums, roots and rotations in float32 whatever the type; results are rounded once.

Shape suffixes: see `fused`; B a block, which a row is padded to, P a part of a head's width.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import nn

from vsr_model.flashvsr.channel_norm import LEAST_LENGTH
from vsr_model.flashvsr.fused import EPS, Plain, Turned

_WHOLE = 1 << 15  # scores that a program holds at once
_PART = 1 << 14  # values of keys that a program holds at once
_LOW = tl.constexpr((1 << 21) - 1)  # of a count


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

    def windows(
        self, query_NC: torch.Tensor, key_NC: torch.Tensor, value_NC: torch.Tensor, to: Turned
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `fused.Steps`; all inputs are dense, and heads of an even width that is a power of two."""
        tokens, width = query_NC.shape
        query_EWLD = torch.empty(to.key_EWLD.shape, dtype=query_NC.dtype, device=query_NC.device)
        strides = [x.stride(0) for x in (query_EWLD, to.key_EWLD, to.value_EWLD)]
        _windows[(tokens,)](
            query_NC, key_NC, value_NC, to.query_weight_C, to.key_weight_C, to.turn_NP2,
            query_EWLD, to.key_EWLD, to.value_EWLD, *strides, EPS,
            C=width, B=triton.next_power_of_2(width), D=to.key_EWLD.shape[-1], num_warps=4,
        )  # fmt: skip
        heads, windows, length, head_width = query_EWLD.shape
        mean_EWD = torch.empty((heads, windows, head_width), dtype=query_NC.dtype, device=query_NC.device)
        _means[(heads * windows, 2)](
            query_EWLD, to.key_EWLD, mean_EWD, to.mean_EWD, windows, strides[1], to.mean_EWD.stride(0),
            L=length, D=head_width, num_warps=8,
        )  # fmt: skip
        return query_EWLD, mean_EWD

    def linear_gelu(self, linear: nn.Linear, x_NC: torch.Tensor) -> torch.Tensor:
        """See `fused.Steps`: cuBLAS applies bias and GELU before it writes."""
        if not x_NC.is_cuda:  # where this call means another GELU
            return Plain().linear_gelu(linear, x_NC)
        out_NC: torch.Tensor = torch._addmm_activation(linear.bias, x_NC, linear.weight.T, use_gelu=True)
        return out_NC

    def shares(
        self, query_EWD: torch.Tensor, key_SEnD: torch.Tensor, slabs_s: torch.Tensor, near_nn: torch.Tensor
    ) -> torch.Tensor:
        """See `fused.Steps`; scores are rounded where the plain step rounds them, and means are dense."""
        heads, queries, width = query_EWD.shape
        keys = len(slabs_s) * len(near_nn)
        share_EWW = torch.empty((heads, queries, keys), device=query_EWD.device)
        block = triton.next_power_of_2(keys)
        part = min(max(8, _PART // block), triton.next_power_of_2(width))
        _shares[(heads * queries,)](
            query_EWD, key_SEnD, slabs_s, near_nn, share_EWW, heads, queries, keys, len(near_nn), math.sqrt(width),
            D=width, B=block, PART=part, num_warps=4,
        )  # fmt: skip
        return share_EWW

    def above_kth(self, x_RM: torch.Tensor, k: int) -> torch.Tensor:
        """See `fused.Steps`. From the highest bit of the threshold on: can it be set so that k values are as large?"""
        rows, scores = x_RM.shape
        above_RM = torch.empty((rows, scores), dtype=torch.bool, device=x_RM.device)
        block = min(triton.next_power_of_2(scores), _WHOLE)
        whole = scores <= block
        _above_kth[(rows,)](x_RM, above_RM, k, scores, B=block, WHOLE=whole, num_warps=8 if whole else 32)
        return above_RM


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
    query_stride, key_stride, value_stride, eps, C: tl.constexpr, B: tl.constexpr, D: tl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    at_B = tl.arange(0, B)
    inside_B = at_B < C
    head_B = (at_B // D).to(tl.int64)
    row = tl.program_id(0).to(tl.int64)
    place_B = row * D + at_B % D
    query_B = _turned(query, query_weight, turn, row, eps, C, B, D)
    tl.store(query_out + head_B * query_stride + place_B, query_B.to(query_out.dtype.element_ty), inside_B)
    key_B = _turned(key, key_weight, turn, row, eps, C, B, D)
    tl.store(key_out + head_B * key_stride + place_B, key_B.to(key_out.dtype.element_ty), inside_B)
    value_B = tl.load(value + row * C + at_B, inside_B, 0.0)
    tl.store(value_out + head_B * value_stride + place_B, value_B, inside_B)


@triton.jit  # type: ignore[untyped-decorator]
def _means(  # type: ignore[no-untyped-def]
    query, key, query_mean, key_mean, windows, key_stride, mean_stride, L: tl.constexpr, D: tl.constexpr
):  # pragma: no cover - compiled
    place = tl.program_id(0).to(tl.int64)
    head, window = place // windows, place % windows
    at_D = tl.arange(0, D)
    tile_LD = tl.arange(0, L)[:, None] * D + at_D[None, :]
    if tl.program_id(1) == 0:
        x_LD = tl.load(query + place * (L * D) + tile_LD).to(tl.float32)
        tl.store(query_mean + place * D + at_D, (tl.sum(x_LD, 0) / L).to(query_mean.dtype.element_ty))
    else:
        x_LD = tl.load(key + head * key_stride + window * (L * D) + tile_LD).to(tl.float32)
        mean_D = (tl.sum(x_LD, 0) / L).to(key_mean.dtype.element_ty)
        tl.store(key_mean + head * mean_stride + window * D + at_D, mean_D)


@triton.jit  # type: ignore[untyped-decorator]
def _above_kth(x, above, k, scores, B: tl.constexpr, WHOLE: tl.constexpr):  # type: ignore[no-untyped-def] # pragma: no cover
    row = tl.program_id(0).to(tl.int64) * scores
    x += row
    above += row
    at_B = tl.arange(0, B)
    value_B = tl.load(x + at_B, at_B < scores, -1.0)
    bits_B = value_B.to(tl.int32, bitcast=True)
    found = 0
    if WHOLE:
        step = 1 << 29  # the highest bit that a float of 1 or less has, read as an integer
        for _ in range(30):
            count = tl.sum((bits_B >= found + step).to(tl.int32), 0)
            found = tl.where(count >= k, found + step, found)
            step = step // 2
    else:  # two bits at a time: every pass reads what the program cannot hold
        step = 1 << 28
        for _ in range(15):
            one, two, three = found + step, found + 2 * step, found + 3 * step
            counts = tl.sum(_as_large(bits_B, one, two, three), 0)
            for first in range(B, scores, B):
                more_B = tl.load(x + first + at_B, first + at_B < scores, -1.0).to(tl.int32, bitcast=True)
                counts += tl.sum(_as_large(more_B, one, two, three), 0)
            found = tl.where(counts & _LOW >= k, one, found)
            found = tl.where(counts >> 21 & _LOW >= k, two, found)
            found = tl.where(counts >> 42 >= k, three, found)
            step = step // 4
    threshold = tl.cast(found, tl.float32, bitcast=True)
    tl.store(above + at_B, (value_B <= threshold) == 0, at_B < scores)
    if not WHOLE:
        for first in range(B, scores, B):
            inside_B = first + at_B < scores
            tl.store(above + first + at_B, (tl.load(x + first + at_B, inside_B, -1.0) <= threshold) == 0, inside_B)


@triton.jit
def _as_large(bits_B, one, two, three):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Whether each is as large as three bounds, to be counted in 21 bits each."""
    count_B = (bits_B >= one).to(tl.int64) + ((bits_B >= two).to(tl.int64) << 21)
    return count_B + ((bits_B >= three).to(tl.int64) << 42)


@triton.jit  # type: ignore[untyped-decorator]
def _shares(  # type: ignore[no-untyped-def]
    query, key, slabs, near, share, heads, queries, keys, n, root, D: tl.constexpr, B: tl.constexpr,
    PART: tl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    place = tl.program_id(0)
    at_B = tl.arange(0, B)
    inside_B = at_B < keys
    query += place.to(tl.int64) * D
    slab_B = tl.load(slabs + at_B // n, inside_B, 0)
    key_B = key + ((slab_B * heads + place // queries) * n + at_B % n).to(tl.int64) * D
    sum_B = tl.zeros((B,), tl.float32)
    for first in range(0, D, PART):
        at_P = first + tl.arange(0, PART)
        query_P = tl.load(query + at_P, at_P < D, 0.0).to(tl.float32)
        inside_BP = inside_B[:, None] & (at_P < D)[None, :]
        key_BP = tl.load(key_B[:, None] + at_P[None, :], inside_BP, 0.0).to(tl.float32)
        sum_B += tl.sum(key_BP * query_P[None, :], 1)
    kind: tl.constexpr = query.dtype.element_ty
    score_B = (sum_B.to(kind).to(tl.float32) / root).to(kind).to(tl.float32)
    near_B = tl.load(near + place % queries % n * n + at_B % n, inside_B, 0)
    score_B = tl.where(near_B != 0, score_B, -float("inf"))
    top = tl.maximum(tl.max(score_B, 0), -3e38)  # no infinity, if only what is no number is near
    power_B = tl.exp(score_B - top)
    tl.store(share + place.to(tl.int64) * keys + at_B, power_B / tl.sum(power_B, 0), inside_B)


def norm_silu(x_NC: torch.Tensor, gamma_C: torch.Tensor) -> torch.Tensor:
    """See `channel_norm.norm_silu`; both are dense."""
    out_NC = torch.empty_like(x_NC)
    pixels, channels = x_NC.shape
    _norm_silu[(pixels,)](
        x_NC, gamma_C, out_NC, channels**0.5, LEAST_LENGTH, C=channels, B=triton.next_power_of_2(channels), num_warps=4
    )
    return out_NC


@triton.jit  # type: ignore[untyped-decorator]
def _norm_silu(  # type: ignore[no-untyped-def]
    x, gamma, out, root, least, C: tl.constexpr, B: tl.constexpr
):  # pragma: no cover - compiled
    row = tl.program_id(0).to(tl.int64) * C
    at_B = tl.arange(0, B)
    inside_B = at_B < C
    value_B = tl.load(x + row + at_B, inside_B, 0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(value_B * value_B, 0))
    length = tl.maximum(length, least, propagate_nan=tl.PropagateNan.ALL)
    length = tl.where(length == float("inf"), float("nan"), length)
    value_B *= tl.load(gamma + at_B, inside_B, 0.0).to(tl.float32) * (root / length)
    tl.store(out + row + at_B, (value_B * tl.sigmoid(value_B)).to(out.dtype.element_ty), inside_B)
