"""Locality-constrained sparse attention: windows of 2 x 8 x 8 tokens, of which each looks at its best neighbours.

After arXiv 2510.12747, section 3.3, as the published code does it. Two latent frames are a *slab*. A query window may
see key windows within `local_range` of it in the picture, in its own slab and the cached ones. Of all allowed pairs
of a query slab the most promising share is kept, by a softmax over window means. The choice is made for each head.

`sparse_attention` is the one place that computes it, by a kernel on GPUs where that has proven itself against
`exact_attention`, which computes it window by window anywhere.

Shape suffixes: N tokens, E heads, D head width, W windows (Wq of queries, Wk of keys), L = 128 tokens of a window,
n windows of one slab, R slabs of all heads, M pairs of windows of a slab.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch

from vsr_model.flashvsr.trial import agree, works

WINDOW = (2, 8, 8)  # latent frames, token rows, token columns
WINDOW_TOKENS = math.prod(WINDOW)

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
KthLargest = Callable[[torch.Tensor, int], torch.Tensor]


def to_windows(x_NED: torch.Tensor, times: int, height: int, width: int) -> torch.Tensor:
    """Raster tokens [N, E, D] as windows [E, W, L, D]; the sides are multiples of `WINDOW`."""
    t, r, c = WINDOW
    heads, head_width = x_NED.shape[1:]
    x = x_NED.reshape(times // t, t, height // r, r, width // c, c, heads, head_width)
    return x.permute(6, 0, 2, 4, 1, 3, 5, 7).reshape(heads, -1, WINDOW_TOKENS, head_width)


def from_windows(x_EWLD: torch.Tensor, times: int, height: int, width: int) -> torch.Tensor:
    """The way back: raster tokens [N, E * D]."""
    t, r, c = WINDOW
    heads, _, _, head_width = x_EWLD.shape
    x = x_EWLD.reshape(heads, times // t, height // r, width // c, t, r, c, head_width)
    return x.permute(1, 4, 2, 5, 3, 6, 0, 7).reshape(-1, heads * head_width)


@lru_cache(maxsize=8)
def local_mask(rows: int, columns: int, local_range: int, device: torch.device) -> torch.Tensor:
    """Which windows of a slab may see each other: bool [n, n] for a grid of rows x columns windows.

    A key window may lie from local_range // 2 before to local_range - 1 - local_range // 2 behind, on either axis. The
    range is not moved inwards at the border of the picture: windows there have fewer neighbours.
    """
    before = local_range // 2
    row_n, column_n = (x.flatten() for x in torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"))  # fmt: skip
    near_nn = torch.ones((rows * columns, rows * columns), dtype=torch.bool, device=device)
    for at_n in (row_n, column_n):
        apart_nn = at_n[None, :] - at_n[:, None]
        near_nn &= (apart_nn >= -before) & (apart_nn <= local_range - 1 - before)
    return near_nn


def kth_largest(x_EM: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th largest (from 1) of each row, [E, 1]."""
    return x_EM.topk(k, dim=-1).values[..., -1:]


def choose_windows(
    query_EWD: torch.Tensor,
    key_EWD: torch.Tensor,
    near_nn: torch.Tensor,
    keep_ratio: float,
    kth_largest: KthLargest = kth_largest,
) -> torch.Tensor:
    """Which key windows each query window looks at, for each head: bool [E, Wq, Wk].

    Args:
        query_EWD, key_EWD: means over the tokens of each window.
        near_nn: see `local_mask`.
        keep_ratio: pairs kept of a query slab, in units of n * n.
        kth_largest: what finds the threshold, of rows in 0..1.

    The least of the kept pairs is dropped once more: what is kept lies strictly above a threshold. So without ties
    int(n * n * keep_ratio) - 1 pairs of a slab are kept, and never all of them.
    """
    heads, queries, head_width = query_EWD.shape
    keys, n = key_EWD.shape[1], len(near_nn)
    slabs = queries // n
    score_EWW = (query_EWD @ key_EWD.transpose(1, 2)) / math.sqrt(head_width)
    allowed_WW = near_nn.repeat(slabs, keys // n)
    share_EWW = score_EWW.float().masked_fill(~allowed_WW, -math.inf).softmax(dim=-1)
    share_RM = share_EWW.reshape(heads * slabs, n * keys)
    kept = max(0, min(int(n * n * keep_ratio), n * keys) - 1)
    return (share_RM > kth_largest(share_RM, kept + 1)).reshape(heads, queries, keys)


def sparse_attention(
    query_EWLD: torch.Tensor, key_EWLD: torch.Tensor, value_EWLD: torch.Tensor, chosen_EWW: torch.Tensor
) -> torch.Tensor:
    """Attention of each query window to the tokens of the key windows chosen for it; zeros where there are none."""
    attend = _kernel(query_EWLD.device, query_EWLD.dtype, *query_EWLD.shape[2:]) or exact_attention
    return attend(query_EWLD, key_EWLD, value_EWLD, chosen_EWW)


def exact_attention(
    query_EWLD: torch.Tensor, key_EWLD: torch.Tensor, value_EWLD: torch.Tensor, chosen_EWW: torch.Tensor
) -> torch.Tensor:
    """What `sparse_attention` promises, window by window."""
    heads, queries, _, head_width = query_EWLD.shape
    out_EWLD = torch.zeros_like(query_EWLD)
    for head in range(heads):
        for window in range(queries):
            chosen_W = chosen_EWW[head, window].nonzero().flatten()
            if len(chosen_W):
                out_EWLD[head, window] = torch.nn.functional.scaled_dot_product_attention(
                    query_EWLD[None, head, window],
                    key_EWLD[head, chosen_W].reshape(1, -1, head_width),
                    value_EWLD[head, chosen_W].reshape(1, -1, head_width),
                )[0]
    return out_EWLD


@lru_cache(maxsize=8)
def _kernel(device: torch.device, dtype: torch.dtype, tokens: int, head_width: int) -> Attend | None:
    """The kernel for a device, if it runs there and computes what it should."""
    if device.type != "cuda":
        return None
    made: list[Attend] = []

    def prove() -> None:
        from vsr_model.flashvsr.attention_triton import sparse_attention as kernel

        made.append(kernel)
        generator = torch.Generator(device).manual_seed(0)
        size = (tokens, head_width)
        drawn = (torch.randn((2, n, *size), generator=generator, device=device) for n in (3, 5, 5))
        query, key, value = (x.to(dtype) for x in drawn)
        chosen = torch.rand((2, 3, 5), generator=generator, device=device) < 0.5
        chosen[0, 0], chosen[1, 2] = True, False
        wanted = exact_attention(query.float(), key.float(), value.float(), chosen)
        agree("its result", kernel(query, key, value, chosen), wanted, dtype)

    return made[0] if works("the attention kernel is", device, prove) else None
