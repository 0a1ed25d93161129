"""Sparse attention on Hopper (H100, H200), where products run beside everything else if the program lets them.

A program is a query window, as in `attention_triton`, whose lists it reads. It consists of three parts, each of which
has warps of its own: one fetches keys and values ahead, with the unit that copies whole tiles, and each of two others
computes for half of the queries. A half asks for the next scores and the current sum at once and works on the softmax
of the former while the latter is computed (FlashAttention-3, arXiv 2407.08608, section 3.2).

Exact in the way `attention_triton` is. Half precision, 128 tokens of width 128; or e4m3, whose products take half the
time, where shares are rounded to it as well and values lie as `in_threads` has them. Knows nothing of who chose.

Shape suffixes: S slabs of the pool, E heads, W windows, n of a slab, P = E * W places, L tokens of a window, M = L / 2
of a half, D head width.
"""

from __future__ import annotations

import math

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from vsr_model.flashvsr.attention_triton import LOG2_E, listed
from vsr_model.flashvsr.seen import Seen

_STAGES = {2: 2, 1: 4}  # windows of keys and of values that are held at once, by the bytes of a number
_REGISTERS = (240, 24)  # for a thread of a half and of the part that fetches
_TO_E4M3 = gl.constexpr(
    "{ .reg .b16 low, high; cvt.rn.satfinite.e4m3x2.f32 low, $2, $1; cvt.rn.satfinite.e4m3x2.f32 high, $4, $3;"
    " mov.b32 $0, {low, high}; }"
)

# Newer Triton has another name for it.
_fetch = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared


