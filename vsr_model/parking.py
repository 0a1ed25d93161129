"""Weights that a GPU does not need for now wait in the host's memory.

Nobody changes them, so they are copied there once, and only brought back afterwards: from pinned memory, at the speed
of the bus, without anybody waiting for the copy. What changes, as the memory of a stream does, has no place here: torch
rounds pinned memory up to powers of two, which is much for tensors of gigabytes.

Knows nothing of the network whose weights they are.
"""

from __future__ import annotations

import torch
from torch import nn


class Parked:
    """The weights of one network, as copied into the host's memory when it first left the device."""

    def __init__(self) -> None:
        """Nothing has left yet."""
        self._copies: dict[str, torch.Tensor] = {}

    def leave(self, network: nn.Module) -> None:
        """Free what the weights take of the device; always of the same network."""
        for name, weight in network.named_parameters():
            if weight.device.type == "cpu":
                continue
            if name not in self._copies:
                copy = torch.empty_like(weight.data, device="cpu", pin_memory=weight.is_cuda)
                self._copies[name] = copy.copy_(weight.data, non_blocking=True)
            weight.data = self._copies[name]

    @staticmethod
    def come(network: nn.Module, device: torch.device) -> None:
        """Bring the weights back, if they are not there."""
        for weight in network.parameters():
            if weight.device != device:
                weight.data = weight.data.to(device, non_blocking=True)
