"""Networks on a real GPU: the contract holds there too, and the picture is the CPU's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.unit.model_contract import check_contract, make_clip, run
from vsr_model import registry
from vsr_model.contract import Placement

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SIZES = [(1, 1), (9, 13), (96, 160)]


@pytest.fixture(autouse=True)
def _as_a_worker_sets_it() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", ["lanczos", "bicubic"])
def test_the_references_keep_the_contract(name: str, scale: int) -> None:
    check_contract(registry.load(name, Placement("cuda")), scale, sizes=SIZES, frames=5, slicings=2)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["swift", "swift-restore"])
def test_swift_keeps_the_contract(name: str, scale: int, dtype: str) -> None:
    check_contract(registry.load(name, Placement("cuda", dtype)), scale, sizes=SIZES, frames=5, slicings=2)


@pytest.mark.parametrize(
    ("name", "dtype", "close"), [("lanczos", "auto", 1e-6), ("swift", "float32", 1e-3), ("swift", "float16", 5e-3)]
)
def test_the_picture_is_the_one_of_the_cpu(name: str, dtype: str, close: float) -> None:
    """By the root mean square over noise, the hardest of clips; single pixels of a warped picture may differ more."""
    on_gpu, on_cpu = registry.load(name, Placement("cuda", dtype)), registry.load(name, Placement("cpu", "auto"))
    clip_T3HW = make_clip(on_cpu, 6, 48, 64)
    there_T3HW = run(on_gpu.stream(48, 64, 4), clip_T3HW.to(on_gpu.device)).cpu()
    here_T3HW = run(on_cpu.stream(48, 64, 4), clip_T3HW)
    difference = float((there_T3HW - here_T3HW).square().mean().sqrt())
    assert difference < close, difference
