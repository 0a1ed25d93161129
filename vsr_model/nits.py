"""How much light a display makes of HDR signals: PQ and HLG, in candelas a square metre (nits).

Knows R'G'B' from 0 to 1 and their light; nothing of codes, matrices or tone mapping.

Formulas: Rec. ITU-R BT.2100-2, tables 4 (PQ) and 5 (HLG), for HLG with a display whose white is 1000 nits and whose
black is none; the light of diffuse white is that of Report ITU-R BT.2408-4, table 1. Transfers are numbered as in
ITU-T H.273.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import math

import torch

PQ, HLG = 16, 18
TRANSFERS = {PQ: "PQ", HLG: "HLG"}
WHITE = 203.0  # of what lies in diffuse light, in HDR: paper, say
_PQ_MOST, _HLG_MOST = 10_000.0, 1_000.0
_M1, _M2 = 2610.0 / 16384.0, 2523.0 / 4096.0 * 128.0
_C1, _C2, _C3 = 3424.0 / 4096.0, 2413.0 / 4096.0 * 32.0, 2392.0 / 4096.0 * 32.0
_A, _B = 0.17883277, 0.28466892
_C = 0.5 - _A * math.log(4.0 * _A)
_SYSTEM_GAMMA = 1.2
_LUMINANCE = (0.2627, 0.6780, 0.0593)


def light_of(rgb_T3HW: torch.Tensor, transfer: int) -> torch.Tensor:
    """The light of each channel in nits, as white of that light would have it.

    Args:
        rgb_T3HW: non-linear R'G'B', clamped to 0..1; BT.2020 primaries for HLG, whose scene is brightened by its
            luminance.
        transfer: `PQ` or `HLG`.

    Returns:
        [T, 3, H, W] in the dtype given, linear.
    """
    signal_T3HW = rgb_T3HW.clamp(0.0, 1.0)
    if transfer == PQ:
        return _from_pq(signal_T3HW)
    scene_T3HW = _scene(signal_T3HW)
    red, green, blue = scene_T3HW.unbind(1)
    luminance_THW = _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    brighter_THW = luminance_THW.clamp(min=1e-9).pow(_SYSTEM_GAMMA - 1.0)
    return scene_T3HW * (brighter_THW * _HLG_MOST).unsqueeze(1)


def gray_light_of(signal: torch.Tensor, transfer: int) -> torch.Tensor:
    """The light in nits of a gray of each of these signals, of any shape; see `light_of`."""
    signal = signal.clamp(0.0, 1.0)
    return _from_pq(signal) if transfer == PQ else _scene(signal).pow(_SYSTEM_GAMMA) * _HLG_MOST


def levels(rgb_T3HW: torch.Tensor, transfer: int) -> torch.Tensor:
    """[T, 2]: the light of each frame's brightest channel of any pixel, and the mean over pixels of their brightest
    channel, in nits: what CTA-861.3 (annex P) makes MaxCLL and MaxFALL of."""
    rgb_T3HW = rgb_T3HW.float()
    if transfer == PQ:  # its channels do not depend on each other, and one is quicker than three
        brightest_THW = _from_pq(rgb_T3HW.amax(dim=1).clamp(0.0, 1.0))
    else:
        brightest_THW = light_of(rgb_T3HW, transfer).amax(dim=1)
    return torch.stack([brightest_THW.amax(dim=(1, 2)), brightest_THW.mean(dim=(1, 2))], dim=1)


def _from_pq(signal: torch.Tensor) -> torch.Tensor:
    root = signal.pow(1.0 / _M2)
    return ((root - _C1).clamp(min=0.0) / (_C2 - _C3 * root)).pow(1.0 / _M1) * _PQ_MOST


def _scene(signal: torch.Tensor) -> torch.Tensor:
    """HLG's inverse OETF: light of the scene from 0 to 1."""
    return torch.where(signal <= 0.5, signal.square() / 3.0, (torch.exp((signal - _C) / _A) + _B) / 12.0)
