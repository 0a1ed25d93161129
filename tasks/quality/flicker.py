"""Temporal warp error: how much a picture differs from the one before it once the motion is taken out.

Lai et al.: Learning Blind Video Temporal Consistency (ECCV 2018), section 4.2. The motion is that of the reference, by
OpenCV's DIS flow, and pixels that the flow back and forth does not bring home to within a pixel are left out. A blurred
picture scores low: read it beside a measure of sharpness, and against the reference's own.

Shape suffixes: H rows, W columns, 2 x and y.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


class WarpError:
    """Takes pairs of luma planes in 0..1, one at a time, and keeps the sums."""

    def __init__(self, cv2: ModuleType) -> None:
        """Take OpenCV, which is optional: see `opencv`."""
        self._cv2 = cv2
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[Float, Float] | None = None
        self._sums: list[tuple[float, float]] = []

    def add(self, reference_HW: Float, result_HW: Float) -> None:
        """Take the next frame of each."""
        if self._before is not None:
            reference_before_HW, result_before_HW = self._before
            flow_HW2, seen_HW = self._motion(reference_HW, reference_before_HW)
            self._sums.append(
                (
                    self._error(reference_HW, reference_before_HW, flow_HW2, seen_HW),
                    self._error(result_HW, result_before_HW, flow_HW2, seen_HW),
                )
            )
        self._before = reference_HW, result_HW

    def means(self) -> tuple[float, float] | None:
        """Mean squared error times 1000 of the reference and of the result; None before the second frame."""
        if not self._sums:
            return None
        reference, result = np.mean(self._sums, axis=0) * 1e3
        return float(reference), float(result)

    def _motion(self, now_HW: Float, before_HW: Float) -> tuple[Float, npt.NDArray[np.bool_]]:
        """Where each pixel was one frame ago, and whether it was to be seen there."""
        now, before = ((plane * 255.0).round().clip(0, 255).astype(np.uint8) for plane in (now_HW, before_HW))
        back_HW2 = self._flow.calc(now, before, None)
        forth_HW2 = self._fetch(self._flow.calc(before, now, None), back_HW2)
        seen_HW = np.square(back_HW2 + forth_HW2).sum(axis=-1) < 1.0
        return back_HW2, seen_HW

    def _error(self, now_HW: Float, before_HW: Float, flow_HW2: Float, seen_HW: npt.NDArray[np.bool_]) -> float:
        difference_HW = now_HW - self._fetch(before_HW, flow_HW2)
        return float(np.square(difference_HW)[seen_HW].mean()) if seen_HW.any() else 0.0

    def _fetch(self, plane: Float, flow_HW2: Float) -> Float:
        """`plane`, each pixel fetched from where the flow says it was."""
        height, width = flow_HW2.shape[:2]
        x_W, y_H = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        x_HW, y_HW = x_W[None, :] + flow_HW2[..., 0], y_H[:, None] + flow_HW2[..., 1]
        cv2 = self._cv2
        moved: Float = cv2.remap(plane, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved


def opencv() -> ModuleType | None:
    """OpenCV where it is installed."""
    try:
        import cv2
    except ImportError:
        return None
    module: ModuleType = cv2
    return module
