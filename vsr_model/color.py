"""Give a network's result the colours of the source it was made from: per-frame statistics, or low frequencies.

Both are applied frame by frame, in float32 whatever comes in: in half precision the wavelet form shows bands. On a GPU
the wavelet form has a kernel (`color_triton`), used once it has shown there that it computes what is written here.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F

from vsr_model.trial import agree, proven

WAVELET_LEVELS = 5  # the widest blur reaches 31 pixels to either side
_VARIANCE_FLOOR = 1e-5

Match = Callable[[torch.Tensor, torch.Tensor, float, float, int], torch.Tensor]


def match_statistics(
    result_T3HW: torch.Tensor, source_T3HW: torch.Tensor, low: float = -1.0, high: float = 1.0
) -> torch.Tensor:
    """AdaIN (Huang and Belongie 2017, equation 8): mean and deviation of each frame and channel become the source's.

    Args:
        result_T3HW: what the network made.
        source_T3HW: the source enlarged to the same size, in the same range.
        low, high: what the result is clamped to.

    Returns:
        float32. Statistics are of a whole frame: a small change in it changes every pixel a little.
    """
    result_T3HW, source_T3HW = result_T3HW.float(), source_T3HW.float()
    mean_T311, deviation_T311 = _statistics(result_T3HW)
    wanted_mean_T311, wanted_deviation_T311 = _statistics(source_T3HW)
    plain_T3HW = (result_T3HW - mean_T311) / deviation_T311
    return (plain_T3HW * wanted_deviation_T311 + wanted_mean_T311).clamp(low, high)


def match_low_frequencies(
    result_T3HW: torch.Tensor, source_T3HW: torch.Tensor, low: float = -1.0, high: float = 1.0
) -> torch.Tensor:
    """The result's detail on the source's low frequencies, split by an undecimated wavelet of `WAVELET_LEVELS` levels.

    Arguments and result as for `match_statistics`. Local: a pixel depends on 63 x 63 pixels around it.
    """
    match = _kernel(result_T3HW.device) or match_plainly
    return match(result_T3HW, source_T3HW, low, high, WAVELET_LEVELS)


def match_plainly(
    result_T3HW: torch.Tensor, source_T3HW: torch.Tensor, low: float, high: float, levels: int
) -> torch.Tensor:
    """What `match_low_frequencies` promises, with so many levels, in ordinary torch, anywhere."""
    result_T3HW = result_T3HW.float()
    # Both low frequencies at once: a blur of a difference is the difference of the blurs.
    return (result_T3HW + blur(source_T3HW.float() - result_T3HW, levels)).clamp(low, high)


def blur(x_T3HW: torch.Tensor, levels: int) -> torch.Tensor:
    """The low frequencies: binomial blurs [1, 2, 1] / 4 along both axes with 1, 2, 4, ... pixels between the taps."""
    kernel_3133 = _binomial(x_T3HW.device, x_T3HW.dtype)
    for level in range(levels):
        reach = 2**level
        padded_T3HW = F.pad(x_T3HW, (reach,) * 4, mode="replicate")
        x_T3HW = F.conv2d(padded_T3HW, kernel_3133, groups=3, dilation=reach)
    return x_T3HW


@lru_cache(maxsize=8)
def _binomial(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Kept, because what comes from the host makes it wait for the device."""
    tap_3 = torch.tensor([0.25, 0.5, 0.25], device=device, dtype=dtype)
    return (tap_3[:, None] * tap_3).expand(3, 1, 3, 3)


def _statistics(x_T3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    variance_T311, mean_T311 = torch.var_mean(x_T3HW, dim=(2, 3), correction=0, keepdim=True)
    return mean_T311, (variance_T311 + _VARIANCE_FLOOR).sqrt()


@lru_cache(maxsize=8)
def _kernel(device: torch.device) -> Match | None:
    """The kernel for a device, if it runs there and computes what it should."""
    if device.type != "cuda":
        return None

    def make() -> Match:
        from vsr_model.color_triton import match_low_frequencies as kernel

        return kernel

    return proven("the colour fix's kernel is", device, make, lambda kernel: check(kernel, device))


def check(match: Match, device: torch.device) -> None:
    """Compare a kernel with `match_plainly` on fresh noise, of a result in half precision and channels last.

    Raises:
        ArithmeticError: they differ by more than rounding explains.
    """
    result_T3HW = torch.randn((2, 3, 45, 70), device=device).half().contiguous(memory_format=torch.channels_last)
    source_T3HW = torch.randn((3, 2, 45, 70), device=device).transpose(0, 1)
    for levels in (1, 2, WAVELET_LEVELS):
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            wanted_T3HW = match_plainly(result_T3HW, source_T3HW, -1.0, 1.0, levels)
        agree("its result", match(result_T3HW, source_T3HW, -1.0, 1.0, levels), wanted_T3HW, torch.float32)
