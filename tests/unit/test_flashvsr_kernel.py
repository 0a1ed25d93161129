"""The attention kernel computes what it should, in Triton's interpreter: the same program as on a GPU, step by step."""

from __future__ import annotations

import warnings

import pytest
import torch

from vsr_model.flashvsr import attention
from vsr_model.flashvsr.attention import exact_attention

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model.flashvsr import attention_triton as kernel


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
        found = kernel.sparse_attention(query, key, value, chosen)
        assert float((found - exact_attention(query, key, value, chosen)).abs().max()) < 2e-6


def test_nothing_is_left_of_what_lay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are made in poisoned memory, keys not chosen are not numbers, and a window may see nothing at all."""
    monkeypatch.setattr(kernel.torch, "empty_like", lambda x: torch.full_like(x, torch.nan))
    query, key, value = drawn(2, 3, 4, 16, 16)
    chosen = torch.rand((2, 3, 4)) < 0.5
    chosen[:, :, 1] = False
    chosen[1, 2] = False
    key[:, 1] = value[:, 1] = torch.nan
    found = kernel.sparse_attention(query, key, value, chosen)
    assert torch.isfinite(found).all()
    assert not found[1, 2].any()


def test_large_scores_do_not_overflow() -> None:
    query, key, value = drawn(1, 2, 3, 16, 16)
    chosen = torch.ones((1, 2, 3), dtype=torch.bool)
    found = kernel.sparse_attention(query * 300, key * 300, value, chosen)
    wanted = exact_attention((query * 300).double(), (key * 300).double(), value.double(), chosen)
    assert float((found - wanted).abs().max()) < 1e-3


def test_half_precision_is_as_near_as_it_can_be() -> None:
    query, key, value = (x.half() for x in drawn(1, 2, 3, 16, 32))
    chosen = torch.rand((1, 2, 3)) < 0.7
    found = kernel.sparse_attention(query, key, value, chosen)
    assert found.dtype == torch.float16
    wanted = exact_attention(query.float(), key.float(), value.float(), chosen)
    assert float((found.float() - wanted).abs().max()) < 5e-3


def test_layouts_other_than_plain_ones_are_understood() -> None:
    query, key, value = (x.transpose(0, 1) for x in drawn(3, 2, 2, 16, 16))
    chosen = torch.rand((2, 3, 3)) < 0.7
    found = kernel.sparse_attention(query, key, value, chosen)
    assert float((found - exact_attention(query, key, value, chosen)).abs().max()) < 2e-6


def test_a_kernel_that_does_not_work_on_a_device_is_not_used() -> None:
    """It is tried before it is trusted; here, on a device without the memory or compiler that it needs."""
    with pytest.warns(UserWarning, match="the attention kernel is of no use on cuda:7"):
        assert attention._kernel(torch.device("cuda:7"), torch.float16, 16, 16) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attention._kernel(torch.device("cpu"), torch.float32, 16, 16) is None
