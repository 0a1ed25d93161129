"""What a GPU does not need for now waits in the host's memory: tensors of a stream, weights of a network.

Copies go through pinned memory, at the speed of the bus, and nobody waits for them: all that a device is asked for
happens in the order asked. So what lies in the host's memory is only to be brought back, not to be looked at.

Knows nothing of what it moves.
"""

from __future__ import annotations

import torch
from torch import nn

HOST = torch.device("cpu")


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same values on `device`."""
    if tensor.is_cuda and device.type == "cpu":
        return torch.empty_like(tensor, device=device, pin_memory=True).copy_(tensor, non_blocking=True)
    return tensor.to(device, non_blocking=True)


class Parked:
    """The weights of one network, which nobody changes, as copied into the host's memory when it first left."""

    def __init__(self) -> None:
        """Nothing has left yet."""
        self._copies: dict[str, torch.Tensor] = {}

    def leave(self, network: nn.Module) -> None:
        """Free what the weights take of the device; always of the same network."""
        for name, weight in network.named_parameters():
            if name not in self._copies:
                self._copies[name] = moved(weight.data, HOST)
            weight.data = self._copies[name]

    @staticmethod
    def come(network: nn.Module, device: torch.device) -> None:
        """Bring the weights back, if they are not there."""
        for weight in network.parameters():
            if weight.device != device:
                weight.data = moved(weight.data, device)
