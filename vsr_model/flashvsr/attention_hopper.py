"""Sparse attention on Hopper (H100, H200), where products run beside everything else if the program lets them.

A program is a query window and the list of key windows that `attention_triton` makes for it, in the order of heads:
what runs at the same time reads the same keys, which the second-level cache holds. Lists differ in length, so the last
ones, as many as there are multiprocessors, are not programs: all their pairs of a query and a key window are dealt out
in equal shares, several for each multiprocessor, and the GPU is busy to the end. Where a share begins or ends within a
list, what is known of that query window is put down, and `_join` adds up the parts.

A program consists of three parts, each of which has warps of its own: one fetches ahead, with the unit that copies
whole tiles, and each of two others computes for half of the queries, which it holds in registers. A half asks for the
next scores and the current sum at once and works on the softmax of the former while the latter is computed
(FlashAttention-3, arXiv 2407.08608, section 3.2).

Exact in the way `attention_triton` is. Half precision, 128 tokens of width 128. Knows nothing of who chose.

Shape suffixes: S slabs of the pool, E heads, W windows, n of a slab, P = E * W places, L tokens of a window, M = L / 2
of a half, D head width, B the places padded to a block, R two parts for each share, which wait to be joined, C columns.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
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

_SHARES = 3  # for each multiprocessor
_STAGES = 3  # windows of keys and of values that are held at once
_COLUMNS = 32  # of a part, for a program that joins
_REGISTERS = (240, 24)  # for a thread of a half and of the part that fetches

# Newer Triton has another name for it.
_fetch = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared


def sparse_attention(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """See `attention.sparse_attention`; half precision, L and D 128, the device one of compute capability 9."""
    heads, queries, tokens, width = query_EWLD.shape
    query_EWLD = query_EWLD.contiguous()
    device, places = query_EWLD.device, heads * queries
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    whole, shares = max(0, places - processors), _SHARES * processors
    out_NC = torch.empty((queries * tokens, heads * width), dtype=query_EWLD.dtype, device=device)
    list_EWW, count_P = listed(chosen_EWW, seen)
    until_P = count_P.cumsum(0, dtype=torch.int32)
    sum_RLD = torch.empty((2 * shares, tokens, width), device=device)
    top_RL, weight_RL = torch.empty((2, 2 * shares, tokens), device=device)
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    query, keys, values = (
        TensorDescriptor(x, [x.numel() // width, width], [width, 1], [tokens, width], layout)
        for x in (query_EWLD, seen.keys_SEnLD, seen.values_SEnLD)
    )
    attend[(whole + shares,)](
        query, keys, values, out_NC, (sum_RLD, top_RL, weight_RL), until_P, list_EWW, whole, heads, queries,
        chosen_EWW.shape[2], LOG2_E / math.sqrt(width), L=tokens, D=width, B=max(128, triton.next_power_of_2(places)),
        STAGES=_STAGES, HALF_REGISTERS=_REGISTERS[0], FETCH_REGISTERS=_REGISTERS[1], num_warps=4,
    )  # fmt: skip
    _join[(places, width // _COLUMNS)](
        sum_RLD, top_RL, weight_RL, until_P, out_NC, whole, shares, heads, queries, L=tokens, D=width, C=_COLUMNS,
        num_warps=4,
    )  # fmt: skip
    return out_NC


@gluon.jit  # type: ignore[untyped-decorator]
def attend(  # type: ignore[no-untyped-def]
    query, key, value, out, parts, until, windows, whole, heads, queries, keys, scale, L: gl.constexpr,
    D: gl.constexpr, B: gl.constexpr, STAGES: gl.constexpr, HALF_REGISTERS: gl.constexpr, FETCH_REGISTERS: gl.constexpr,
):  # pragma: no cover - compiled  # fmt: skip
    """The program of one list or share; `query`, `key` and `value` are descriptors of [rows, D] in tiles of [L, D].

    `until`: how many pairs there are up to and with each place; `whole`: places that are programs of their own.
    """
    number = gl.program_id(0) - whole
    if number < 0:
        begin = gl.program_id(0)
        end = begin + 1
        first = gl.load(until + begin - 1, begin > 0, 0)
        last = gl.load(until + begin)
    else:
        places, shares = heads * queries, gl.num_programs(0) - whole
        before = gl.load(until + whole - 1, whole > 0, 0)
        pairs = (gl.load(until + places - 1) - before).to(gl.int64)
        first = before + (number * pairs // shares).to(gl.int32)
        last = before + ((number + 1) * pairs // shares).to(gl.int32)
        at_B = gl.arange(0, B, gl.BlockedLayout([1], [32], [4], [0]))
        until_B = gl.load(until + at_B, at_B < places, 0x7FFFFFFF)
        begin = gl.sum((until_B <= first).to(gl.int32), 0)
        end = gl.sum((until_B < last).to(gl.int32), 0) + 1
    share = (until, first, last, begin, end)

    barrier: gl.constexpr = mbarrier.MBarrierLayout()
    query_LD = gl.allocate_shared_memory(query.dtype, [L, D], query.layout)
    key_TLD = gl.allocate_shared_memory(key.dtype, [STAGES, L, D], key.layout)
    value_TLD = gl.allocate_shared_memory(value.dtype, [STAGES, L, D], value.layout)
    query_here = gl.allocate_shared_memory(gl.int64, [1], barrier)
    query_used = gl.allocate_shared_memory(gl.int64, [1], barrier)
    key_here = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    value_here = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    key_used = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    value_used = gl.allocate_shared_memory(gl.int64, [STAGES, 1], barrier)
    mbarrier.init(query_here, count=1)
    mbarrier.init(query_used, count=2)  # by both halves
    for stage in gl.static_range(STAGES):
        mbarrier.init(key_here.index(stage), count=1)
        mbarrier.init(value_here.index(stage), count=1)
        mbarrier.init(key_used.index(stage), count=2)
        mbarrier.init(value_used.index(stage), count=2)
    fence_async_shared()
    tiles = (query_LD, query_here, query_used, key_TLD, value_TLD, key_here, value_here, key_used, value_used)
    gl.warp_specialize(
        [
            (_first_half, (tiles, share, out, parts, whole, heads, queries, scale)),
            (_second_half, (tiles, share, out, parts, whole, heads, queries, scale)),
            (_fetch_all, (query, key, value, tiles, share, windows, keys)),
        ],
        [4, 1],
        [HALF_REGISTERS, FETCH_REGISTERS],
    )


@gluon.jit
def _of_share(place, share):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Of a place's list: its first pair, the one after its last, and the same of what belongs to the share."""
    until, first, last, _, _ = share
    start = gl.load(until + place - 1, place > 0, 0)
    stop = gl.load(until + place)
    return start, stop, gl.maximum(start, first), gl.minimum(stop, last)


