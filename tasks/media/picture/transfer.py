"""Tensors to a device and back without making host and device wait for each other.

A copy through ordinary memory waits until the device has done all it was asked before; one through pinned memory does
not. Knows nothing of what is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host's tensor on a device; the copy may still be under way, in the order of the device's work."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class ToHost:
    """A device's tensors on their way to the host, behind all that the device was asked before."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Begin to copy."""
        self._event: torch.cuda.Event | None = None
        if all(tensor.device.type != "cuda" for tensor in tensors):
            self._tensors = list(tensors)
            return
        self._tensors = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
            for tensor in tensors
        ]
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def wait(self) -> list[torch.Tensor]:
        """The tensors, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensors
