"""The attention kernel computes what it should, in Triton's interpreter: the same program as on a GPU, step by step."""

from __future__ import annotations

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
from vsr_model.flashvsr.attention_hopper import in_threads


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


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
from vsr_model.flashvsr.attention_hopper import attend

names = attend.arg_names
for dtype, out, bits, stages in (("bf16", "bf16", 16, 2), ("fp16", "fp16", 16, 2), ("fp8e4nv", "bf16", 8, 4)):
    tile = f"tensordesc<{dtype}[128, 128],{gl.NVMMASharedLayout(128, bits, 2)!r}>"
    kinds = dict.fromkeys(("query", "key", "value"), tile) | dict.fromkeys(("count", "windows", "order"), "*i32")
    kinds |= {"out": f"*{out}", "scale": "fp32"} | dict.fromkeys(("heads", "queries", "keys"), "i32")
    sizes = {"L": 128, "D": 128, "STAGES": stages, "HALF_REGISTERS": 240, "FETCH_REGISTERS": 24}
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
    # Of both halves: the first scores, scores and sums in the loop, the last sum; of e4m3 each goes twice as deep.
    assert [products for _, products in lines] == [64, 64, 32]
    assert all(shared <= 227 * 1024 for shared, _ in lines)  # what a program may have there


def test_values_in_e4m3_lie_as_the_threads_have_their_shares() -> None:
    """Of 8 columns of scores a thread of four has 2, of 16 tokens of a product's shares 4 (PTX ISA, wgmma, m64k32)."""
    number_L = torch.arange(128.0)
    values = number_L[:, None].expand(1, 1, 1, 128, 128).contiguous()
    arranged = in_threads(values)
    assert arranged.is_contiguous()
    assert torch.equal(arranged[0, 0, 0, 5], arranged[0, 0, 0, 77])  # every channel alike
    token_L = arranged[0, 0, 0, 5].long()
    assert sorted(token_L.tolist()) == list(range(128))
    assert torch.equal(token_L % 8 // 2, torch.arange(128) % 16 // 4)
    assert torch.equal(token_L // 16, torch.arange(128) // 16)  # of the same product
