"""Locality-constrained sparse attention: windows of 2 x 8 x 8 tokens, of which each looks at its best neighbours.

After arXiv 2510.12747, section 3.3, as the published code does it. Two latent frames are a *slab*. A query window may
see key windows within `local_range` of it in the picture, in its own slab and the cached ones. Of all allowed pairs
of a query slab the most promising share is kept, by a softmax over window means. The choice is made for each head.

`sparse_attention` is the one place that computes it, by the fastest kernel for a GPU that has proven itself there
against `exact_attention`, which computes it window by window anywhere.

Shape suffixes: N tokens, E heads, D head width, W windows (Wq of queries, Wk of keys), L = 128 tokens of a window,
n windows of one slab, s slabs that are seen, S of a pool, R slabs of all heads, M pairs of windows of a slab.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch

from vsr_model.flashvsr.seen import Seen
from vsr_model.trial import agree, proven

WINDOW = (2, 8, 8)  # latent frames, token rows, token columns
WINDOW_TOKENS = math.prod(WINDOW)

Shares = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
AboveKth = Callable[[torch.Tensor, int], torch.Tensor]


Attend = Callable[[torch.Tensor, Seen, torch.Tensor], torch.Tensor]


def to_windows(x_NC: torch.Tensor, times: int, height: int, width: int) -> torch.Tensor:
    """Tokens of a raster [N, ...] window by window, slab by slab; the sides are multiples of `WINDOW`."""
    t, r, c = WINDOW
    x = x_NC.reshape(times // t, t, height // r, r, width // c, c, -1)
    return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(x_NC.shape)


def from_windows(x_NC: torch.Tensor, times: int, height: int, width: int) -> torch.Tensor:
    """The way back."""
    t, r, c = WINDOW
    x = x_NC.reshape(times // t, height // r, width // c, t, r, c, -1)
    return x.permute(0, 3, 1, 4, 2, 5, 6).reshape(x_NC.shape)


def of_heads(x_NED: torch.Tensor) -> torch.Tensor:
    """Tokens in the order of windows as [E, W, L, D]; a view."""
    return x_NED.view(-1, WINDOW_TOKENS, *x_NED.shape[1:]).permute(2, 0, 1, 3)


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


def above_kth(x_RM: torch.Tensor, k: int) -> torch.Tensor:
    """What is larger than the k-th largest (from 1) of its row, or is no number: bool [R, M]."""
    return (x_RM <= x_RM.topk(k, dim=-1).values[..., -1:]).logical_not_()


def shares(
    query_EWD: torch.Tensor, key_SEnD: torch.Tensor, slabs_s: torch.Tensor, near_nn: torch.Tensor
) -> torch.Tensor:
    """How much of a query window's attention each key window near it promises, by their means: float32 [E, Wq, Wk]."""
    key_EWD = key_SEnD[slabs_s.long()].transpose(0, 1).flatten(1, 2)
    queries, keys, n = query_EWD.shape[1], key_EWD.shape[1], len(near_nn)
    score_EWW = (query_EWD @ key_EWD.transpose(1, 2)) / math.sqrt(query_EWD.shape[2])
    allowed_WW = near_nn.repeat(queries // n, keys // n)
    return score_EWW.float().masked_fill(~allowed_WW, -math.inf).softmax(dim=-1)


def choose_windows(
    query_EWD: torch.Tensor,
    key_SEnD: torch.Tensor,
    slabs_s: torch.Tensor,
    near_nn: torch.Tensor,
    keep_ratio: float,
    shares: Shares = shares,
    above_kth: AboveKth = above_kth,
) -> torch.Tensor:
    """Which key windows each query window looks at, for each head: bool [E, Wq, Wk].

    Args:
        query_EWD, key_SEnD: means over the tokens of each window, those of keys in a pool of slabs.
        slabs_s: numbers of the slabs that are seen, int32 (see `Seen`).
        near_nn: see `local_mask`.
        keep_ratio: pairs kept of a query slab, in units of n * n.
        shares, above_kth: what weighs the pairs, and what finds those above a threshold, of rows in 0..1.

    The least of the kept pairs is dropped once more: what is kept lies strictly above a threshold. So without ties
    int(n * n * keep_ratio) - 1 pairs of a slab are kept, and never all of them. What has no score because it is no
    number is looked at: left out, it would go unnoticed.
    """
    (heads, queries, _), n = query_EWD.shape, len(near_nn)
    keys = len(slabs_s) * n
    share_RM = shares(query_EWD, key_SEnD, slabs_s, near_nn).reshape(heads * (queries // n), n * keys)
    kept = max(0, min(int(n * n * keep_ratio), n * keys) - 1)
    return above_kth(share_RM, kept + 1).reshape(heads, queries, keys)


def sparse_attention(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """Attention of each query window to the tokens of the key windows chosen for it; zeros where there are none.

    Returns [N, E * D], tokens in the order of windows.
    """
    attend = _kernel(query_EWLD.device, query_EWLD.dtype, *query_EWLD.shape[2:]) or exact_attention
    return attend(query_EWLD, seen, chosen_EWW)


def exact_attention(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """What `sparse_attention` promises, window by window."""
    heads, queries, tokens, head_width = query_EWLD.shape
    key_EWLD, value_EWLD = seen.gathered()
    out_WLED = query_EWLD.new_zeros((queries, tokens, heads, head_width))
    for head in range(heads):
        for window in range(queries):
            chosen_W = chosen_EWW[head, window].nonzero().flatten()
            if len(chosen_W):
                out_WLED[window, :, head] = torch.nn.functional.scaled_dot_product_attention(
                    query_EWLD[None, head, window],
                    key_EWLD[head, chosen_W].reshape(1, -1, head_width),
                    value_EWLD[head, chosen_W].reshape(1, -1, head_width),
                )[0]
    return out_WLED.flatten(2).flatten(0, 1)


@lru_cache(maxsize=8)
def _kernel(device: torch.device, dtype: torch.dtype, tokens: int, head_width: int) -> Attend | None:
    """The fastest kernel for a device that runs there and computes what it should."""
    if device.type != "cuda":
        return None
    kernels = {"the attention kernel is": _for_any}
    halves = dtype.itemsize == 2 and (tokens, head_width) == (128, 128)
    if halves and torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] == 9:
        kernels = {"the attention kernel for Hopper is": _for_hopper} | kernels
    for what, make in kernels.items():
        attend = proven(what, device, make, lambda attend: check(attend, device, dtype, tokens, head_width))
        if attend:
            return attend
    return None


def _for_hopper() -> Attend:
    from vsr_model.flashvsr.attention_hopper import sparse_attention as kernel

    return kernel


def _for_any() -> Attend:
    from vsr_model.flashvsr.attention_triton import sparse_attention as kernel

    return kernel


def check(attend: Attend, device: torch.device, dtype: torch.dtype, tokens: int, head_width: int) -> None:
    """Compare a kernel with `exact_attention` on fresh noise.

    Raises:
        ArithmeticError: they differ by more than rounding explains.
    """
    generator = torch.Generator(device).manual_seed(0)
    windows = 80  # with two heads more than a GPU works on at once
    size = (2, windows, tokens, head_width)
    drawn = [torch.randn((n, *size), generator=generator, device=device).to(dtype) for n in (4, 4)]
    query = torch.randn(size, generator=generator, device=device).to(dtype)
    slabs = torch.tensor([3, 0], dtype=torch.int32, device=device)
    chosen = torch.rand((2, windows, 2 * windows), generator=generator, device=device) < 0.05
    chosen[0, 0], chosen[1, 2] = True, False
    exact = exact_attention(query.float(), Seen(drawn[0].float(), drawn[1].float(), slabs), chosen)
    agree("its result", attend(query, Seen(drawn[0], drawn[1], slabs), chosen), exact, dtype)
