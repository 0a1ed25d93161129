"""The experiment with products in fp8 computes what it says. Its kernel is held against this on a GPU, by itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here, and not for the CPU", allow_module_level=True)

from tests.benchmarks.flashvsr_fp8 import LARGEST, Fp8Linear, convert, quantised, without_gelu
from vsr_model.flashvsr.dit import Block, DitShape
from vsr_model.flashvsr.fused import Plain


@pytest.mark.parametrize("gelu", [False, True])
def test_each_row_is_rounded_to_the_nearest_of_its_own_scale(gelu: bool) -> None:
    x_NC = torch.randn(5, 48) * torch.tensor([1e-3, 0.1, 1.0, 30.0, 0.0])[:, None]
    held_NC, scale_N1 = quantised(x_NC, gelu)
    wanted_NC = F.gelu(x_NC, approximate="tanh") if gelu else x_NC
    step_N1 = wanted_NC.abs().amax(1, keepdim=True).clamp(min=1e-12) / LARGEST
    torch.testing.assert_close(scale_N1, step_N1)
    again_NC = held_NC.float() * scale_N1
    # Three bits of mantissa: half a step is a sixteenth of a value, or of the smallest normal one.
    assert bool(((again_NC - wanted_NC).abs() <= wanted_NC.abs() / 16 + step_N1 * 2**-7).all())


def test_a_layer_is_near_the_one_it_is_made_of() -> None:
    torch.manual_seed(0)
    linear, x_NC = nn.Linear(64, 96), torch.randn(32, 64)
    wanted_NO, found_NO = linear(x_NC), Fp8Linear(linear)(x_NC)
    assert found_NO.dtype == x_NC.dtype
    assert (found_NO - wanted_NO).norm() < 0.05 * wanted_NO.norm()


def test_a_feed_forward_in_fp8_bends_once() -> None:
    torch.manual_seed(0)
    block, x_NC = Block(DitShape(width=32, heads=2, layers=1, ffn=80)), torch.randn(16, 32)
    wanted_NC = block.feed_forward(x_NC, Plain())
    convert([block], "all products")
    with without_gelu():
        found_NC = block.feed_forward(x_NC, Plain())
    assert (found_NC - wanted_NC).norm() < 0.08 * wanted_NC.norm()
    assert isinstance(block.self_attn.q, Fp8Linear)
    assert not isinstance(block.cross_attn.k, Fp8Linear)
