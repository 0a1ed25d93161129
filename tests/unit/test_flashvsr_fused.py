"""The transformer's fused steps compute what the plain ones do: the programs of a GPU, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model.flashvsr import attention_triton, channel_norm, fused, fused_triton, lq_projection
from vsr_model.flashvsr.fused import Plain, Turned, check, steps_on
from vsr_model.flashvsr.fused_triton import Fused
from vsr_model.flashvsr.seen import Seen

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
    rings.append(torch.full((2, 3, 16), torch.nan))
    to = Turned(torch.ones(32), torch.ones(32), turn, *(ring[:, 1:2] for ring in rings))
    inputs = [torch.randn((128, 32)) for _ in range(3)]
    query_EWLD, mean_EWD = Fused().windows(*inputs, to)
    assert torch.isfinite(query_EWLD).all()
    assert torch.isfinite(mean_EWD).all()
    for ring in rings:
        assert torch.isfinite(ring[:, 1]).all()
        assert ring[:, ::2].isnan().all()


@pytest.mark.parametrize("scores", [1, 5, 64, 200])
def test_the_threshold_of_more_scores_than_a_program_holds(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_triton, "_WHOLE", 64)
    x_EM = torch.rand((3, scores)).square()
    x_EM[1] = 0.0
    x_EM[0, scores // 2] = torch.nan
    x_EM[2] = 1.0
    for k in {1, scores // 2 + 1, scores}:
        known = slice(int(k == 1), None)  # not the row whose largest is no number: torch finds all of it above that
        assert torch.equal(Fused().above_kth(x_EM, k)[known], Plain().above_kth(x_EM, k)[known])


@pytest.mark.parametrize(("heads", "queries", "keys"), [(1, 1, 1), (2, 5, 7), (3, 4, 33)])
def test_lists_name_what_is_chosen_with_the_longest_first(heads: int, queries: int, keys: int) -> None:
    """Three slabs are seen of five: a window's number is that of its slab, its head and its place there."""
    slabs, n = torch.tensor([4, 0, 3], dtype=torch.int32), keys
    pool = torch.arange(5 * heads * n).reshape(5, heads, n, 1, 1)
    chosen = torch.rand((heads, queries, 3 * n)) < 0.5
    list_EWW, count_P = attention_triton.listed(chosen, Seen(pool, pool, slabs))
    order_P = attention_triton._longest_first(count_P)
    numbers_EW = Seen(pool, pool, slabs).gathered()[0].flatten(1)
    assert torch.equal(count_P, chosen.sum(-1).flatten().int())
    for head in range(heads):
        for window in range(queries):
            wanted = numbers_EW[head, chosen[head, window]].tolist()
            assert list_EWW[head, window, : len(wanted)].tolist() == wanted
    assert sorted(order_P.tolist()) == list(range(heads * queries))
    assert count_P[order_P].tolist() == sorted(count_P.tolist(), reverse=True)


@pytest.mark.parametrize("part", [8, 32])
def test_shares_of_more_keys_than_a_program_holds_at_once(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_triton, "_PART", 16 * part)
    query, key = torch.randn((2, 10, 48)), torch.randn((5, 2, 5, 48))
    slabs = torch.tensor([1, 4, 0], dtype=torch.int32)
    near = torch.eye(5, dtype=torch.bool) | (torch.rand((5, 5)) < 0.5)
    found, wanted = (steps.shares(query, key, slabs, near) for steps in (Fused(), Plain()))
    assert float((found - wanted).abs().max()) < 1e-6
    assert torch.equal(found > 0, wanted > 0)


def test_what_is_no_number_has_a_share_that_is_none() -> None:
    """So that it is looked at, and noticed; unless it is not near."""
    query, key, slabs = torch.randn((1, 2, 16)), torch.randn((1, 1, 2, 16)), torch.zeros(1, dtype=torch.int32)
    key[0, 0, 1] = torch.nan
    for near, noticed in ((torch.ones((2, 2), dtype=torch.bool), True), (torch.eye(2, dtype=torch.bool), False)):
        for steps in (Fused(), Plain()):
            assert steps.shares(query, key, slabs, near)[0, 0].isnan().all() == noticed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_projections_norm_agrees(dtype: torch.dtype) -> None:
    channel_norm.check(fused_triton.norm_silu, CPU, dtype)


def test_a_norm_that_takes_infinities_for_numbers_is_found() -> None:
    def wrong(x_NC: torch.Tensor, gamma_C: torch.Tensor) -> torch.Tensor:
        return channel_norm.norm_silu(x_NC.clamp(-1e4, 1e4), gamma_C)

    with pytest.raises(ArithmeticError, match="passes for a number"):
        channel_norm.check(wrong, CPU, torch.float32)


@pytest.mark.parametrize(("times", "height", "width"), [(4, 5, 6), (2, 1, 1)])
def test_convolutions_with_frames_as_channels_are_the_same(times: int, height: int, width: int) -> None:
    """What a GPU does, on the CPU; before and after it may lie in memory in any order."""
    conv, norm = torch.nn.Conv3d(16, 24, (4, 3, 3), (2, 1, 1)), channel_norm.ChannelNorm(24)
    before = torch.randn((2, height, width, 16)).permute(3, 0, 1, 2)
    clip = torch.randn((16, times, height, width))
    with torch.no_grad():
        wanted = lq_projection.LqProjection._convolve(conv, norm, before, clip)
        found = lq_projection._flat_convolution(conv, norm, before, clip)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < 1e-5


def test_steps_that_do_not_work_on_a_device_are_not_used() -> None:
    with pytest.warns(UserWarning, match="the fused steps of the transformer are of no use on cuda:7"):
        assert isinstance(steps_on(torch.device("cuda:7"), torch.float16, 64, 2), Plain)
    assert isinstance(steps_on(CPU, torch.float32, 64, 2), Plain)


def test_a_wrong_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Plain):
        def above_kth(self, x_RM: torch.Tensor, k: int) -> torch.Tensor:
            return super().above_kth(x_RM, k + 1)

    with pytest.raises(ArithmeticError, match="what is above a threshold is off"):
        fused.check(Wrong(), Plain(), CPU, torch.float32, 48, 3)
