"""Every Triton kernel compiles for the GPUs it is meant for. The interpreter takes more than the compiler does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="no Triton for this system")

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vsr_model import classical_triton, color_triton, convolution_triton
from vsr_model.flashvsr import attention_hopper, attention_triton, fused_triton

def compiled(kernel, kinds, sizes, target, options):
    names = kernel.arg_names
    signature = {name: kinds.get(name, "constexpr" if name in sizes else "i32") for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): size for name, size in sizes.items()})
    made = triton.compile(source, target, {"num_warps": 4} | options)
    print(target.arch, kernel.__name__, made.metadata.shared, len(made.asm["cubin"]))

def pointers(kind, *names):
    return dict.fromkeys(names, f"*{kind}")

for arch in map(int, sys.argv[1:]):
    target = GPUTarget("cuda", arch, 32)
    for half in ("bf16", "fp16"):
        rows = {"C": 1536, "B": 2048}
        kernels = [
            (fused_triton._add_norm, pointers(half, "x", "y", "gate", "weight", "bias", "out") | {"eps": "fp32"},
             rows | {"GATED": True}, {}),
            (fused_triton._windows,
             pointers(half, "query", "key", "value", "query_weight", "key_weight", "query_out", "key_out", "value_out")
             | {"turn": "*fp32", "eps": "fp32"}, rows | {"D": 128}, {}),
            (attention_hopper._join,
             pointers("fp32", "sums", "tops", "weights") | {"until": "*i32", "out": f"*{half}"},
             {"L": 128, "D": 128, "C": attention_hopper._COLUMNS}, {}),
            (fused_triton._means, pointers(half, "query", "key", "query_mean", "key_mean"), {"L": 128, "D": 128},
             {"num_warps": 8}),
            (fused_triton._shares, pointers(half, "query", "key") | {"slabs": "*i32", "near": "*i1", "share": "*fp32",
             "root": "fp32"}, {"D": 128, "B": 512, "PART": 32}, {}),
            (fused_triton._norm_silu, pointers(half, "x", "gamma", "out") | {"root": "fp32", "least": "fp32"},
             {"C": 2048, "B": 2048}, {}),
            (attention_triton._attend,
             pointers(half, "query", "key", "value", "out") | pointers("i32", "count", "windows", "order")
             | {"scale": "fp32"}, {"L": 128, "K": 64, "D": 128}, {"num_stages": 2}),
            (color_triton._level, pointers("fp32", "x", "source", "out") | {"result": f"*{half}", "low": "fp32",
             "high": "fp32"}, {"FIRST": True, "LAST": False, "B": 1024}, {}),
            (convolution_triton._products, pointers(half, "x", "weight") | {"tap": "*fp32"},
             {"C": 128, "N": 32, "M": 128}, {}),
            (convolution_triton._sums, pointers(half, "bias", "out") | {"tap": "*fp32"},
             {"BIASED": True, "M": 512}, {}),
        ]
        for kernel in kernels:
            compiled(*kernel[:3], target, kernel[3])
    for whole in (True, False):
        compiled(fused_triton._above_kth, {"x": "*fp32", "above": "*i1"}, {"B": 32768, "WHOLE": whole}, target,
                 {"num_warps": 8 if whole else 32})
    compiled(attention_triton._list, {"chosen": "*i1"} | pointers("i32", "slabs", "windows", "count"), {"B": 512},
             target, {})
    compiled(attention_triton._rank, pointers("i32", "count", "order"), {"B": 1024}, target, {})
    compiled(color_triton._level, pointers("fp32", "x", "result", "source", "out") | {"low": "fp32", "high": "fp32"},
             {"FIRST": False, "LAST": True, "B": 1024}, target, {})
    compiled(classical_triton._resample, pointers("fp32", "x", "weight", "out") | {"index": "*i64"},
             {"K": 4, "B": 1024}, target, {"enable_fp_fusion": False})
"""
SHARED = {80: 163 << 10, 90: 227 << 10}  # that a program may have, in bytes


def test_every_kernel_compiles_and_fits() -> None:
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE, *map(str, SHARED)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert len(lines) == 2 * (2 * 10 + 6)
    for arch, kernel, shared, size in lines:
        assert int(shared) <= SHARED[int(arch)], kernel
        assert int(size) > 0, kernel
