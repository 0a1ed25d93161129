"""Tone mapping: the light of an HDR picture as an SDR display can show it. By curves that are the same for every frame.

A curve works on the brightest of a pixel's channels, and the other two keep their ratio to it: hues stay. Colours that
BT.709 does not hold are clipped.

Formulas: E. Reinhard et al., "Photographic Tone Reproduction for Digital Images", SIGGRAPH 2002, equation 4; K.
Narkowicz, "ACES Filmic Tone Mapping Curve", 2016 (a fit of the ACES reference rendering); chromaticities of
BT.709-6, SMPTE RP 431-2 with D65, and BT.2020-2; the way between primaries as in SMPTE RP 177.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from vsr_model.nits import WHITE, light_of

CurveName = Literal["reinhard", "log", "aces"]
# Bumped when a curve gives other values.
TONE_VERSION = 1
DISPLAY_GAMMA = 2.4  # of an SDR display (BT.1886)
_BT709 = 1
# x and y of red, green and blue, by H.273 number; white is D65 for all.
_PRIMARIES = {
    _BT709: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


@dataclass(frozen=True)
class ToneMap:
    """How an HDR title becomes SDR.

    Attributes:
        curve: which one.
        exposure: stops by which it is made lighter (or darker) first.
        peak: the title's brightest light, in nits: what becomes white.
    """

    curve: CurveName
    exposure: float
    peak: float


def to_sdr(rgb_T3HW: torch.Tensor, transfer: int, primaries: int, tone: ToneMap) -> torch.Tensor:
    """HDR R'G'B' as R'G'B' of BT.709 for an SDR display.

    Args:
        rgb_T3HW: of the HDR signal, 0..1.
        transfer: what its numbers mean (`nits.PQ` or `nits.HLG`).
        primaries: of its colours: 1, 9 or 12 of H.273; others count as 9.
        tone: curve, exposure and peak.

    Returns:
        [T, 3, H, W] float32 in 0..1.
    """
    raised = math.exp2(tone.exposure) / WHITE
    light_T3HW = light_of(rgb_T3HW.float(), transfer) * raised
    brightest_T1HW = light_T3HW.amax(dim=1, keepdim=True)
    white = max(tone.peak * raised, 1.0)
    shown_T1HW = curve_of(tone.curve, white)(brightest_T1HW).clamp(0.0, 1.0)
    light_T3HW = light_T3HW * (shown_T1HW / brightest_T1HW.clamp(min=1e-9))
    if primaries != _BT709:
        matrix_33 = torch.from_numpy(_to_bt709(primaries)).to(light_T3HW)
        light_T3HW = (matrix_33 @ light_T3HW.flatten(2)).view_as(light_T3HW)
    return light_T3HW.clamp(0.0, 1.0).pow(1.0 / DISPLAY_GAMMA)


def curve_of(name: CurveName, white: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A curve from light, 1 for diffuse white, to light of a display, 1 for its white. All are monotone.

    Args:
        name: "reinhard" leaves shadows, "log" leaves black's surroundings and bends more evenly, "aces" has the
            contrast of film and clips a little.
        white: the light that becomes 1, at least 1; at 1 the first two change nothing.
    """
    if name == "reinhard":
        return lambda light: light * (1.0 + light / white**2) / (1.0 + light)
    if name == "log":
        bend = _bend(white)
        if not bend:
            return lambda light: light
        return lambda light: torch.log1p(light * bend) / math.log1p(white * bend)
    return _filmic


def _bend(white: float) -> float:
    """The b of log(1 + b L) / log(1 + b white) that leaves what is next to black as it is: b = log(1 + b white)."""
    bend = math.log(white) + white - 1.0
    for _ in range(200):
        bend = math.log1p(bend * white)
    return bend if bend > 1e-3 else 0.0


def _filmic(light: torch.Tensor) -> torch.Tensor:
    scaled = 0.6 * light
    return scaled * (2.51 * scaled + 0.03) / (scaled * (2.43 * scaled + 0.59) + 0.14)


@lru_cache(maxsize=4)
def _to_bt709(primaries: int) -> npt.NDArray[np.float32]:
    """[3, 3]: linear R, G, B of these primaries as those of BT.709."""
    there, here = _to_xyz(_PRIMARIES.get(primaries, _PRIMARIES[9])), _to_xyz(_PRIMARIES[_BT709])
    return (np.linalg.inv(here) @ there).astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    colours = np.array([[x / y, 1.0, (1.0 - x - y) / y] for x, y in primaries]).T
    white = np.array([_D65[0] / _D65[1], 1.0, (1.0 - _D65[0] - _D65[1]) / _D65[1]])
    return colours * np.linalg.solve(colours, white)
