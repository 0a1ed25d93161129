"""The colour fix's kernel computes what plain torch does: the program of a GPU, in Triton's interpreter."""

from __future__ import annotations

import warnings

import pytest
import torch

pytest.importorskip("triton", reason="no Triton for this system")
if torch.cuda.is_available():
    pytest.skip("compiled here: tests/gpu has these", allow_module_level=True)

from vsr_model import color, color_triton

CPU = torch.device("cpu")


def test_it_agrees() -> None:
    color.check(color_triton.match_low_frequencies, CPU)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (33, 64)])
def test_pictures_smaller_than_the_blur_and_larger_than_a_program(height: int, width: int) -> None:
    """In poisoned memory: every pixel is written."""
    result, source = torch.randn((2, 1, 3, height, width))
    found = color_triton.match_low_frequencies(result, source, -0.5, 0.5, color.WAVELET_LEVELS)
    wanted = color.match_plainly(result, source, -0.5, 0.5, color.WAVELET_LEVELS)
    assert float((found - wanted).abs().max()) < 1e-5
    assert float(found.abs().max()) <= 0.5


def test_what_is_no_number_stays_none() -> None:
    """Bounds must not make a number of it: an overflow is noticed by it."""
    result, source = torch.zeros((2, 1, 3, 80, 80))
    result[0, 1, 0, 0] = torch.nan
    found = color_triton.match_low_frequencies(result, source, -1.0, 1.0, color.WAVELET_LEVELS)
    assert found[0, 1, 0, 0].isnan()
    assert found[0, ::2].isfinite().all()
    assert found[0, 1, 64:, 64:].isfinite().all()


def test_a_kernel_that_does_not_work_on_a_device_is_not_used() -> None:
    with pytest.warns(UserWarning, match="the colour fix's kernel is of no use on cuda:7"):
        assert color._kernel(torch.device("cuda:7")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert color._kernel(CPU) is None
