"""Light in half floats, as EXR holds it: as whole numbers that sort alike, and as the R'G'B' that networks know.

A half's 16 bits are kept as the number of its place among all halves (-inf first, +inf last): segments hold them
without loss. For a network light gets the curve of IEC 61966-2-1 (sRGB), which goes on beyond 1 and is mirrored below
0; what comes back is rounded to the nearest half. The way there and back changes no half.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.errors import UnsupportedSource

_MOST = 65504.0  # the largest half
_ZERO = 0x8000  # the place of zero
Codes = npt.NDArray[np.uint16]


def places(values: npt.NDArray[Any]) -> Codes:
    """The places of floats, rounded to the nearest half.

    Raises:
        UnsupportedSource: some are no numbers, or beyond what a half holds.
    """
    if not np.isfinite(values).all() or (values.dtype != np.float16 and np.abs(values).max(initial=0) > _MOST):
        raise UnsupportedSource(
            "holds samples that are infinite, no numbers, or beyond 65504, the largest half float, which cannot be"
            " upscaled. Mend them where they were rendered, or clamp them there."
        )
    bits = np.ascontiguousarray(values, np.float16).view(np.uint16)
    return np.where(bits & _ZERO, 0xFFFF - bits, bits + _ZERO).astype(np.uint16)


def halves(codes: Codes) -> npt.NDArray[np.float16]:
    """The halves at these places."""
    bits = np.where(codes >= _ZERO, codes - _ZERO, 0xFFFF - codes).astype(np.uint16)
    return bits.view(np.float16)


def values_of(codes: torch.Tensor) -> torch.Tensor:
    """The halves at places, as float32."""
    whole = codes.to(torch.int32)
    bits = torch.where(whole >= _ZERO, whole - _ZERO, 0xFFFF - whole)
    return bits.to(torch.int16).view(torch.float16).float()


def places_of_values(values: torch.Tensor) -> torch.Tensor:
    """Places of the halves that are nearest to values, as int16 with the bits of uint16."""
    bits = values.clamp(-_MOST, _MOST).half().view(torch.int16).to(torch.int32) & 0xFFFF
    return torch.where(bits >= _ZERO, 0xFFFF - bits, bits + _ZERO).to(torch.int16)


def display_of(codes: torch.Tensor) -> torch.Tensor:
    """R'G'B' of places, as float32."""
    light = values_of(codes)
    size = light.abs()
    return torch.where(size <= 0.0031308, size * 12.92, 1.055 * size.pow(1 / 2.4) - 0.055).copysign(light)


def places_of(display: torch.Tensor) -> torch.Tensor:
    """Places of R'G'B', as int16 with the bits of uint16."""
    size = display.abs()
    return places_of_values(
        torch.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055).pow(2.4)).copysign(display)
    )


def as_shown(plane: Codes) -> Codes:
    """What of a plane of places a display would show: 0..65535 for light 0..1. For looking at only."""
    shown: Codes = _shown()[plane]
    return shown


@lru_cache(maxsize=1)
def _shown() -> Codes:
    display = display_of(torch.arange(1 << 16, dtype=torch.int32))
    return (display.nan_to_num(0.0).clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
