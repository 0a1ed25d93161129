"""What becomes of a shard that does not fit the device, or whose numbers overflow: the next rung down.

    0   as asked
    1   a sturdier precision             the arithmetic gave what is no number
    2   smaller tiles                    the device's memory did not suffice; halved while that takes less of it
    3   off the device                   weights and the tiles' memories, while they wait; where the network can. Then
                                         smaller tiles again
    4   a classical resize               no network at all; the check of the master says so

Knows networks by what their `info` says, and nothing of shards or stores.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch

from vsr_model.contract import ModelInfo
from vsr_model.tiling import Area, area

LEAST_TILE = 96  # pixels of what the network is given: below that the shared borders are most of a tile
CLASSICAL = 4
_TILE_STEP = 32
_WIDER = ("float16", "bfloat16", "float32")  # from the narrowest range of numbers to the widest and finest
_USED = 0.8  # of the free memory: the rest is for codecs' copies and what the allocator loses


@dataclass(frozen=True)
class Rung:
    """How a shard is made.

    Attributes:
        tile: side in pixels of what the network is given (`vsr_model.sizes`); 0: whole frames.
        precision: as in a profile.
        offload: keep weights, and the memories of tiles, off the device while they are not needed.
        classical: enlarge by lanczos.
    """

    tile: int = 0
    precision: str = "auto"
    offload: bool = False
    classical: bool = False

    def number(self, asked: Rung) -> int:
        """How far down, from `asked`."""
        steps = (
            self.precision != asked.precision, self.tile != asked.tile, self.offload != asked.offload, self.classical,
        )  # fmt: skip
        return max((n for n, taken in enumerate(steps, 1) if taken), default=0)

    def words(self, asked: Rung) -> str:
        """What is not as `asked`, for a person; empty if nothing."""
        if self.classical:
            return "lanczos resize"
        parts = [f"tiles of {self.tile} px"] * (self.tile != asked.tile)
        parts += [self.precision] * (self.precision != asked.precision)
        parts += ["weights off the device"] * (self.offload != asked.offload)
        return ", ".join(parts)


Size = tuple[int, int, int]  # rows and columns of a frame as the network is given it, and its factor


def least_tile(info: ModelInfo, scale: int) -> int:
    """The smallest tile worth having: two steps of the network's grid have room for one and what neighbours share."""
    return max(LEAST_TILE, 2 * (info.grid // math.gcd(info.grid, scale)))


def smaller(rung: Rung, info: ModelInfo, size: Size, overlap: int) -> Rung | None:
    """The next rung that needs less memory; None below the last.

    Tiles of a network that remembers its past remember more than the picture in one piece, as they share borders:
    cutting it up may take more memory than it saves, until they wait elsewhere.
    """
    if rung.classical:
        return None
    for half in _halves(rung, info, size):
        if _bytes(half, info, size, overlap) < _bytes(rung, info, size, overlap):
            return half
    if info.offload and not rung.offload:
        return replace(rung, offload=True)
    return replace(rung, classical=True)


def _halves(rung: Rung, info: ModelInfo, size: Size) -> Iterator[Rung]:
    """With tiles of half the side, of a quarter, and so on; from the picture's own side if there are none."""
    side = max(size[:2])
    half = min(rung.tile or side, side) // 2 // _TILE_STEP * _TILE_STEP
    while info.tiling and half >= least_tile(info, size[2]):
        yield replace(rung, tile=half)
        half = half // 2 // _TILE_STEP * _TILE_STEP


def _bytes(rung: Rung, info: ModelInfo, size: Size, overlap: int) -> float:
    """What frames take on a rung, besides weights."""
    height, width, scale = size
    side = rung.tile or max(height, width)
    tiles = area(height, width, scale, side, min(overlap, side // 5), info)
    return tiles.largest * info.bytes_per_pixel if rung.offload else _together(tiles, info)


def sturdier(rung: Rung, info: ModelInfo, device: torch.device) -> Rung | None:
    """The next rung with a wider range of numbers; None if there is none."""
    auto = info.dtypes[0] if device.type == "cuda" else "float32"
    used = auto if rung.precision == "auto" else rung.precision
    wider = [name for name in _WIDER[_WIDER.index(used) + 1 :] if name in info.dtypes]
    return replace(rung, precision=wider[0]) if wider and not rung.classical else None


def asked(
    rung: Rung, tile: int | Literal["auto"], info: ModelInfo, size: Size, device: torch.device, overlap: int
) -> Rung:
    """The first rung for frames of a size: `rung` with the tile asked for, "auto" being the largest that fits.

    Tiles, which discard `overlap` at their inner edges or a fifth of their side, fit if one has room to work in beside
    what all of them remember. Where none do, the largest is chosen that fits alone while the others wait in the host's
    memory, if the network can.
    """
    if not info.tiling:
        return rung
    if tile != "auto":
        return replace(rung, tile=tile)
    height, width, scale = size
    room = _free_bytes(device) * _USED
    if height * width * scale**2 * info.bytes_per_pixel <= room:
        return rung
    least = least_tile(info, scale)
    sides = range(max(least, max(height, width) // _TILE_STEP * _TILE_STEP), least - 1, -_TILE_STEP)
    areas = {side: area(height, width, scale, side, min(overlap, side // 5), info) for side in sides}
    alone = [side for side, tiles in areas.items() if tiles.largest * info.bytes_per_pixel <= room]
    fitting = [side for side in alone if _together(areas[side], info) <= room]
    can_wait = info.offload and info.remembered_per_pixel > 0 and device.type != "cpu"
    if fitting or not can_wait:
        return replace(rung, tile=max(fitting, default=least))
    return replace(rung, tile=max(alone, default=least), offload=True)


def _together(tiles: Area, info: ModelInfo) -> float:
    """Bytes that tiles take while one of them works and all remember."""
    remembered = info.remembered_per_pixel
    return tiles.all * remembered + tiles.largest * (info.bytes_per_pixel - remembered)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
