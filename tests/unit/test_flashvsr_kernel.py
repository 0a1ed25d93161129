"""The attention kernel computes what it should, in Triton's interpreter: the same program as on a GPU, step by step."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings

import pytest
import torch

from vsr_model.flashvsr import attention
from vsr_model.flashvsr.attention import exact_attention
from vsr_model.flashvsr.seen import Seen

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model.flashvsr import attention_triton as kernel
from vsr_model.flashvsr.attention_hopper import _join


def drawn(heads: int, queries: int, keys: int, tokens: int, width: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn((heads, n, tokens, width)) for n in (queries, keys, keys))


@pytest.mark.parametrize(
    ("heads", "queries", "keys", "tokens", "width"),
    [(1, 1, 1, 16, 16), (2, 3, 5, 16, 32), (3, 4, 4, 32, 16), (1, 2, 3, 128, 128)],
)
def test_it_is_the_exact_attention(heads: int, queries: int, keys: int, tokens: int, width: int) -> None:
    query, key, value = drawn(heads, queries, keys, tokens, width)
    for share in (0.0, 0.5, 1.0):  # nothing, some and everything chosen
        chosen = torch.rand((heads, queries, keys)) < share
        found = kernel.sparse_attention(query, Seen.alone(key, value), chosen)
        assert float((found - exact_attention(query, Seen.alone(key, value), chosen)).abs().max()) < 2e-6


def test_nothing_is_left_of_what_lay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are made in poisoned memory, keys not chosen are not numbers, and a window may see nothing at all."""

    def poisoned(shape: int | tuple[int, ...], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.full(
            (shape,) if isinstance(shape, int) else shape,
            torch.nan if dtype.is_floating_point else -1,
            dtype=dtype,
            device=device,
        )

    monkeypatch.setattr(kernel.torch, "empty", poisoned)
    query, key, value = drawn(2, 3, 4, 16, 16)
    chosen = torch.rand((2, 3, 4)) < 0.5
    chosen[:, :, 1] = False
    chosen[1, 2] = False
    key[:, 1] = value[:, 1] = torch.nan
    found = kernel.sparse_attention(query, Seen.alone(key, value), chosen)
    assert torch.isfinite(found).all()
    assert not found.view(3, 16, 2, 16)[2, :, 1].any()


def test_large_scores_do_not_overflow() -> None:
    query, key, value = drawn(1, 2, 3, 16, 16)
    chosen = torch.ones((1, 2, 3), dtype=torch.bool)
    found = kernel.sparse_attention(query * 300, Seen.alone(key * 300, value), chosen)
    wanted = exact_attention((query * 300).double(), Seen.alone((key * 300).double(), value.double()), chosen)
    assert float((found - wanted).abs().max()) < 1e-3


def test_half_precision_is_as_near_as_it_can_be() -> None:
    query, key, value = (x.half() for x in drawn(1, 2, 3, 16, 32))
    chosen = torch.rand((1, 2, 3)) < 0.7
    found = kernel.sparse_attention(query, Seen.alone(key, value), chosen)
    assert found.dtype == torch.float16
    wanted = exact_attention(query.float(), Seen.alone(key.float(), value.float()), chosen)
    assert float((found.float() - wanted).abs().max()) < 5e-3


def test_layouts_other_than_plain_ones_are_understood() -> None:
    query, key, value = (x.transpose(0, 1) for x in drawn(3, 2, 2, 16, 16))
    chosen = torch.rand((2, 3, 3)) < 0.7
    found = kernel.sparse_attention(query, Seen.alone(key, value), chosen)
    assert float((found - exact_attention(query, Seen.alone(key, value), chosen)).abs().max()) < 2e-6


def test_slabs_may_lie_anywhere_in_the_pool() -> None:
    """And what lies in the others is never touched."""
    pool = [torch.randn((5, 2, 3, 16, 16)) for _ in range(2)]
    for each in pool:
        each[[0, 3]] = torch.nan
    seen = Seen(*pool, torch.tensor([4, 1, 2], dtype=torch.int32))
    (query,) = drawn(2, 3, 1, 16, 16)[:1]
    chosen = torch.rand((2, 3, 9)) < 0.6
    found = kernel.sparse_attention(query, seen, chosen)
    in_order = [torch.cat([each[slab] for slab in (4, 1, 2)], dim=1) for each in pool]
    assert float((found - exact_attention(query, Seen.alone(*in_order), chosen)).abs().max()) < 2e-6


def test_a_kernel_that_does_not_work_on_a_device_is_not_used() -> None:
    """It is tried before it is trusted; here, on a device without the memory or compiler that it needs."""
    with pytest.warns(UserWarning, match="the attention kernel is of no use on cuda:7"):
        assert attention._kernel(torch.device("cuda:7"), torch.float16, 16, 16) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attention._kernel(torch.device("cpu"), torch.float32, 16, 16) is None


@pytest.mark.parametrize(("whole", "shares"), [(0, 7), (2, 3), (5, 40), (8, 4)])
def test_what_several_shares_know_of_a_query_window_is_added_up(whole: int, shares: int) -> None:
    """Lists of any length, empty ones too, cut anywhere; some shares have nothing to do.

    Here each share's work is done by torch; on a GPU, by the program whose results the kernel joins.
    """
    torch.manual_seed(0)  # by chance no list is cut
    heads, queries, keys, tokens, width = 2, 4, 6, 16, 16
    query, key, value = drawn(heads, queries, keys, tokens, width)
    chosen = torch.rand((heads, queries, keys)) < 0.5
    chosen[0, 3] = chosen[1, 1] = False
    until = chosen.flatten(0, 1).sum(1).cumsum(0).int()
    sums = torch.full((2 * shares, tokens, width), torch.nan)
    tops, weights = (torch.full((2 * shares, tokens), torch.nan) for _ in range(2))
    out = torch.full((queries * tokens, heads * width), torch.nan)
    wanted = exact_attention(query, Seen.alone(key, value), chosen)
    windows_of = [chosen[place // queries, place % queries].nonzero().flatten() for place in range(heads * queries)]
    before = int(until[whole - 1]) if whole else 0
    pairs = int(until[-1]) - before
    cut = set()
    for share in range(shares):
        first, last = (before + number * pairs // shares for number in (share, share + 1))
        for place in range(whole, heads * queries):
            start, stop = int(until[place]) - len(windows_of[place]), int(until[place])
            begin, end = max(start, first), min(stop, last)
            if begin < end and end - begin < stop - start:
                head, window = place // queries, place % queries
                seen = windows_of[place][begin - start : end - start]
                score = query[head, window] @ key[head, seen].flatten(0, 1).T / math.sqrt(width) * kernel.LOG2_E
                row = 2 * share + (begin == start)
                tops[row] = score.amax(1)
                powers = torch.exp2(score - tops[row, :, None])
                weights[row], sums[row] = powers.sum(1), powers @ value[head, seen].flatten(0, 1)
                cut.add(place)
    _join[(heads * queries, 2)](sums, tops, weights, until, out, whole, shares, heads, queries, L=tokens, D=width, C=8)
    assert cut or whole == heads * queries
    for place, windows in enumerate(windows_of):
        of = (slice(place % queries * tokens, (place % queries + 1) * tokens),
              slice(place // queries * width, (place // queries + 1) * width))  # fmt: skip
        if place in cut or not len(windows):
            assert float((out[of] - wanted[of]).abs().max()) < 2e-6
        else:
            assert out[of].isnan().all()  # the program of its own list has written it


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
from vsr_model.flashvsr.attention_hopper import _STAGES, attend

names = attend.arg_names
for dtype in ("bf16", "fp16"):
    tile = f"tensordesc<{dtype}[128, 128],{gl.NVMMASharedLayout(128, 16, 2)!r}>"
    kinds = dict.fromkeys(("query", "key", "value"), tile) | dict.fromkeys(("until", "windows"), "*i32")
    kinds |= {"out": f"*{dtype}", "parts": ("*fp32",) * 3, "scale": "fp32"}
    kinds |= dict.fromkeys(("whole", "heads", "queries", "keys"), "i32")
    sizes = {"L": 128, "D": 128, "B": 1024, "STAGES": _STAGES, "HALF_REGISTERS": 240, "FETCH_REGISTERS": 24}
    signature = {name: kinds.get(name, "constexpr") for name in names}
    source = GluonASTSource(attend, signature, {(names.index(name),): size for name, size in sizes.items()})
    made = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_warps": 4})
    print(made.metadata.shared, made.asm["ptx"].count("wgmma.mma_async"))
"""


def test_the_kernel_for_hopper_compiles_and_fits() -> None:
    """What it computes is tried on the GPU, before it is trusted and in tests/gpu; compiling needs none."""
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    ran = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, timeout=250)
    assert ran.returncode == 0, ran.stderr
    lines = [tuple(map(int, line.split())) for line in ran.stdout.splitlines()]
    # Of both halves: the first scores, scores and sums in the loop, the last sum.
    assert [products for _, products in lines] == [64, 64]
    assert all(shared <= 227 * 1024 for shared, _ in lines)  # what a program may have there
