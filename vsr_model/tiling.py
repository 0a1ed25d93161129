"""Spatial tiling: a wrapper that runs any upscaler over overlapping tiles, so that memory follows the tile's size.

Along each axis the tiles have one size and are spread evenly. Where two neighbours overlap, the outermost `overlap`
source pixels of each are discarded, for they were computed next to an edge that is not the picture's, and the
results are cross-faded linearly over the `overlap // 2` pixels left in the middle. The discarded halo makes the
result right for every network that sees no farther than `overlap`; the fade hides what remains for those that do,
where a hard cut would draw a line.

Knows nothing of what the network does with a tile; a temporal network gets one stream, and so one memory, per tile.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns, N outputs along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vsr_model.contract import ModelInfo, Resettable, Stream, Upscaler
from vsr_model.errors import ModelError

# Tiles draw their noise from seeds this far apart, so that no two neighbours show the same grain.
_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class _Tile:
    """One tile of a stream: the source pixels it reads and how much each pixel of its result counts ([H, W])."""

    stream: Stream
    rows: slice
    columns: slice
    weight: torch.Tensor


class TiledUpscaler:
    """Any tileable upscaler, run tile by tile. Same contract, same `info`."""

    def __init__(self, inner: Upscaler, tile: int, overlap: int) -> None:
        """Wrap `inner`.

        Args:
            inner: the upscaler to run; its `info.tiling` must be True.
            tile: side of the square a tile reads, in source pixels (a smaller picture is one tile). A multiple of
                `inner.info.size_multiple` wastes nothing on padding.
            overlap: source pixels discarded at each inner edge of a tile. Neighbours share two and a half times that.

        Raises:
            ModelError: `inner` must not be tiled, or `tile` is less than five times `overlap`.
        """
        if not inner.info.tiling:
            raise ModelError(f"{inner.info.name} needs the whole picture at once: run it without tiles")
        if tile < 1 or overlap < 0 or tile < 5 * overlap:
            raise ModelError(
                f"a tile of {tile} px is too small for an overlap of {overlap} px: "
                f"use at least {max(1, 5 * overlap)} px, or a smaller overlap"
            )
        self._inner = inner
        self._tile = tile
        self._overlap = overlap

    @property
    def info(self) -> ModelInfo:
        """What the wrapped upscaler can do, as data."""
        return self._inner.info

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._inner.device

    def stream(self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0) -> TiledStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`), one inner stream per tile.

        Every tile draws from its own seed, made of `seed` and the tile's place.

        Raises:
            UnsupportedScale: `scale` is not one of `info.scales`.
        """
        row_spans = _spans(height, self._tile, self._overlap)
        column_spans = _spans(width, self._tile, self._overlap)
        row_weights = _weights(row_spans, self._overlap // 2, scale, self.device)
        column_weights = _weights(column_spans, self._overlap // 2, scale, self.device)
        tiles: list[_Tile] = []
        for rows, weight_H in zip(row_spans, row_weights, strict=True):
            for columns, weight_W in zip(column_spans, column_weights, strict=True):
                inner = self._inner.stream(
                    rows.stop - rows.start,
                    columns.stop - columns.start,
                    scale,
                    seed + _SEED_STEP * len(tiles),
                    first_frame,
                )
                tiles.append(_Tile(inner, rows, columns, weight_H[:, None] * weight_W))
        return TiledStream(tiles, height, width, scale)


class TiledStream:
    """One run of a `TiledUpscaler`."""

    def __init__(self, tiles: Sequence[_Tile], height: int, width: int, scale: int) -> None:
        """Made by `TiledUpscaler.stream`."""
        self._tiles = tiles
        self._size = (3, height, width)
        self._scale = scale

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones (see `vsr_model.contract.Stream.push`).

        Raises:
            ValueError: the frames are not of the size the stream was opened for.
        """
        if tuple(frames_T3HW.shape[1:]) != self._size:
            raise ValueError(f"expected frames {['T', *self._size]}, got {list(frames_T3HW.shape)}")
        return self._join([frames_T3HW[..., tile.rows, tile.columns] for tile in self._tiles])

    def finish(self) -> torch.Tensor:
        """Return the frames still inside and free the tiles' state."""
        return self._join(None)

    def reset(self) -> None:
        """Forget the past in every tile whose network has one to forget."""
        for tile in self._tiles:
            if isinstance(tile.stream, Resettable):
                tile.stream.reset()

    @torch.no_grad()
    def _join(self, pieces: Sequence[torch.Tensor] | None) -> torch.Tensor:
        """Run every tile on its piece (or finish it) and sum the weighted results."""
        _, height, width = self._size
        s = self._scale
        out_T3HW: torch.Tensor | None = None
        for i, tile in enumerate(self._tiles):
            y_T3HW = tile.stream.finish() if pieces is None else tile.stream.push(pieces[i])
            if len(self._tiles) == 1:
                return y_T3HW
            if out_T3HW is None:
                out_T3HW = y_T3HW.new_zeros((y_T3HW.shape[0], 3, height * s, width * s))
            place_T3HW = out_T3HW[
                ..., tile.rows.start * s : tile.rows.stop * s, tile.columns.start * s : tile.columns.stop * s
            ]
            # Product and sum apart: fused, their last bit could depend on how many frames came in this push.
            place_T3HW.add_(y_T3HW * tile.weight)
        assert out_T3HW is not None  # a picture has at least one tile
        return out_T3HW


def _spans(length: int, tile: int, overlap: int) -> list[slice]:
    """Cut 0..`length` into evenly spread spans of `tile`, neighbours sharing at least 2 * overlap + overlap // 2."""
    if length <= tile:
        return [slice(0, length)]
    shared = 2 * overlap + overlap // 2
    gaps = math.ceil((length - tile) / (tile - shared))
    starts = [i * (length - tile) // gaps for i in range(gaps + 1)]
    return [slice(start, start + tile) for start in starts]


def _weights(spans: Sequence[slice], fade: int, scale: int, device: torch.device) -> list[torch.Tensor]:
    """Return one weight per output pixel of each span; at every place of the axis the weights sum to 1.

    A span's weight rises from 0 to 1 over `fade` source pixels around the middle of what it shares with the span
    before, and falls likewise towards the span after.
    """
    weights = []
    for i, span in enumerate(spans):
        centre_N = torch.arange(span.start * scale, span.stop * scale, dtype=torch.float64) + 0.5
        weight_N = torch.ones_like(centre_N)
        if i > 0:
            weight_N = weight_N * _rise(centre_N, (span.start + spans[i - 1].stop) * scale / 2, fade * scale)
        if i + 1 < len(spans):
            weight_N = weight_N * (1.0 - _rise(centre_N, (spans[i + 1].start + span.stop) * scale / 2, fade * scale))
        weights.append(weight_N.to(device, torch.float32))
    return weights


def _rise(centre_N: torch.Tensor, middle: float, width: int) -> torch.Tensor:
    """Return a ramp from 0 to 1, `width` output pixels wide around `middle` (a step for 0)."""
    if width == 0:
        return (centre_N >= middle).to(torch.float64)
    return ((centre_N - middle) / width + 0.5).clamp(0.0, 1.0)
