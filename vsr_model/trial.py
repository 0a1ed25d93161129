"""Whether a kernel may be trusted on a device: it is tried there first.

Knows no kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Kernel = TypeVar("Kernel")

# Largest difference on values of about 1 that rounding explains.
ROUNDING = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def proven(
    what: str, device: torch.device, make: Callable[[], Kernel], check: Callable[[Kernel], None]
) -> Kernel | None:
    """What `make` makes, if it can be made for the device and passes the check there; else warns and says why not.

    Args:
        what: the kernel, in words that a warning begins with.
        device: where it runs.
        make: imports it: compilers are not there everywhere.
        check: compares it with plain torch; raises where they differ.
    """
    try:
        made = make()
        check(made)
    except torch.OutOfMemoryError:  # says nothing of the kernel, and whoever asked knows what to do
        raise
    except Exception as error:  # compilers fail in as many ways as there are devices and versions
        warnings.warn(
            f"{what} of no use on {device} ({type(error).__name__}: {error}): plain torch does it instead, which is"
            " slow; a newer triton may help",
            stacklevel=3,
        )
        return None
    return made


def agree(what: str, found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype | None) -> None:
    """Compare with a reference in higher precision; no `dtype` means to the last bit.

    Raises:
        ArithmeticError: they differ by more than rounding in `dtype` explains, where they are larger than 1 by as much
            more.
    """
    apart = ((found.float() - wanted.float()).abs() / wanted.float().abs().clamp(min=1.0)).max()
    if not float(apart) <= (ROUNDING[dtype] if dtype else 0.0):
        raise ArithmeticError(f"{what} is off by {float(apart):.2g}")
