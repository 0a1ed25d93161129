"""The benchmark of a GPU runs to its end: all it checks, with the programs of a GPU in Triton's interpreter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here, and not for the CPU", allow_module_level=True)

from tests.benchmarks import flashvsr_gpu
from vsr_model.flashvsr import attention_triton
from vsr_model.flashvsr.fused import Plain
from vsr_model.flashvsr.seen import Seen


@pytest.fixture(autouse=True)
def two_narrow_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name, value in {"HEADS": 2, "HEAD_WIDTH": 16, "FFN": 48}.items():
        monkeypatch.setattr(flashvsr_gpu, name, value)


def test_it_checks_times_and_writes_every_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flashvsr_gpu.main([str(tmp_path), "--device", "cpu", "--sizes", "32x32", "--models"])
    found = json.loads((tmp_path / "flashvsr.json").read_text())
    assert [row["what"] for row in found["pieces"]] == [
        "attention, Triton's", "attention, dense", "add and norm, fused", "norm, turn, windows, fused",
        "linear and GELU, fused", "choice of windows, fused", "add and norm, plain", "norm, turn, windows, plain",
        "linear and GELU, plain", "choice of windows, plain",
    ]  # fmt: skip
    assert all(row["ms"] > 0 for row in found["pieces"])
    assert len(capsys.readouterr().out.splitlines()) == len(found["pieces"])


def test_a_kernel_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention_triton.sparse_attention

    def wrong(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
        return right(query_EWLD, seen, chosen_EWW) + 0.1

    monkeypatch.setattr(attention_triton, "sparse_attention", wrong)
    with pytest.raises(ArithmeticError, match="attention, Triton's is off by"):
        flashvsr_gpu.time_attention("32x32", flashvsr_gpu.layer(32, 32, torch.device("cpu")), Plain(), repeats=1)