def sparse_attention(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """See `attention.sparse_attention`; half precision, L and D 128, the device one of compute capability 9.

    Or e4m3, with values as `in_threads` makes them; the result is bfloat16 then.
    """
    heads, queries, tokens, width = query_EWLD.shape
    query_EWLD = query_EWLD.contiguous()
    size = query_EWLD.itemsize
    dtype = query_EWLD.dtype if size == 2 else torch.bfloat16
    out_NC = torch.empty((queries * tokens, heads * width), dtype=dtype, device=query_EWLD.device)
    list_EWW, count_P, order_P = listed(chosen_EWW, seen)
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=8 * size, rank=2)
    query, keys, values = (
        TensorDescriptor(x, [x.numel() // width, width], [width, 1], [tokens, width], layout)
        for x in (query_EWLD, seen.keys_SEnLD, seen.values_SEnLD)
    )
    attend[(heads * queries,)](
        query, keys, values, out_NC, count_P, list_EWW, order_P, heads, queries, chosen_EWW.shape[2],
        LOG2_E / math.sqrt(width), L=tokens, D=width, STAGES=_STAGES[size], HALF_REGISTERS=_REGISTERS[0],
        FETCH_REGISTERS=_REGISTERS[1], num_warps=4,
    )  # fmt: skip
    return out_NC


def in_threads(value_SEnLD: torch.Tensor) -> torch.Tensor:
    """Values as the products in e4m3 want them, [S, E, n, D, L]: a channel's tokens side by side, in another order.

    Of a row of scores a thread has pairs of tokens that are 8 apart; as shares it gives on 4 side by side.
    """
    *rest, tokens, width = value_SEnLD.shape
    parts = value_SEnLD.reshape(*rest, tokens // 16, 2, 4, 2, width).transpose(-4, -3)
    return parts.reshape(*rest, tokens, width).transpose(-2, -1).contiguous()


@gluon.jit  # type: ignore[untyped-decorator]
def attend(  # type: ignore[no-untyped-def]
    query, key, value, out, count, windows, order, heads, queries, keys, scale, L: gl.constexpr, D: gl.constexpr,
    STAGES: gl.constexpr, HALF_REGISTERS: gl.constexpr, FETCH_REGISTERS: gl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    """The program of one query window; `query`, `key` and `value` are descriptors of [rows, D] in tiles of [L, D]."""
    place = gl.load(order + gl.program_id(0))
    wanted = gl.load(count + place)
    barrier: gl.constexpr = mbarrier.MBarrierLayout()
    query_LD = gl.allocate_shared_memory(query.dtype, [L, D], query.layout)
    key_TLD = gl.allocate_shared_memory(key.dtype, [STAGES, L, D], key.layout)
    value_TLD = gl.allocate_shared_memory(value.dtype, [STAGES, L, D], value.layout)
    query_here = gl.allocate_shared_memory(gl.int64, [1], barrier)
    key_here = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    value_here = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    key_used = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    value_used = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    mbarrier.init(query_here, count=1)
    for stage in gl.static_range(STAGES):
        mbarrier.init(key_here.index(stage), count=1)
        mbarrier.init(value_here.index(stage), count=1)
        mbarrier.init(key_used.index(stage), count=2)  # by both halves
        mbarrier.init(value_used.index(stage), count=2)
    fence_async_shared()
    stride = heads * D  # of a token in what comes out
    out += (place % queries).to(gl.int64) * L * stride + place // queries * D
    windows += place.to(gl.int64) * keys
    if wanted > 0:
        mbarrier.expect(query_here, query.block_type.nbytes)
        _fetch(query, [place * L, 0], query_here, query_LD)
        tiles = (key_TLD, value_TLD, key_here, value_here, key_used, value_used)
        gl.warp_specialize(
            [
                (_first_half, (query_LD, query_here, tiles, out, stride, wanted, scale)),
                (_second_half, (query_LD, query_here, tiles, out, stride, wanted, scale)),
                (_fetch_all, (key, value, tiles, windows, wanted)),
            ],
            [4, 1],
            [HALF_REGISTERS, FETCH_REGISTERS],
        )
    else:
        rows: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])
        row_L = gl.arange(0, L, gl.SliceLayout(1, rows))
        at_D = gl.arange(0, D, gl.SliceLayout(0, rows))
        gl.store(out + row_L[:, None] * stride + at_D[None, :], gl.zeros((L, D), out.dtype.element_ty, rows))


@gluon.jit
def _fetch_all(key, value, tiles, windows, wanted):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Keys and values of each window of the list, as soon as a stage is free of what lay there."""
    key_TLD, value_TLD, key_here, value_here, key_used, value_used = tiles
    stages: gl.constexpr = key_TLD.shape[0]
    tokens: gl.constexpr = key_TLD.shape[1]
    for n in range(wanted):
        stage, lap = n % stages, n // stages & 1
        row = gl.load(windows + n) * tokens
        mbarrier.wait(key_used.index(stage), lap ^ 1)  # passes at once in the first
        mbarrier.expect(key_here.index(stage), key.block_type.nbytes)
        _fetch(key, [row, 0], key_here.index(stage), key_TLD.index(stage))
        mbarrier.wait(value_used.index(stage), lap ^ 1)
        mbarrier.expect(value_here.index(stage), value.block_type.nbytes)
        _fetch(value, [row, 0], value_here.index(stage), value_TLD.index(stage))


@gluon.jit
def _first_half(query_LD, query_here, tiles, out, stride, wanted, scale):  # type: ignore[no-untyped-def] # pragma: no cover
    _half(query_LD, query_here, tiles, out, stride, wanted, scale, 0)


@gluon.jit
def _second_half(query_LD, query_here, tiles, out, stride, wanted, scale):  # type: ignore[no-untyped-def] # pragma: no cover
    _half(query_LD, query_here, tiles, out, stride, wanted, scale, 1)


@gluon.jit
def _by_lane(share_ML):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Sums over what each of the four threads that share a row holds of it, [M, 4]: adding those up can wait."""
    parts = gl.reshape(share_ML, (share_ML.shape[0], share_ML.shape[1] // 8, 4, 2))
    return gl.sum(gl.sum(parts, 3), 1)


@gluon.jit  # type: ignore[untyped-decorator]
def _held(  # type: ignore[no-untyped-def]
    share_ML, dtype: gl.constexpr, layout: gl.constexpr
):  # pragma: no cover - compiled
    """Shares until the next product takes them: of e4m3 as they are, since bytes would be held in a register each."""
    if dtype.primitive_bitwidth == 8:
        return share_ML
    else:  # noqa: RET505 - the compiler takes no second return of another kind
        return gl.convert_layout(share_ML.to(dtype), layout)


@gluon.jit  # type: ignore[untyped-decorator]
def _taken(  # type: ignore[no-untyped-def]
    share_ML, dtype: gl.constexpr, layout: gl.constexpr
):  # pragma: no cover - compiled
    """Shares as a product takes them; of e4m3 in another order of tokens, in which each thread has what it needs."""
    if dtype.primitive_bitwidth == 8:
        parts = gl.reshape(share_ML, (share_ML.shape[0], share_ML.shape[1] // 16, 2, 4, 2))
        parts = gl.reshape(gl.permute(parts, (0, 1, 3, 2, 4)), share_ML.shape)
        parts = gl.convert_layout(parts, layout, assert_trivial=True)
        return gl.inline_asm_elementwise(_TO_E4M3, "=r,f,f,f,f", [parts], gl.float8e4nv, True, 4)
    else:  # noqa: RET505
        return share_ML


@gluon.jit
def _by_token(value_LD):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """A window of values as [L, D]; those in e4m3 lie as [D, L], as its products want them."""
    if value_LD.dtype.primitive_bitwidth == 8:
        return value_LD.permute((1, 0))
    else:  # noqa: RET505
        return value_LD


@gluon.jit  # type: ignore[untyped-decorator]
def _half(  # type: ignore[no-untyped-def]
    query_LD, query_here, tiles, out, stride, wanted, scale, HALF: gl.constexpr
):  # pragma: no cover - compiled
    """Attention of half of the queries, in powers of two; one window of keys is at least wanted."""
    key_TLD, value_TLD, key_here, value_here, key_used, value_used = tiles
    stages: gl.constexpr = key_TLD.shape[0]
    L: gl.constexpr = query_LD.shape[0]
    D: gl.constexpr = query_LD.shape[1]
    M: gl.constexpr = L // 2
    deep: gl.constexpr = 256 // query_LD.dtype.primitive_bitwidth  # of a step of a product
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, L, deep])
    of_sums: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, deep])
    of_shares: gl.constexpr = gl.DotOperandLayout(0, of_sums, deep // 8)
    rise: gl.constexpr = 8.0 if deep == 32 else 0.0  # shares up to 2 ** 8, as e4m3 has nothing between 0 and 2 ** -9
    mbarrier.wait(query_here, 0)
    query_MD = query_LD.slice(HALF * M, M)
    none_ML = gl.zeros((M, L), gl.float32, of_scores)
    sum_MD = gl.zeros((M, D), gl.float32, of_sums)
    mbarrier.wait(key_here.index(0), 0)
    asked_ML = warpgroup_mma(query_MD, key_TLD.index(0).permute((1, 0)), none_ML, use_acc=False, is_async=True)
    score_ML = warpgroup_mma_wait(0, deps=[asked_ML])
    mbarrier.arrive(key_used.index(0), count=1)
    top_M = gl.max(score_ML, 1) * scale - rise
    share_ML = gl.exp2(score_ML * scale - top_M[:, None])
    weight_M4 = _by_lane(share_ML)
    mbarrier.wait(key_here.index(1 % stages), 1 // stages & 1, pred=wanted > 1)
    shares_ML = _held(share_ML, query_LD.dtype, of_shares)
    for n in range(1, wanted):
        stage, last, after = n % stages, (n - 1) % stages, (n + 1) % stages
        asked_ML = warpgroup_mma(query_MD, key_TLD.index(stage).permute((1, 0)), none_ML, use_acc=False, is_async=True)
        taken_ML = _taken(shares_ML, query_LD.dtype, of_shares)
        mbarrier.wait(value_here.index(last), (n - 1) // stages & 1)
        asked_MD = warpgroup_mma(taken_ML, _by_token(value_TLD.index(last)), sum_MD, is_async=True)
        score_ML = warpgroup_mma_wait(1, deps=[asked_ML])
        mbarrier.arrive(key_used.index(stage), count=1)
        higher_M = gl.maximum(top_M, gl.max(score_ML, 1) * scale - rise)
        share_ML = gl.exp2(score_ML * scale - higher_M[:, None])
        fade_M = gl.exp2(top_M - higher_M)
        of_lanes: gl.constexpr = gl.SliceLayout(1, weight_M4.type.layout)
        weight_M4 = weight_M4 * gl.convert_layout(fade_M, of_lanes)[:, None] + _by_lane(share_ML)
        top_M = higher_M
        # Before the wait for the sum, to be a border for the assembler, which else puts the powers after that wait.
        mbarrier.wait(key_here.index(after), (n + 1) // stages & 1, pred=n + 1 < wanted)
        sum_MD = warpgroup_mma_wait(0, deps=[asked_MD])
        mbarrier.arrive(value_used.index(last), count=1)
        sum_MD = sum_MD * gl.convert_layout(fade_M, gl.SliceLayout(1, of_sums))[:, None]
        shares_ML = _held(share_ML, query_LD.dtype, of_shares)
    last = (wanted - 1) % stages
    mbarrier.wait(value_here.index(last), (wanted - 1) // stages & 1)
    taken_ML = _taken(shares_ML, query_LD.dtype, of_shares)
    asked_MD = warpgroup_mma(taken_ML, _by_token(value_TLD.index(last)), sum_MD, is_async=True)
    sum_MD = warpgroup_mma_wait(0, deps=[asked_MD])
    weight_M = gl.sum(weight_M4, 1)
    result_MD = sum_MD / gl.convert_layout(weight_M, gl.SliceLayout(1, of_sums))[:, None]
    row_M = HALF * M + gl.arange(0, M, gl.SliceLayout(1, of_sums))
    at_D = gl.arange(0, D, gl.SliceLayout(0, of_sums))
    gl.store(out + row_M[:, None] * stride + at_D[None, :], result_MD.to(out.dtype.element_ty))
