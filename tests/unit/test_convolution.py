"""Convolutions in fewer kernels are the convolutions they stand for; kernels run in Triton's interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model import classical, classical_triton, convolution, convolution_triton
from vsr_model.flashvsr import tcdecoder
from vsr_model.flashvsr.tcdecoder import Memory, TcDecoder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def beside(x_BCHW: torch.Tensor) -> torch.Tensor:
    return x_BCHW.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_kernel_for_a_few_channels_agrees(dtype: torch.dtype) -> None:
    convolution.check_few(convolution_triton.conv_few, CPU, dtype)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 32), (5, 33), (9, 64)])
def test_every_pixel_of_it_is_written(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In poisoned memory, at sizes around those of a program."""
    empty = torch.empty
    monkeypatch.setattr(convolution_triton.torch, "empty", lambda *a, **b: empty(*a, **b).fill_(torch.nan))
    conv = nn.Conv2d(16, 3, 3, padding=1)
    conv.weight.data = beside(conv.weight.data)
    x_BCHW = beside(torch.randn((2, 16, height, width)))
    assert float((convolution_triton.conv_few(conv, x_BCHW) - conv(x_BCHW)).abs().max()) < 1e-5


@pytest.mark.parametrize("outs", [2, 4, 7])
@pytest.mark.parametrize("biased", [False, True])
def test_halves_of_a_convolution_make_the_whole(outs: int, biased: bool) -> None:
    x_BCHW, weight_OC33 = beside(torch.randn((2, 8, 5, 6))), torch.randn((outs, 8, 3, 3))
    bias_O = torch.randn(outs) if biased else None
    found, wanted = (way(x_BCHW, weight_OC33, bias_O) for way in (convolution.conv_in_halves, F.conv2d))
    assert float((found - wanted).abs().max()) < 1e-5
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("outs", [3, 4, 8])
@pytest.mark.parametrize("bend", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 6)])
def test_a_convolution_of_an_enlarged_picture(outs: int, bend: bool, height: int, width: int) -> None:
    x_BCHW = beside(torch.randn((2, 5, height, width)))
    weights = [torch.randn((outs, 5, 3, 3)) for _ in range(2)]
    found = convolution.conv_enlarged(x_BCHW, [convolution.phase_weights(weight) for weight in weights], bend)
    large_BCHW = F.interpolate(x_BCHW, scale_factor=2, mode="nearest")
    wanted = torch.stack([F.conv2d(large_BCHW, weight, padding=1) for weight in weights], dim=1).flatten(0, 1)
    assert float((found - (wanted.relu() if bend else wanted)).abs().max()) < 1e-5


def test_a_decoder_whose_convolutions_are_merged_makes_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where channels lie side by side."""
    monkeypatch.setattr(tcdecoder, "order_of", lambda device: torch.channels_last)
    plain, merged = TcDecoder((16, 16, 8, 8)), TcDecoder((16, 16, 8, 8))
    merged.load_state_dict(plain.state_dict())
    merged.merge()
    memories = Memory(), Memory()
    for frames, latents in ((1, 1), (4, 1), (8, 2)):
        source, latent = torch.randn((3, frames, 24, 16)), torch.randn((16, latents, 3, 2))
        wanted, found = (each(latent, source, memory) for each, memory in zip((plain, merged), memories, strict=True))
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max().clamp(min=1.0))


def test_the_kernel_that_resamples_has_the_same_bits() -> None:
    classical.check(classical_triton.resample, CPU)


@pytest.mark.parametrize(("size", "result"), [((9, 7), (40, 5)), ((20, 31), (7, 90)), ((1, 1), (3, 2))])
def test_pictures_resized_by_it_have_the_same_bits(
    size: tuple[int, int], result: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x_T3HW = torch.randn((2, 3, *size))
    wanted = classical.resize(x_T3HW, *result)
    monkeypatch.setattr(classical, "_kernel", lambda device: classical_triton.resample)
    assert torch.equal(classical.resize(x_T3HW, *result), wanted)


def test_kernels_that_do_not_work_on_a_device_are_not_used() -> None:
    with pytest.warns(UserWarning, match="the resampling kernel is of no use on cuda:7"):
        assert classical._kernel(torch.device("cuda:7")) is None
    with pytest.warns(UserWarning, match="the convolution to a few channels is of no use on cuda:7"):
        assert convolution._few_on(torch.device("cuda:7"), torch.float16) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classical._kernel(CPU) is None
