"""Results of any size, of networks that know whole factors.

A network that has the picture enlarged before all else (`ModelInfo.enlarged_by`) is given it as large as the result,
and asked for a factor of 1. Of any other the next larger factor that it draws is asked for, and what it makes is
reduced. Either is done to whole pictures, outside of tiles: whatever the scale, tiles begin at whole pixels of the
picture that the network is given and of the one that it makes. A result that is a whole factor of its source is the
network's own.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch

from vsr_model.classical import resize
from vsr_model.contract import ModelInfo, Resettable, Stream, Upscaler
from vsr_model.errors import ModelError, UnsupportedScale

# By so many pixels at most does a side that is rounded to whole steps of chroma, of four pixels, pass whole factors.
_ROUNDED = 1


class Way(NamedTuple):
    """What a network does for a result: rows and columns of the frames it is given, and one of its own factors."""

    height: int
    width: int
    scale: int

    @property
    def made(self) -> tuple[int, int]:
        """Rows and columns of the frames that come out of it."""
        return self.height * self.scale, self.width * self.scale

    def given(self, pixels: int, height: int) -> int:
        """So many pixels of a source of this height, in pixels of what the network is given."""
        return -(-pixels * self.height // height)


def enlarged(side: int, scale: Fraction, step: int = 1) -> int:
    """Pixels of a result along a side of its source: the nearest whole number of steps, the larger of two as near.

    Args:
        side: pixels of the source, at least 0.
        scale: the factor.
        step: pixels of the result that belong together, as those that share their chroma.
    """
    steps = math.floor(side * scale / step + Fraction(1, 2))
    return step * max(steps, 1 if side else 0)


def makes(info: ModelInfo, scale: Fraction) -> bool:
    """True if a network can enlarge by a factor: its own, and whatever is between 1 and the largest of them."""
    return scale in info.scales or 1 < scale <= info.scales[-1]


def factors(info: ModelInfo) -> str:
    """What a network can enlarge by, for a person."""
    least, most = info.scales[0], info.scales[-1]
    if most == 1:
        return "1"
    return f"{'1 to' if least == 1 else 'more than 1, up to'} {most}"


def way_to(info: ModelInfo, height: int, width: int, result: tuple[int, int]) -> Way:
    """How a network comes from frames of `height` x `width` to `result`, rows and columns.

    Raises:
        UnsupportedScale: the result is smaller than the source, or larger than the network makes it.
    """
    for scale in info.scales:
        if result == (height * scale, width * scale):
            return Way(height, width, scale)
    drawn = [scale for scale in info.scales if scale not in info.reduced and _within(height, width, result, scale)]
    if not drawn or not _within(*result, (height, width), 1):
        raise UnsupportedScale(
            f"{info.name} enlarges by {factors(info)}, not {width}x{height} to {result[1]}x{result[0]}: ask for one of"
            " those"
        )
    return Way(*result, 1) if info.enlarged_by else Way(height, width, drawn[0])


def _within(height: int, width: int, result: tuple[int, int], scale: int) -> bool:
    """True if a result is no larger than a picture enlarged by a whole factor, but for what its size is rounded by."""
    return result[0] <= height * scale + _ROUNDED and result[1] <= width * scale + _ROUNDED


def stream_to(
    upscaler: Upscaler, height: int, width: int, result: tuple[int, int], seed: int = 0, first_frame: int = 0
) -> Stream:
    """Open a stream of frames of `height` x `width` that come out with `result` rows and columns.

    Args:
        upscaler: any; a tiled one whose network has pictures enlarged for it cuts its tiles from enlarged ones.
        height, width, seed, first_frame: see `vsr_model.contract.Upscaler.stream`.
        result: rows and columns.

    Raises:
        UnsupportedScale: see `way_to`.
        ModelError: tiles are too small, in pixels of what they are cut from.
    """
    way = way_to(upscaler.info, height, width, result)
    try:
        stream = upscaler.stream(*way, seed, first_frame)
    except ModelError as error:
        if (way.height, way.width) == (height, width):
            raise
        raise ModelError(
            f"{error}; counted in pixels of the picture enlarged from {width}x{height} to {way.width}x{way.height}"
        ) from error
    if way.made != result:
        return FittedStream(stream, (height, width), after=partial(resize, height=result[0], width=result[1]))
    if (way.height, way.width) != (height, width):
        assert upscaler.info.enlarged_by
        enlarge = partial(resize, height=way.height, width=way.width, kernel=upscaler.info.enlarged_by)
        return FittedStream(stream, (height, width), before=enlarge)
    return stream


def _as_it_is(frames_T3HW: torch.Tensor) -> torch.Tensor:
    return frames_T3HW


class FittedStream:
    """A stream whose frames are resized before they go in or when they come out."""

    def __init__(
        self, inner: Stream, size: tuple[int, int], before: Callable[[torch.Tensor], torch.Tensor] = _as_it_is,
        after: Callable[[torch.Tensor], torch.Tensor] = _as_it_is,
    ) -> None:  # fmt: skip
        """Made by `stream_to`; `size` is rows and columns of what is pushed."""
        self._inner, self._size, self._before, self._after = inner, (3, *size), before, after

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones (see `vsr_model.contract.Stream.push`).

        Raises:
            ValueError: the frames are not of the size the stream was opened for.
        """
        if tuple(frames_T3HW.shape[1:]) != self._size:
            raise ValueError(f"expected frames {['T', *self._size]}, got {list(frames_T3HW.shape)}")
        return self._after(self._inner.push(self._before(frames_T3HW)))

    def finish(self) -> torch.Tensor:
        """The frames still inside."""
        return self._after(self._inner.finish())

    def reset(self) -> None:
        """Forget the past."""
        if isinstance(self._inner, Resettable):
            self._inner.reset()
