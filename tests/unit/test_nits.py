"""PQ and HLG mean what their standards say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.hdr import HLG, PQ, hlg_code, pq_code
from vsr_model.nits import gray_light_of, levels, light_of


def test_pq_is_the_inverse_of_st_2084_at_all_brightnesses() -> None:
    nits = np.geomspace(0.001, 10_000, 200)
    code = torch.from_numpy(pq_code(nits))
    assert gray_light_of(code, PQ).numpy() == pytest.approx(nits, rel=1e-9)
    assert gray_light_of(code.float(), PQ).numpy() == pytest.approx(nits, rel=2e-3)


def test_hlg_shows_white_at_203_nits_and_its_peak_at_1000() -> None:
    # Report BT.2408, table 1: 75 % HLG is diffuse white.
    shown = gray_light_of(torch.tensor([0.0, 0.75, 1.0], dtype=torch.float64), HLG)
    assert shown.tolist() == pytest.approx([0.0, 203.0, 1000.0], abs=0.5)
    scene = np.linspace(0, 1, 50)
    assert gray_light_of(torch.from_numpy(hlg_code(scene)), HLG).numpy() == pytest.approx(1000 * scene**1.2, abs=1e-3)


def test_a_gray_is_as_bright_in_colour_as_by_itself() -> None:
    code = torch.linspace(0, 1, 64, dtype=torch.float64).view(1, 1, 8, 8)
    for transfer in (PQ, HLG):
        shown = light_of(code.expand(-1, 3, -1, -1), transfer)
        wanted = gray_light_of(code, transfer).expand_as(shown)
        assert torch.allclose(shown, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_levels_are_of_the_brightest_channel_of_each_pixel(transfer: int) -> None:
    frames_T3HW = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    frames_T3HW[0, 2, 0, 0] = 0.7
    frames_T3HW[1] = 0.5
    light = light_of(frames_T3HW, transfer)
    found = levels(frames_T3HW, transfer)
    assert found[0].tolist() == pytest.approx([float(light[0, 2, 0, 0]), float(light[0, 2, 0, 0]) / 16], rel=1e-4)
    assert found[1].tolist() == pytest.approx([float(gray_light_of(torch.tensor(0.5), transfer))] * 2, rel=1e-3)
