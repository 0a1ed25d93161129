"""The transformer's fused steps compute what the plain ones do: the programs of a GPU, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model.flashvsr import attention_triton, fused, fused_triton
from vsr_model.flashvsr.attention import exact_attention
from vsr_model.flashvsr.fused import Plain, Turned, check, steps_on
from vsr_model.flashvsr.fused_triton import Fused

CPU = torch.device("cpu")


@pytest.mark.parametrize(("width", "heads"), [(48, 3), (64, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_step_agrees(dtype: torch.dtype, width: int, heads: int) -> None:
    check(Fused(), Plain(), CPU, dtype, width, heads)


def test_every_value_is_written_and_nothing_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are made in poisoned memory; what lies between the heads stays."""
    monkeypatch.setattr(fused_triton.torch, "empty", lambda *shape, **kind: torch.full(*shape, torch.nan, **kind))
    rings = [torch.full((2, 3, 128, 16), torch.nan) for _ in range(2)]
    turn = torch.rand((128, 8, 2))
    to = Turned(torch.ones(32), torch.ones(32), turn, (2, 8, 8), *(ring[:, 1:2] for ring in rings))
    inputs = [torch.randn((128, 32)) for _ in range(3)]
    query_EWLD = Fused().windows(*inputs, to)
    assert torch.isfinite(query_EWLD).all()
    for ring in rings:
        assert torch.isfinite(ring[:, 1]).all()
        assert ring[:, ::2].isnan().all()


@pytest.mark.parametrize("scores", [1, 5, 64, 200])
def test_the_threshold_of_more_scores_than_a_program_holds(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_triton, "_WHOLE", 64)
    x_EM = torch.rand((3, scores)).square()
    x_EM[1] = 0.0
    x_EM[2] = 1.0
    for k in {1, scores // 2 + 1, scores}:
        assert torch.equal(Fused().kth_largest(x_EM, k), Plain().kth_largest(x_EM, k))


@pytest.mark.parametrize(("heads", "queries", "keys"), [(1, 1, 1), (2, 5, 7), (3, 4, 33)])
def test_lists_name_what_is_chosen_with_the_longest_first(heads: int, queries: int, keys: int) -> None:
    chosen = torch.rand((heads, queries, keys)) < 0.5
    list_EWW, count_P, order_P = attention_triton.listed(chosen)
    assert torch.equal(count_P, chosen.sum(-1).flatten().int())
    for lists, wanted, count in zip(list_EWW.flatten(0, 1), chosen.flatten(0, 1), count_P, strict=True):
        assert lists[:count].tolist() == wanted.nonzero().flatten().tolist()
    assert sorted(order_P.tolist()) == list(range(heads * queries))
    assert count_P[order_P].tolist() == sorted(count_P.tolist(), reverse=True)


def test_keys_in_a_ring_need_not_be_copied() -> None:
    """A part of the slots, so that heads lie further apart than their windows are long."""
    query = torch.randn((2, 2, 16, 16))
    ring = torch.randn((2, 5, 2, 16, 16))
    key, value = ring[:, :3, 0], ring[:, :3].flatten(1, 2)[:, 1::2]
    keys = ring[:, :3].flatten(1, 2)
    chosen = torch.rand((2, 2, 6)) < 0.6
    found = attention_triton.sparse_attention(query, keys, keys, chosen)
    assert float((found - exact_attention(query, keys, keys, chosen)).abs().max()) < 2e-6
    chosen = torch.rand((2, 2, 3)) < 0.6
    found = attention_triton.sparse_attention(query, key, value, chosen)
    assert float((found - exact_attention(query, key, value, chosen)).abs().max()) < 2e-6


def test_steps_that_do_not_work_on_a_device_are_not_used() -> None:
    with pytest.warns(UserWarning, match="the fused steps of the transformer are of no use on cuda:7"):
        assert isinstance(steps_on(torch.device("cuda:7"), torch.float16, 64, 2), Plain)
    assert isinstance(steps_on(CPU, torch.float32, 64, 2), Plain)


def test_a_wrong_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Plain):
        def kth_largest(self, x_EM: torch.Tensor, k: int) -> torch.Tensor:
            return super().kth_largest(x_EM, k) + 1e-6

    with pytest.raises(ArithmeticError, match="the threshold is off"):
        fused.check(Wrong(), Plain(), CPU, torch.float32, 48, 3)
