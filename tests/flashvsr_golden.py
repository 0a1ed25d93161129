"""Golden data of FlashVSR: outputs of the original code, and the recipe that makes the weights they were made with.

`tests/data/flashvsr/golden.safetensors` holds inputs and outputs (thinned out: `_s4` is every fourth row and column) of
OpenImagingLab/FlashVSR b527c6f (Apache-2.0), its modules unmodified, in float32 on a CPU, with reduced widths.
`encoder.safetensors` holds the latents of Wan's encoder, which FlashVSR carries and never runs: outputs of the class it
has from DiffSynth-Studio (2.1.12, Apache-2.0), whose decoder gives the other file's frames to the bit.
`bicubic.safetensors` holds a picture and what the original enlarges it to, by Pillow.
Weights are drawn from the names of their keys and rounded to bfloat16, so nobody has to store them.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).parent / "data/flashvsr"
Tensors = dict[str, torch.Tensor]
Module = TypeVar("Module", bound=nn.Module)


@cache
def golden(part: str) -> Tensors:
    """The tensors of one part, in float32."""
    tensors = {
        key.removeprefix(f"{part}/"): value
        for file in FOLDER.glob("*.safetensors")
        for key, value in load_file(file).items()
        if key.startswith(f"{part}/")
    }
    return {key: value.float() if value.dtype == torch.bfloat16 else value for key, value in tensors.items()}


def fill(module: Module, prefix: str) -> Module:
    """Give a module the weights of the recipe."""
    module.load_state_dict({key: _weight(prefix, key, value.shape) for key, value in module.state_dict().items()})
    return module.eval().requires_grad_(False)


def draw(name: str, shape: tuple[int, ...], std: float = 1.0, mean: float = 0.0) -> torch.Tensor:
    """Uniform numbers of a mean and deviation, seeded by a name, rounded to bfloat16."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape)) >> np.uint64(40)
    unit = raw.astype(np.float32) * np.float32(2.0**-24)
    values = (unit - np.float32(0.5)) * np.float32(math.sqrt(12.0) * std) + np.float32(mean)
    return torch.from_numpy(values.reshape(shape)).bfloat16().float()


def _weight(prefix: str, key: str, shape: torch.Size) -> torch.Tensor:
    name, size = f"{prefix}/{key}", tuple(shape)
    if key.endswith("modulation"):
        return draw(name, size, 0.3)
    if key.endswith("gamma") or (key.endswith("weight") and len(shape) == 1):
        return draw(name, size, 0.1, 1.0)
    if key.endswith("bias"):
        return draw(name, size, 0.05)
    return draw(name, size, _gain(prefix.rsplit(".")[-1], key) / math.sqrt(math.prod(shape[1:])))


def _gain(module: str, key: str) -> float:
    """How much larger than unit variance asks for a weight is."""
    gains = {
        "lq": {"conv1.": 1.5, "conv2.": 1.5},
        "dit": {"head.head.": 0.5},
        "tcd": {"decoder.1.": 1.4, "decoder.26": 0.6},
    }
    return next((gain for part, gain in gains.get(module, {}).items() if part in key), 1.0)
