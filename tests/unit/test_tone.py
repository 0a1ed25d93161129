"""Tone mapping: curves without surprises, hues that stay, colours of BT.709."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.hdr import HLG, PQ, pq_code
from vsr_model.tone import CurveName, ToneMap, curve_of, to_sdr

CURVES: tuple[CurveName, ...] = ("reinhard", "log", "aces")


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("white", [1.0, 1.01, 4.9, 49.0])
def test_more_light_is_never_shown_darker_and_black_stays_black(name: CurveName, white: float) -> None:
    light = torch.linspace(0, white, 4001, dtype=torch.float64)
    shown = curve_of(name, white)(light)
    assert float(shown[0]) == 0
    assert (shown.diff() > 0).all()


@pytest.mark.parametrize("name", ["reinhard", "log"])
def test_the_brightest_light_becomes_white_and_the_darkest_keeps_its_light(name: CurveName) -> None:
    for white in (1.0, 2.0, 5.0, 49.0):
        curve = curve_of(name, white)
        assert float(curve(torch.tensor(white, dtype=torch.float64))) == pytest.approx(1.0, abs=1e-9)
        assert float(curve(torch.tensor(1e-4, dtype=torch.float64))) == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("name", ["reinhard", "log"])
def test_what_is_no_brighter_than_white_is_left_as_it_is(name: CurveName) -> None:
    light = torch.linspace(0, 1, 100, dtype=torch.float64)
    assert torch.allclose(curve_of(name, 1.0)(light), light, atol=1e-9)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("name", CURVES)
def test_grays_stay_gray_and_in_range(name: CurveName, transfer: int) -> None:
    gray = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(-1, 3, -1, -1)
    sdr = to_sdr(gray, transfer, 9, ToneMap(name, 0.0, 1000.0))
    assert float(sdr.min()) >= 0 and float(sdr.max()) <= 1
    assert torch.allclose(sdr[:, :1].expand_as(sdr), sdr, atol=2e-3)


def test_white_of_203_nits_without_brighter_light_is_white_of_sdr() -> None:
    white = torch.full((1, 3, 2, 2), float(pq_code(np.array(203.0))))
    assert to_sdr(white, PQ, 9, ToneMap("reinhard", 0.0, 203.0)).mean().item() == pytest.approx(1.0, abs=1e-3)
    # An 18 % gray of it: light to the power of 1 / 2.4.
    gray = torch.full((1, 3, 2, 2), float(pq_code(np.array(203.0 * 0.18))))
    shown = to_sdr(gray, PQ, 9, ToneMap("reinhard", 0.0, 203.0)).mean().item()
    assert shown == pytest.approx(0.18 ** (1 / 2.4), abs=2e-3)


def test_a_stop_of_exposure_is_twice_the_light() -> None:
    tone = {stops: ToneMap("reinhard", stops, 100.0) for stops in (0.0, 1.0)}
    one, two = (torch.full((1, 3, 1, 1), float(pq_code(np.array(nits)))) for nits in (20.0, 40.0))
    assert torch.allclose(to_sdr(one, PQ, 9, tone[1.0]), to_sdr(two, PQ, 9, tone[0.0]), atol=2e-3)


def test_a_colour_that_bt_709_holds_is_the_same_colour() -> None:
    # BT.709 red of 50 nits in BT.2020: Report BT.2407, the columns of its matrix.
    light = np.array([0.6274, 0.0691, 0.0164]) * 50
    red = torch.tensor(pq_code(light), dtype=torch.float32).view(1, 3, 1, 1)
    shown = to_sdr(red, PQ, 9, ToneMap("reinhard", 0.0, 203.0)).flatten().tolist()
    assert shown[0] > 0.5
    assert max(shown[1:]) < 0.06