@gluon.jit
def _fetch_all(query, key, value, tiles, share, windows, keys):  # type: ignore[no-untyped-def] # pragma: no cover
    """Queries, keys and values, as soon as a stage is free of what lay there."""
    query_LD, query_here, query_used, key_TLD, value_TLD, key_here, value_here, key_used, value_used = tiles
    stages: gl.constexpr = key_TLD.shape[0]
    tokens: gl.constexpr = key_TLD.shape[1]
    before, lists = 0, 0  # windows and lists that have been fetched
    for place in range(share[3], share[4]):
        start, _, begin, end = _of_share(place, share)
        if begin < end:
            list_of_place = windows + place.to(gl.int64) * keys  # type: ignore[attr-defined] # is no number here
            mbarrier.wait(query_used, lists & 1 ^ 1)  # passes at once in the first
            mbarrier.expect(query_here, query.block_type.nbytes)
            _fetch(query, [place * tokens, 0], query_here, query_LD)
            for pair in range(begin, end):
                n = before + pair - begin
                stage, lap = n % stages, n // stages & 1
                row = gl.load(list_of_place + (pair - start)) * tokens
                mbarrier.wait(key_used.index(stage), lap ^ 1)
                mbarrier.expect(key_here.index(stage), key.block_type.nbytes)
                _fetch(key, [row, 0], key_here.index(stage), key_TLD.index(stage))
                mbarrier.wait(value_used.index(stage), lap ^ 1)
                mbarrier.expect(value_here.index(stage), value.block_type.nbytes)
                _fetch(value, [row, 0], value_here.index(stage), value_TLD.index(stage))
            before += end - begin
            lists += 1


@gluon.jit
def _first_half(tiles, share, out, parts, whole, heads, queries, scale):  # type: ignore[no-untyped-def] # pragma: no cover
    _half(tiles, share, out, parts, whole, heads, queries, scale, 0)


