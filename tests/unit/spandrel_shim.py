"""Make `spandrel` importable where torchvision's compiled part does not fit torch, as a CUDA wheel on a CPU torch.

spandrel only needs torchvision's Python side, which needs two operators to be declared before it loads. For tests only.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch

# A library object takes its declarations with it when it is collected.
_KEEP: list[torch.library.Library] = []


def require_spandrel() -> ModuleType:
    """Return the `spandrel` module, or skip the test that needs it."""
    pytest.importorskip("torchvision", reason="spandrel needs torchvision", exc_type=ModuleNotFoundError)
    return pytest.importorskip("spandrel", reason='network files need it: pip install "remaster[spandrel]"')


def declare_torchvision_operators() -> None:
    """Declare torchvision's operators if its own library could not; harmless where it could."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEEP.append(library)


declare_torchvision_operators()
