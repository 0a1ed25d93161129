"""Whether a kernel may be trusted on a device: it is tried there first.

Knows no kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

# Largest difference on values of about 1 that rounding explains.
ROUNDING = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def works(what: str, device: torch.device, prove: Callable[[], None]) -> bool:
    """True if `prove` ends well on the device; else warns and says why not."""
    try:
        prove()
    except torch.OutOfMemoryError:  # says nothing of the kernel, and whoever asked knows what to do
        raise
    except Exception as error:  # compilers fail in as many ways as there are devices and versions
        warnings.warn(
            f"{what} of no use on {device} ({type(error).__name__}: {error}): plain torch does it instead, which is"
            " slow; a newer triton may help",
            stacklevel=3,
        )
        return False
    return True


def agree(what: str, found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype | None) -> None:
    """Compare with a reference in higher precision; no `dtype` means to the last bit.

    Raises:
        ArithmeticError: they differ by more than rounding in `dtype` explains, where they are larger than 1 by as much
            more.
    """
    apart = ((found.float() - wanted.float()).abs() / wanted.float().abs().clamp(min=1.0)).max()
    if not float(apart) <= (ROUNDING[dtype] if dtype else 0.0):
        raise ArithmeticError(f"{what} is off by {float(apart):.2g}")
