"""HDR around networks on a real GPU: the contract, and the picture of the CPU."""

from __future__ import annotations

import pytest
import torch

from tests.hdr import PQ, rgb
from tests.unit.model_contract import check_contract, run
from vsr_model.contract import Placement
from vsr_model.hdr import HdrUpscaler, Shot
from vsr_model.registry import find
from vsr_model.tone import ToneMap, to_sdr

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SHOTS = (Shot(0, 1000.0), Shot(3, 300.0))


def film() -> torch.Tensor:
    return torch.stack([torch.from_numpy(rgb(n, 72, 96)).permute(2, 0, 1).float() for n in range(6)])


@pytest.mark.parametrize("name", ["lanczos", "swift"])
def test_it_keeps_the_contract_of_the_network_within(name: str) -> None:
    with torch.inference_mode():
        check_contract(HdrUpscaler(find(name).load(Placement("cuda")), PQ, SHOTS), 2, sizes=[(17, 23)], slicings=2)


@pytest.mark.parametrize(("name", "close"), [("lanczos", 1e-5), ("swift", 1e-2)])
def test_the_picture_is_the_one_of_the_cpu(name: str, close: float) -> None:
    made = {}
    for device in ("cpu", "cuda"):
        upscaler = HdrUpscaler(find(name).load(Placement(device)), PQ, SHOTS)
        with torch.inference_mode():
            made[device] = run(upscaler.stream(72, 96, 2), film().to(device)).float().cpu()
    assert float((made["cuda"] - made["cpu"]).abs().max()) < close


def test_sdr_is_that_of_the_cpu() -> None:
    tone = ToneMap("log", 0.5, 1000.0)
    here, there = (to_sdr(film().to(device), PQ, 9, tone).cpu() for device in ("cpu", "cuda"))
    assert float((here - there).abs().max()) < 1e-3
