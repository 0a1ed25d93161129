"""LPIPS with AlexNet: how different two pictures look to a network that was taught with people's judgements.

Zhang et al.: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR 2018), section 3 and
equation 1, version 0.1 (linear heads). 0 is the same, below 0.1 hard to tell apart.

The weights are not shipped. They are read from `lpips/alexnet.ckpt` in the weights folder or bucket; docs/quality.md
says where they come from.

Shape suffixes: B pictures, C features, 3 colours, H rows, W columns.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vsr_model.errors import WeightsError
from vsr_model.weights import local_file

_FILE = "lpips/alexnet.ckpt"
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Of each convolution: stride, padding, and whether a 3x3 maximum at every second pixel comes before it.
_LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
_ALLOWED = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"}


class Lpips:
    """The metric, on one device."""

    def __init__(self, weights: dict[str, torch.Tensor], device: torch.device) -> None:
        """Take the weights as `read_weights` returns them."""
        self._weights = {name: tensor.to(device) for name, tensor in weights.items()}
        self._shift_3HW, self._scale_3HW = (
            torch.tensor(values, device=device)[:, None, None] for values in (_SHIFT, _SCALE)
        )

    @torch.inference_mode()
    def __call__(self, a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
        """Distance of each pair of RGB pictures in 0..1, at least 32 pixels a side: [B]."""
        distance_B = torch.zeros(len(a_B3HW), device=a_B3HW.device)
        both_B3HW = (torch.cat((a_B3HW, b_B3HW)) * 2.0 - 1.0 - self._shift_3HW) / self._scale_3HW
        x_BCHW = both_B3HW
        for n, (stride, padding, pooled) in enumerate(_LAYERS):
            x_BCHW = F.max_pool2d(x_BCHW, 3, 2) if pooled else x_BCHW
            kernel, bias = self._weights[f"conv{n}.weight"], self._weights[f"conv{n}.bias"]
            x_BCHW = F.relu(F.conv2d(x_BCHW, kernel, bias, stride, padding))
            unit_BCHW = x_BCHW / (x_BCHW.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
            a_BCHW, b_BCHW = unit_BCHW.chunk(2)
            head_1C11 = self._weights[f"head{n}.weight"]
            distance_B += F.conv2d((a_BCHW - b_BCHW).square(), head_1C11).mean(dim=(1, 2, 3))
        return distance_B


def load_lpips(device: torch.device) -> Lpips | None:
    """Return the metric, or None where its weights are not installed.

    Raises:
        WeightsError: there is a file, but it is not these weights; or there is a bucket that does not say.
    """
    path = local_file(_FILE)
    return Lpips(read_weights(path), device) if path else None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read `alexnet.ckpt`: a pickle of numpy arrays and nothing else, channels last.

    Raises:
        WeightsError: it holds anything but arrays, or not those of LPIPS with AlexNet.
    """
    try:
        with path.open("rb") as file:
            tree = _ArraysOnly(file).load()
        weights: dict[str, torch.Tensor] = {}
        for n in range(len(_LAYERS)):
            conv, head = tree["AlexNet_0"][f"Conv_{n}"], tree[f"NetLinLayer_{n}"]["Conv_0"]
            weights[f"conv{n}.weight"] = torch.from_numpy(np.array(conv["kernel"])).permute(3, 2, 0, 1).contiguous()
            weights[f"conv{n}.bias"] = torch.from_numpy(np.array(conv["bias"]))
            weights[f"head{n}.weight"] = torch.from_numpy(np.array(head["kernel"])).permute(3, 2, 0, 1).contiguous()
    except (OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path}: not the weights of LPIPS with AlexNet ({error}); see docs/quality.md") from error
    return weights


class _ArraysOnly(pickle.Unpickler):
    """Refuses every name that building a numpy array does not need."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
