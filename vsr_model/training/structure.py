"""How unlike two pictures' details are: the contrast and structure part of SSIM on luma, at three sizes.

The picture that is nearest to the truth in squared error shows only the share of a detail that it is sure of, so what
was made from damaged sources is soft. This measure is best where details are as strong as the truth's, and it rewards
none that the truth does not have in that place.

Shape suffixes: N pictures, 3 colours, H rows, W columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

SIZES = 3  # whole, half and quarter: the details that x4 lacks are up to eight pixels long
WINDOW, STRIDE = 8, 4  # pixels
FLOOR = 4e-4  # variance below which a window counts as flat: five code values of 255, squared


def unlike(a_N3HW: torch.Tensor, b_N3HW: torch.Tensor) -> torch.Tensor:
    """0 for pictures of equal detail, 1 where they share none, 2 for negatives; mean over windows and sizes, scalar.

    Sides are at least `WINDOW` times four; gamma-coded RGB, nominally 0..1.
    """
    with torch.autocast(a_N3HW.device.type, enabled=False):  # variances are small differences
        red_M1HW, green_M1HW, blue_M1HW = torch.cat((a_N3HW, b_N3HW)).float().chunk(3, dim=1)
        luma_M1HW = 0.299 * red_M1HW + 0.587 * green_M1HW + 0.114 * blue_M1HW
        parts = []
        for size in range(SIZES):
            if size:
                luma_M1HW = F.avg_pool2d(luma_M1HW, 2)
            a_N1HW, b_N1HW = luma_M1HW.chunk(2)
            mean_a, mean_b, square_a, square_b, product = (
                F.avg_pool2d(x, WINDOW, STRIDE) for x in (a_N1HW, b_N1HW, a_N1HW**2, b_N1HW**2, a_N1HW * b_N1HW)
            )
            variances = square_a - mean_a**2 + square_b - mean_b**2
            alike = (2.0 * (product - mean_a * mean_b) + FLOOR) / (variances + FLOOR)
            parts.append((1.0 - alike).mean())
    return torch.stack(parts).mean()
