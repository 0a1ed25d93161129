"""The wavelet colour fix of `color` on a GPU: one pass over memory a level, the first and the last with what is around.

Sums in float32 in another order than a convolution's. Knows nothing of who asks.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns, B pixels of a program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


def match_low_frequencies(
    result_T3HW: torch.Tensor, source_T3HW: torch.Tensor, low: float, high: float, levels: int
) -> torch.Tensor:
    """See `color.match_low_frequencies`; any strides and floating types, `levels` of 1 at least."""
    frames, channels, height, width = shape = result_T3HW.shape
    outs = [torch.empty(shape, dtype=torch.float32, device=result_T3HW.device) for _ in range(min(levels, 3))]
    x = outs[0]
    for level in range(levels):
        out = outs[level % 2] if level < levels - 1 else outs[-1]
        _level[(triton.cdiv(height * width, _BLOCK), frames * channels)](
            x, result_T3HW, source_T3HW, out, *result_T3HW.stride(), *source_T3HW.stride(), height, width, 2**level,
            low, high, FIRST=level == 0, LAST=level == levels - 1, B=_BLOCK, num_warps=4,
        )  # fmt: skip
        x = out
    return x


@triton.jit  # type: ignore[untyped-decorator]
def _level(  # type: ignore[no-untyped-def]
    x, result, source, out, result_t, result_c, result_h, result_w, source_t, source_c, source_h, source_w,
    height, width, reach, low, high, FIRST: tl.constexpr, LAST: tl.constexpr, B: tl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    """One blur of a plane; of the difference of source and result if it is the first, onto the result if the last."""
    plane = tl.program_id(1).to(tl.int64)
    frame, channel = plane // 3, plane % 3
    result += frame * result_t + channel * result_c
    source += frame * source_t + channel * source_c
    x += plane * height * width
    at_B = tl.program_id(0) * B + tl.arange(0, B)
    inside_B = at_B < height * width
    row_B, column_B = at_B // width, at_B % width
    sum_B = tl.zeros((B,), tl.float32)
    for down in tl.static_range(-1, 2):
        y_B = tl.minimum(tl.maximum(row_B + down * reach, 0), height - 1)
        for right in tl.static_range(-1, 2):
            x_B = tl.minimum(tl.maximum(column_B + right * reach, 0), width - 1)
            if FIRST:
                value_B = tl.load(source + y_B * source_h + x_B * source_w, inside_B, 0.0).to(tl.float32)
                value_B -= tl.load(result + y_B * result_h + x_B * result_w, inside_B, 0.0).to(tl.float32)
            else:
                value_B = tl.load(x + y_B * width + x_B, inside_B, 0.0)
            sum_B += value_B * ((2 - down * down) * (2 - right * right) / 16.0)
    if LAST:
        sum_B += tl.load(result + row_B * result_h + column_B * result_w, inside_B, 0.0).to(tl.float32)
        sum_B = tl.clamp(sum_B, low, high, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + plane * height * width + at_B, sum_B, inside_B)
