"""The full decoder over overlapping tiles of latents, so that what it needs of a device follows the tile's size.

A tile goes through the decoder like a picture of its own, with its own memory; where tiles overlap, their frames are
averaged with weights that rise from each inner edge. The decoder attends to all of the picture it is given, so frames
made of tiles are near those made in one piece, and not equal to them.

Knows nothing of how large a tile should be.

Shape suffixes: T frames, t latents, 3 colours, H rows, W columns, N pixels along either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from vsr_model.flashvsr.wan_layers import FRAMES, PATCH, Memory
from vsr_model.flashvsr.wan_vae import WanVae

_PARKED = torch.device("cpu")


@dataclass(frozen=True)
class Tiling:
    """Tiles of `size` latents (rows, columns) at the multiples of `stride`, but none that would add nothing."""

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if not all(stride <= size <= 2 * stride for size, stride in zip(self.size, self.stride, strict=True)):
            raise ValueError(f"tiles of {self.size} at every {self.stride}: a stride is half a tile to a whole one")


@dataclass
class Memories:
    """The memory of each tile, by its first row and column; empty at first."""

    of: dict[tuple[int, int], Memory] = field(default_factory=dict)


def decode_tiled(decoder: WanVae, latents_CtHW: torch.Tensor, tiling: Tiling, memories: Memories) -> torch.Tensor:
    """Decode the next latents of a stream, tile after tile.

    Args:
        decoder: the network.
        latents_CtHW: as the decoder takes them.
        tiling: one for all of a stream.
        memories: of the stream; hold what the next call needs.

    Returns:
        What the decoder returns: [3, T, 8 H, 8 W], not clamped.
    """
    latents, height, width = latents_CtHW.shape[1:]
    frames = FRAMES * latents - (0 if memories.of else FRAMES - 1)
    sum_3THW = torch.zeros((3, frames, PATCH * height, PATCH * width), device=latents_CtHW.device)
    weight_HW = torch.zeros_like(sum_3THW[0, 0])
    for rows, row_weight_N in _spans(height, tiling.size[0], tiling.stride[0], latents_CtHW.device):
        for columns, column_weight_N in _spans(width, tiling.size[1], tiling.stride[1], latents_CtHW.device):
            memory = memories.of.setdefault((rows.start, columns.start), Memory())
            part_3THW = _decode(decoder, latents_CtHW[..., rows, columns], memory)
            tile_weight_HW = torch.minimum(row_weight_N[:, None], column_weight_N)
            place = (..., _pixels(rows), _pixels(columns))
            sum_3THW[place] += part_3THW * tile_weight_HW
            weight_HW[place] += tile_weight_HW
    return (sum_3THW / weight_HW).to(latents_CtHW.dtype)


def _spans(length: int, size: int, stride: int, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """The tiles along one axis, and how much each of their pixels counts."""
    for start in range(0, length, stride):
        if start and start - stride + size >= length:
            return
        stop = min(start + size, length)
        weight_N = torch.ones(PATCH * (stop - start), device=device)
        shared = PATCH * (size - stride)
        rise_N = torch.arange(1, shared + 1, device=device) / max(shared, 1)
        if start:
            weight_N[:shared] = rise_N
        if start + size < length:
            weight_N[len(weight_N) - shared :] = rise_N.flip(0)
        yield slice(start, stop), weight_N


def _decode(decoder: WanVae, latents_CtHW: torch.Tensor, memory: Memory) -> torch.Tensor:
    """Decode one tile."""
    # Overlapping tiles remember more than the picture in one piece: on the device they would save nothing.
    memory.move(latents_CtHW.device)
    frames_3THW: torch.Tensor = decoder(latents_CtHW, memory)
    memory.move(_PARKED)
    return frames_3THW


def _pixels(latents: slice) -> slice:
    return slice(PATCH * latents.start, PATCH * latents.stop)