@gluon.jit
def _second_half(tiles, share, out, parts, whole, heads, queries, scale):  # type: ignore[no-untyped-def] # pragma: no cover
    _half(tiles, share, out, parts, whole, heads, queries, scale, 1)


@gluon.jit
def _by_lane(share_ML):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Sums over what each of the four threads that share a row holds of it, [M, 4]: adding those up can wait."""
    parts = gl.reshape(share_ML, (share_ML.shape[0], share_ML.shape[1] // 8, 4, 2))
    return gl.sum(gl.sum(parts, 3), 1)


@gluon.jit  # type: ignore[untyped-decorator]
def _half(  # type: ignore[no-untyped-def]
    tiles, share, out, parts, whole, heads, queries, scale, HALF: gl.constexpr
):  # pragma: no cover - compiled
    """Attention of half of the queries of each list of a share, and what becomes of it."""
    D: gl.constexpr = tiles[0].shape[1]
    L: gl.constexpr = tiles[0].shape[0]
    M: gl.constexpr = L // 2
    of_sums: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    row_M = HALF * M + gl.arange(0, M, gl.SliceLayout(1, of_sums))
    at_D = gl.arange(0, D, gl.SliceLayout(0, of_sums))
    sums, tops, weights = parts
    before, lists = 0, 0  # windows and lists that have been seen
    for place in range(share[3], share[4]):
        start, stop, begin, end = _of_share(place, share)
        if begin < end:
            sum_MD, top_M, weight_M = _seen(tiles, before, lists, end - begin, scale, HALF)
            weight_M = gl.convert_layout(weight_M, gl.SliceLayout(1, of_sums))
            if end - begin == stop - start:
                stride = heads * D  # of a token in what comes out
                there = out + (place % queries).to(gl.int64) * L * stride + place // queries * D
                result_MD = (sum_MD / weight_M[:, None]).to(out.dtype.element_ty)
                gl.store(there + row_M[:, None] * stride + at_D[None, :], result_MD)
            else:
                row = (2 * (gl.program_id(0) - whole) + (begin == start)) * L + row_M
                gl.store(sums + row[:, None] * D + at_D[None, :], sum_MD)
                gl.store(tops + row, gl.convert_layout(top_M, gl.SliceLayout(1, of_sums)))
                gl.store(weights + row, weight_M)
            before += end - begin
            lists += 1


@gluon.jit  # type: ignore[untyped-decorator]
def _seen(  # type: ignore[no-untyped-def]
    tiles, before, lists, wanted, scale, HALF: gl.constexpr
):  # pragma: no cover - compiled
    """Of some windows, one at least: the sum of values, the highest score, in powers of two, and the sum of shares."""
    query_LD, query_here, query_used, key_TLD, value_TLD, key_here, value_here, key_used, value_used = tiles
    stages: gl.constexpr = key_TLD.shape[0]
    L: gl.constexpr = query_LD.shape[0]
    D: gl.constexpr = query_LD.shape[1]
    M: gl.constexpr = L // 2
    of_scores: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, L, 16])
    of_sums: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, D, 16])
    of_queries: gl.constexpr = gl.DotOperandLayout(0, of_scores, 2)
    of_shares: gl.constexpr = gl.DotOperandLayout(0, of_sums, 2)
    mbarrier.wait(query_here, lists & 1)
    query_MD = query_LD.slice(HALF * M, M).load(of_queries)
    mbarrier.arrive(query_used, count=1)
    none_ML = gl.zeros((M, L), gl.float32, of_scores)
    sum_MD = gl.zeros((M, D), gl.float32, of_sums)
    stage = before % stages
    mbarrier.wait(key_here.index(stage), before // stages & 1)
    asked_ML = warpgroup_mma(query_MD, key_TLD.index(stage).permute((1, 0)), none_ML, use_acc=False, is_async=True)
    score_ML = warpgroup_mma_wait(0, deps=[asked_ML])
    mbarrier.arrive(key_used.index(stage), count=1)
    top_M = gl.max(score_ML, 1) * scale
    share_ML = gl.exp2(score_ML * scale - top_M[:, None])
    weight_M4 = _by_lane(share_ML)
    mbarrier.wait(key_here.index((before + 1) % stages), (before + 1) // stages & 1, pred=wanted > 1)
    taken_ML = gl.convert_layout(share_ML.to(query_LD.dtype), of_shares)
    for n in range(before + 1, before + wanted):
        stage, last, after = n % stages, (n - 1) % stages, (n + 1) % stages
        asked_ML = warpgroup_mma(query_MD, key_TLD.index(stage).permute((1, 0)), none_ML, use_acc=False, is_async=True)
        mbarrier.wait(value_here.index(last), (n - 1) // stages & 1)
        asked_MD = warpgroup_mma(taken_ML, value_TLD.index(last), sum_MD, is_async=True)
        score_ML = warpgroup_mma_wait(1, deps=[asked_ML])
        mbarrier.arrive(key_used.index(stage), count=1)
        higher_M = gl.maximum(top_M, gl.max(score_ML, 1) * scale)
        share_ML = gl.exp2(score_ML * scale - higher_M[:, None])
        fade_M = gl.exp2(top_M - higher_M)
        of_lanes: gl.constexpr = gl.SliceLayout(1, weight_M4.type.layout)
        weight_M4 = weight_M4 * gl.convert_layout(fade_M, of_lanes)[:, None] + _by_lane(share_ML)
        top_M = higher_M
        # Before the wait for the sum, to be a border for the assembler, which else puts the powers after that wait.
        mbarrier.wait(key_here.index(after), (n + 1) // stages & 1, pred=n + 1 < before + wanted)
        sum_MD = warpgroup_mma_wait(0, deps=[asked_MD])
        mbarrier.arrive(value_used.index(last), count=1)
        sum_MD = sum_MD * gl.convert_layout(fade_M, gl.SliceLayout(1, of_sums))[:, None]
        taken_ML = gl.convert_layout(share_ML.to(query_LD.dtype), of_shares)
    last = (before + wanted - 1) % stages
    mbarrier.wait(value_here.index(last), (before + wanted - 1) // stages & 1)
    asked_MD = warpgroup_mma(taken_ML, value_TLD.index(last), sum_MD, is_async=True)
    sum_MD = warpgroup_mma_wait(0, deps=[asked_MD])
    mbarrier.arrive(value_used.index(last), count=1)
    return sum_MD, top_M, gl.sum(weight_M4, 1)


@triton.jit  # type: ignore[untyped-decorator]
def _join(  # type: ignore[no-untyped-def]
    sums, tops, weights, until, out, whole, shares, heads, queries, L: tl.constexpr, D: tl.constexpr, C: tl.constexpr
):  # pragma: no cover - compiled
    """Some columns of a query window of which several shares know something; zeros where nothing was chosen."""
    place = tl.program_id(0)
    before = tl.load(until + whole - 1, whole > 0, 0)
    start = tl.load(until + place - 1, place > 0, 0)
    stop = tl.load(until + place)
    pairs = tl.maximum(tl.load(until + heads * queries - 1) - before, 1).to(tl.int64)
    first = ((start - before + 1).to(tl.int64) * shares - 1) // pairs
    last = ((stop - before).to(tl.int64) * shares - 1) // pairs
    if (start == stop) | ((place >= whole) & (first < last)):
        row_L, at_C = tl.arange(0, L), tl.program_id(1) * C + tl.arange(0, C)
        sum_LC = tl.zeros((L, C), tl.float32)
        weight_L = tl.zeros((L,), tl.float32)
        top_L = tl.full((L,), -float("inf"), tl.float32)
        for share in range(first, tl.where(start < stop, last + 1, first)):
            if share * pairs // shares < (share + 1) * pairs // shares:  # else it had nothing to do
                row_of_L = (2 * share + (share == first)) * L + row_L
                here_L = tl.load(tops + row_of_L)
                higher_L = tl.maximum(top_L, here_L)
                fade_L, rise_L = tl.exp2(top_L - higher_L), tl.exp2(here_L - higher_L)
                weight_L = weight_L * fade_L + tl.load(weights + row_of_L) * rise_L
                here_LC = tl.load(sums + row_of_L[:, None] * D + at_C[None, :])
                sum_LC = sum_LC * fade_L[:, None] + here_LC * rise_L[:, None]
                top_L = higher_L
        result_LC = sum_LC / tl.where(start < stop, weight_L, 1.0)[:, None]
        out += ((place % queries).to(tl.int64) * L * heads + place // queries) * D
        tl.store(out + row_L[:, None] * (heads * D) + at_C[None, :], result_LC.to(out.dtype.element_ty))
