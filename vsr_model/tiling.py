"""Spatial tiling: a wrapper that runs any upscaler over overlapping tiles, so that memory follows the tile's size.

Along each axis the tiles have one size (the last may be smaller), are spread evenly and begin on the network's grid.
Where two neighbours overlap, the outermost `overlap` source pixels of each are discarded, for they were computed next
to an edge that is not the picture's, and the results are cross-faded linearly over the `overlap // 2` pixels left in
the middle. The discarded halo makes the result right for every network that sees no farther than `overlap`; the fade
hides what remains for those that do, where a hard cut would draw a line. Tiles are told their place, so that those of
one picture share one field of noise, and what a network does to whole pictures is done after they are joined.

Knows nothing of what the network does with a tile; a temporal network gets one stream, and so one memory, per tile.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns, N outputs along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from vsr_model.contract import Corner, Corrected, ModelInfo, Movable, Resettable, Stream, Upscaler
from vsr_model.errors import ModelError

_HOST = torch.device("cpu")
Correct = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class _Tile:
    """One tile of a stream: the source pixels it reads and how much each pixel of its result counts ([H, W])."""

    stream: Stream
    rows: slice
    columns: slice
    weight: torch.Tensor


class TiledUpscaler:
    """Any tileable upscaler, run tile by tile. Same contract, same `info`."""

    def __init__(self, inner: Upscaler, tile: int, overlap: int, park: bool = False) -> None:
        """Wrap `inner`.

        Args:
            inner: the upscaler to run; its `info.tiling` must be True.
            tile: side of the square a tile reads, in source pixels (a smaller picture is one tile). A multiple of
                `inner.info.size_multiple` wastes nothing on padding.
            overlap: source pixels discarded at each inner edge of a tile. Neighbours share two and a half times that.
            park: keep what tiles remember in the host's memory between their turns, where their streams are `Movable`:
                together they remember more than one whole picture would. Slower.

        Raises:
            ModelError: `inner` must not be tiled, or `tile` is less than five times `overlap`.
        """
        if not inner.info.tiling:
            raise ModelError(f"{inner.info.name} needs the whole picture at once: run it without tiles")
        if overlap < 0 or tile < max(1, 5 * overlap):
            raise _too_small(tile, overlap, max(1, 5 * overlap))
        self._inner = inner
        self._tile = tile
        self._overlap = overlap
        self._park = park

    @property
    def info(self) -> ModelInfo:
        """What the wrapped upscaler can do, as data."""
        return self._inner.info

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._inner.device

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> TiledStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`), one inner stream per tile.

        Raises:
            UnsupportedScale: `scale` is not one of `info.scales`.
            ModelError: the tile has no room for a step of the network's grid besides what it shares with the next.
        """
        step = self.info.grid // math.gcd(self.info.grid, scale)
        row_spans = _spans(height, self._tile, self._overlap, step)
        column_spans = _spans(width, self._tile, self._overlap, step)
        row_weights = _weights(row_spans, self._overlap // 2, scale, self.device)
        column_weights = _weights(column_spans, self._overlap // 2, scale, self.device)
        network: Upscaler = self._inner
        correct: Correct | None = None
        if isinstance(self._inner, Corrected) and len(row_spans) * len(column_spans) > 1:
            network, correct = self._inner.uncorrected(), self._inner.correct
        tiles: list[_Tile] = []
        for rows, weight_H in zip(row_spans, row_weights, strict=True):
            for columns, weight_W in zip(column_spans, column_weights, strict=True):
                size = (rows.stop - rows.start, columns.stop - columns.start)
                place = (corner[0] + rows.start, corner[1] + columns.start)
                inner = network.stream(*size, scale, seed, first_frame, place)
                tiles.append(_Tile(inner, rows, columns, weight_H[:, None] * weight_W))
        return TiledStream(tiles, height, width, scale, correct, self.device if self._park else None)


class TiledStream:
    """One run of a `TiledUpscaler`."""

    def __init__(
        self, tiles: Sequence[_Tile], height: int, width: int, scale: int, correct: Correct | None = None,
        fetch_to: torch.device | None = None,
    ) -> None:  # fmt: skip
        """Made by `TiledUpscaler.stream`.

        `correct` takes joined frames and their source frames; tiles that wait elsewhere are fetched to `fetch_to`.
        """
        self._tiles = tiles
        self._fetch_to = fetch_to
        self._correct = correct
        self._sources: list[torch.Tensor] = []  # frames [3, H, W] whose results have not come out
        self._size = (3, height, width)
        self._scale = scale

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones (see `vsr_model.contract.Stream.push`).

        Raises:
            ValueError: the frames are not of the size the stream was opened for.
        """
        if tuple(frames_T3HW.shape[1:]) != self._size:
            raise ValueError(f"expected frames {['T', *self._size]}, got {list(frames_T3HW.shape)}")
        if self._correct is not None:
            self._sources += frames_T3HW.clone()
        return self._join([frames_T3HW[..., tile.rows, tile.columns] for tile in self._tiles])

    def finish(self) -> torch.Tensor:
        """Return the frames still inside and free the tiles' state."""
        return self._join(None)

    def reset(self) -> None:
        """Forget the past in every tile whose network has one to forget."""
        for tile in self._tiles:
            if isinstance(tile.stream, Resettable):
                with self._at_work(tile.stream):  # a network may finish the shot now
                    tile.stream.reset()

    @torch.no_grad()
    def _join(self, pieces: Sequence[torch.Tensor] | None) -> torch.Tensor:
        """Run every tile on its piece (or finish it) and sum the weighted results."""
        _, height, width = self._size
        s = self._scale
        out_T3HW: torch.Tensor | None = None
        for i, tile in enumerate(self._tiles):
            with self._at_work(tile.stream):
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
        return self._corrected(out_T3HW) if self._correct is not None else out_T3HW

    @contextmanager
    def _at_work(self, stream: Stream) -> Iterator[None]:
        if self._fetch_to is None or not isinstance(stream, Movable):
            yield
            return
        stream.move(self._fetch_to)
        yield
        stream.move(_HOST)

    def _corrected(self, out_T3HW: torch.Tensor) -> torch.Tensor:
        """Frame by frame: whole pictures are what tiles were cut to avoid holding many of."""
        assert self._correct is not None
        done, self._sources = self._sources[: len(out_T3HW)], self._sources[len(out_T3HW) :]
        return torch.cat([out_T3HW[:0], *(self._correct(out_T3HW[t : t + 1], x[None]) for t, x in enumerate(done))])


@dataclass(frozen=True)
class Area:
    """Result pixels that tiles have, with what a network pads them to and what neighbours share counted for each."""

    largest: int
    all: int


def area(height: int, width: int, scale: int, tile: int, overlap: int, info: ModelInfo) -> Area:
    """Of the tiles of a picture (see `TiledUpscaler`); sides in source pixels.

    Raises:
        ModelError: as `TiledUpscaler` and its `stream` do.
    """
    if tile < max(1, 5 * overlap):
        raise _too_small(tile, overlap, max(1, 5 * overlap))
    step, multiple = info.grid // math.gcd(info.grid, scale), info.size_multiple
    rows, columns = (
        [-(-(span.stop - span.start) * scale // multiple) * multiple for span in _spans(side, tile, overlap, step)]
        for side in (height, width)
    )
    return Area(max(rows) * max(columns), sum(rows) * sum(columns))


def _spans(length: int, tile: int, overlap: int, step: int) -> list[slice]:
    """Cut 0..`length` into spans of at most `tile` that begin at multiples of `step`.

    Neighbours share at least 2 * overlap + overlap // 2.
    """
    if length <= tile:
        return [slice(0, length)]
    shared = 2 * overlap + overlap // 2
    stride = (tile - shared) // step * step
    if stride == 0:
        raise _too_small(tile, overlap, shared + step)
    last = math.ceil((length - tile) / step)  # all in steps from here on
    gaps = math.ceil(last * step / stride)
    starts = [math.ceil(i * last / gaps) * step for i in range(gaps + 1)]
    return [slice(start, min(start + tile, length)) for start in starts]


def _too_small(tile: int, overlap: int, least: int) -> ModelError:
    return ModelError(
        f"a tile of {tile} px is too small for an overlap of {overlap} px: "
        f"use at least {least} px, or a smaller overlap"
    )


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
