"""Resampling along one axis on a GPU, all taps in one pass over memory: the bits of `classical`, sooner.

Knows no kernel's shape: positions and weights are given.

Shape suffixes: P planes, A the axis (N of it come out), R what lies side by side behind it, K taps, B a block.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


def resample(x_PAR: torch.Tensor, index_KN: torch.Tensor, weight_KN: torch.Tensor) -> torch.Tensor:
    """Weighted sums along the axis: float32 [P, N, R], dense as `x_PAR` is.

    Args:
        x_PAR: float32; R is 1 for the last axis of a picture.
        index_KN: int64 places on the axis that make each output.
        weight_KN: float32 weights of those.
    """
    planes, size, rest = x_PAR.shape
    taps, outs = index_KN.shape
    out_PNR = torch.empty((planes, outs, rest), device=x_PAR.device)
    _resample[(triton.cdiv(outs * rest, _BLOCK), planes)](
        x_PAR, index_KN, weight_KN, out_PNR, size, outs, rest, K=taps, B=_BLOCK, num_warps=4, enable_fp_fusion=False
    )
    return out_PNR


@triton.jit  # type: ignore[untyped-decorator]
def _resample(  # type: ignore[no-untyped-def]
    x, index, weight, out, size, outs, rest, K: tl.constexpr, B: tl.constexpr
):  # pragma: no cover - compiled
    plane = tl.program_id(1).to(tl.int64)
    at_B = tl.program_id(0) * B + tl.arange(0, B)
    inside_B = at_B < outs * rest
    n_B, r_B = at_B // rest, at_B % rest
    x += plane * size * rest
    sum_B = tl.zeros((B,), tl.float32)
    for k in tl.static_range(K):
        place_B = tl.load(index + k * outs + n_B, inside_B, 0).to(tl.int32)
        # Never fused into one multiply-add, see `classical`.
        term_B = tl.load(x + place_B * rest + r_B, inside_B, 0.0) * tl.load(weight + k * outs + n_B, inside_B, 0.0)
        sum_B = term_B if k == 0 else sum_B + term_B
    tl.store(out + plane * outs * rest + at_B, sum_B, inside_B)
