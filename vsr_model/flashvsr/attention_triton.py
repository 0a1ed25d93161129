"""Sparse attention on a GPU: one program for each query window, which visits only the key windows chosen for it.

The choice is turned into lists on the device, so the host never waits for it. Programs start with the longest lists:
a GPU that ends with the short ones is busy to the end. Softmax is computed as it goes (Milakov and Gimelshein 2018), in
float32, in powers of two.

Exact: what it computes is `attention.sparse_attention` but for the order of sums. Knows nothing of who chose.

Shape suffixes: E heads, W windows (Wq of queries, Wk of keys), P = E * Wq places, s slabs that are seen, S of the pool,
n windows of one, L tokens of a window, K of them at a time, D head width, B a block, which a row is padded to.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from vsr_model.flashvsr.seen import Seen

LOG2_E = math.log2(math.e)
_KEYS = 64  # of a window, looked at together: more would not fit beside the sums in a program's registers


def sparse_attention(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """See `attention.sparse_attention`; half or single precision, L and D powers of two from 16 on."""
    heads, queries, tokens, width = query_EWLD.shape
    query_EWLD = query_EWLD.contiguous()
    out_NC = torch.empty((queries * tokens, heads * width), dtype=query_EWLD.dtype, device=query_EWLD.device)
    list_EWW, count_P = listed(chosen_EWW, seen)
    order_P = _longest_first(count_P)
    # Two stages of keys and values in single precision are more than shared memory holds.
    stages = 1 if query_EWLD.dtype == torch.float32 else 2
    _attend[(heads * queries,)](
        query_EWLD, seen.keys_SEnLD, seen.values_SEnLD, out_NC, count_P, list_EWW, order_P, heads, queries,
        chosen_EWW.shape[2], LOG2_E / math.sqrt(width), L=tokens, K=min(_KEYS, tokens), D=width, num_warps=4,
        num_stages=stages,
    )  # fmt: skip
    return out_NC


def listed(chosen_EWW: torch.Tensor, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
    """The choice as lists, made on the device.

    Returns:
        For each query window the chosen key windows in front of [E, Wq, Wk], by their numbers in the whole pool; and
        how many they are [P], by place, which is head * Wq + window; int32.
    """
    heads, queries, keys = chosen_EWW.shape
    list_EWW = torch.empty(chosen_EWW.shape, dtype=torch.int32, device=chosen_EWW.device)
    count_P = torch.empty(heads * queries, dtype=torch.int32, device=chosen_EWW.device)
    _list[(heads * queries,)](
        chosen_EWW.contiguous(), seen.slabs_s, list_EWW, count_P, queries, keys, heads, seen.keys_SEnLD.shape[2],
        B=triton.next_power_of_2(keys),
    )  # fmt: skip
    return list_EWW, count_P


def _longest_first(count_P: torch.Tensor) -> torch.Tensor:
    """The places in the order in which they are best begun, int32 [P]."""
    order_P = torch.empty_like(count_P)
    _rank[(len(count_P),)](count_P, order_P, len(count_P), B=triton.next_power_of_2(len(count_P)))
    return order_P


@triton.jit  # type: ignore[untyped-decorator]
def _list(  # type: ignore[no-untyped-def]
    chosen, slabs, windows, count, queries, keys, heads, n, B: tl.constexpr
):  # pragma: no cover - compiled
    place = tl.program_id(0)
    start = place.to(tl.int64) * keys
    at_B = tl.arange(0, B)
    chosen_B = tl.load(chosen + start + at_B, at_B < keys, 0).to(tl.int32)
    before_B = tl.cumsum(chosen_B, 0) - chosen_B
    slab_B = tl.load(slabs + at_B // n, at_B < keys, 0)
    tl.store(windows + start + before_B, (slab_B * heads + place // queries) * n + at_B % n, chosen_B != 0)
    tl.store(count + place, tl.sum(chosen_B, 0))


@triton.jit  # type: ignore[untyped-decorator]
def _rank(count, order, places, B: tl.constexpr):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    place = tl.program_id(0)
    at_B = tl.arange(0, B)
    mine = tl.load(count + place)
    other_B = tl.load(count + at_B, at_B < places, -1)
    before_B = (other_B > mine) | ((other_B == mine) & (at_B < place))
    tl.store(order + tl.sum(before_B.to(tl.int32), 0), place)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, out, count, windows, order, heads, queries, keys, scale, L: tl.constexpr, K: tl.constexpr,
    D: tl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    place = tl.load(order + tl.program_id(0))
    wanted = tl.load(count + place)
    row_L, row_K, at_D = tl.arange(0, L), tl.arange(0, K), tl.arange(0, D)
    tile_LD = row_L[:, None] * D + at_D[None, :]
    tile_KD = row_K[:, None] * D + at_D[None, :]
    tile_DK = at_D[:, None] + row_K[None, :] * D
    q_LD = tl.load(query + place.to(tl.int64) * (L * D) + tile_LD)
    windows += place.to(tl.int64) * keys
    sum_LD = tl.zeros((L, D), tl.float32)
    weight_L = tl.zeros((L,), tl.float32)
    top_L = tl.full((L,), -float("inf"), tl.float32)
    parts: tl.constexpr = L // K
    for n in range(wanted * parts):
        start = (tl.load(windows + n // parts).to(tl.int64) * L + n % parts * K) * D
        k_DK = tl.load(key + start + tile_DK)
        score_LK = tl.dot(q_LD, k_DK, input_precision="ieee")
        higher_L = tl.maximum(top_L, tl.max(score_LK, 1) * scale)
        share_LK = tl.exp2(score_LK * scale - higher_L[:, None])
        fade_L = tl.exp2(top_L - higher_L)
        weight_L = weight_L * fade_L + tl.sum(share_LK, 1)
        v_KD = tl.load(value + start + tile_KD)
        sum_LD = tl.dot(share_LK.to(v_KD.dtype), v_KD, sum_LD * fade_L[:, None], input_precision="ieee")
        top_L = higher_L
    # The highest score has a share of about 1, so this divides by the weight, or by 1 where nothing was chosen.
    result_LD = sum_LD / tl.where(weight_L > 0.0, weight_L, 1.0)[:, None]
    out += ((place % queries).to(tl.int64) * L * heads + place // queries) * D
    tl.store(out + row_L[:, None] * (heads * D) + at_D[None, :], result_LD.to(out.dtype.element_ty))
