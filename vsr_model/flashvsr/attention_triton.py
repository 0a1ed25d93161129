"""Sparse attention on a GPU: one program for each query window, which visits only the key windows chosen for it.

The choice is turned into lists on the device, so the host never waits for it. Programs start with the longest lists:
a GPU that ends with the short ones is busy to the end. Softmax is computed as it goes (Milakov and Gimelshein 2018), in
float32, in powers of two.

Exact: what it computes is `attention.sparse_attention` but for the order of sums. Knows nothing of who chose.

Shape suffixes: E heads, W windows (Wq of queries, Wk of keys), L tokens of a window, D head width.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

_LOG2_E = math.log2(math.e)


def sparse_attention(
    query_EWLD: torch.Tensor, key_EWLD: torch.Tensor, value_EWLD: torch.Tensor, chosen_EWW: torch.Tensor
) -> torch.Tensor:
    """See `attention.sparse_attention`; half or single precision, L and D powers of two from 16 on."""
    heads, queries, tokens, width = query_EWLD.shape
    keys = key_EWLD.shape[1]
    query_EWLD, key_EWLD, value_EWLD = (x.contiguous() for x in (query_EWLD, key_EWLD, value_EWLD))
    out_EWLD = torch.empty_like(query_EWLD)
    count_EW = chosen_EWW.sum(-1, dtype=torch.int32)
    list_EWW = chosen_EWW.logical_not().to(torch.uint8).argsort(dim=-1, stable=True).to(torch.int32)
    order_P = count_EW.flatten().argsort(descending=True).to(torch.int32)
    stages = 1 if query_EWLD.dtype == torch.float32 else 2  # what two tiles of keys and values take of shared memory
    _attend[(heads * queries,)](
        query_EWLD, key_EWLD, value_EWLD, out_EWLD, count_EW, list_EWW, order_P, queries, keys,
        _LOG2_E / math.sqrt(width), L=tokens, D=width, num_warps=8, num_stages=stages,
    )  # fmt: skip
    return out_EWLD


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, out, count, windows, order, queries, keys, scale, L: tl.constexpr, D: tl.constexpr
):  # pragma: no cover - compiled
    place = tl.load(order + tl.program_id(0))  # head * queries + window
    head = place // queries
    wanted = tl.load(count + place)
    row_L = tl.arange(0, L)
    tile_LD = row_L[:, None] * D + tl.arange(0, D)[None, :]
    tile_DL = tl.arange(0, D)[:, None] + row_L[None, :] * D
    q_LD = tl.load(query + place.to(tl.int64) * (L * D) + tile_LD)
    of_head = head.to(tl.int64) * keys
    sum_LD = tl.zeros((L, D), tl.float32)
    weight_L = tl.zeros((L,), tl.float32)
    top_L = tl.full((L,), -float("inf"), tl.float32)
    for n in range(wanted):
        start = (of_head + tl.load(windows + place.to(tl.int64) * keys + n)) * (L * D)
        k_DL = tl.load(key + start + tile_DL)
        score_LL = tl.dot(q_LD, k_DL, input_precision="ieee") * scale
        higher_L = tl.maximum(top_L, tl.max(score_LL, 1))
        fade_L = tl.exp2(top_L - higher_L)
        share_LL = tl.exp2(score_LL - higher_L[:, None])
        weight_L = weight_L * fade_L + tl.sum(share_LL, 1)
        v_LD = tl.load(value + start + tile_LD)
        sum_LD = tl.dot(share_LL.to(v_LD.dtype), v_LD, sum_LD * fade_L[:, None], input_precision="ieee")
        top_L = higher_L
    # The highest score has a share of 1, so this divides by the weight, or by 1 where nothing was chosen.
    result_LD = sum_LD / tl.maximum(weight_L, 1.0)[:, None]
    tl.store(out + place.to(tl.int64) * (L * D) + tile_LD, result_LD.to(out.dtype.element_ty))
