"""The one interface every network is used through: an `Upscaler` opens a `Stream`, frames go in, frames come out.

The promises, which `tests/unit/model_contract.py` checks for every network:

- as many frames come out as went in, each exactly `scale` times as wide and as high (padding and trimming are inside);
- how the frames are sliced over `push` calls does not change a single bit of what comes out;
- the same seed and the same frame position give the same noise, whichever shard asked;
- memory does not grow with the length of the stream.

Capabilities are data on `ModelInfo`, so a caller never asks which network it holds.

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch


@dataclass(frozen=True)
class ModelInfo:
    """What a caller may need to know of a network, as plain data.

    Attributes:
        name: the name a person asks for it by.
        scales: the whole-number factors it can produce, ascending; `vsr_model.sizes` makes others of them.
        reduced: those of them that are a larger one reduced.
        enlarged_by: the kernel by which it has the picture enlarged to the result's size before all else; empty for a
            network that enlarges it itself.
        warm_up: frames to feed before the first wanted one so that a temporal network starts settled (0: stateless).
        chunk: frames it works on at a time: streams that start a multiple of it apart share a grid, and each place's
            noise.
        look_ahead: frames it holds back before the first one comes out (0: each push returns at once).
        size_multiple: the internal size multiple; padding to it is the network's own business, cost follows it.
        grid: result pixels between the places where a tile may begin, so that neighbours share noise and windows.
        min_frames: the shortest stream it can run without inventing frames; shorter ones are padded inside.
        dtypes: the arithmetic types it supports, best first, as torch names ("float32", "bfloat16", "float16").
        bytes_per_pixel: peak memory of a stream per *output* pixel of one frame, in bytes, to plan tiles with.
        remembered_per_pixel: how much of that a stream keeps from one push to the next. Tiles each have a stream, and
            keep it all at once.
        tiling: True if the picture may be cut in overlapping tiles without changing its meaning.
        light: True if its arithmetic costs no more than coding the picture does: on a CPU it then leaves half of the
            cores to the codecs, whose threads would otherwise hold up its own.
        settings: the section of a profile that sets how it works; empty for none.
        unbounded: True if values far beyond 0..1, as light has them, come out as they should.
        offload: True if it can keep weights off the device while they are not needed: its setting `OFFLOAD`.
        summary: one line for `remaster models`.
        licence: SPDX name or one sentence; empty when not known (a user's own file).
    """

    name: str
    scales: tuple[int, ...]
    reduced: tuple[int, ...] = ()
    enlarged_by: Literal["", "bicubic", "lanczos"] = ""
    warm_up: int = 0
    chunk: int = 1
    look_ahead: int = 0
    size_multiple: int = 1
    grid: int = 1
    min_frames: int = 1
    dtypes: tuple[str, ...] = ("float32",)
    bytes_per_pixel: float = 64.0
    remembered_per_pixel: float = 0.0
    tiling: bool = True
    light: bool = False
    settings: str = ""
    unbounded: bool = False
    offload: bool = False
    summary: str = ""
    licence: str = ""


OFFLOAD = "unload_dit"
Corner = tuple[int, int]  # row and column in source pixels


class Stream(Protocol):
    """One run over consecutive frames of one size. Not thread-safe, not reusable after `finish`."""

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones.

        Args:
            frames_T3HW: float tensor on the upscaler's device, gamma-coded RGB, nominally 0..1 (excursions outside are
                legal: super-whites survive the networks that can carry them), T >= 0.

        Returns:
            [T', 3, H*scale, W*scale] float tensor on the same device; T' may be 0.
        """
        ...

    def finish(self) -> torch.Tensor:
        """Return the frames still inside ([T', 3, H*scale, W*scale], T' may be 0) and free the stream's state."""
        ...


class Upscaler(Protocol):
    """One set of weights on one device."""

    @property
    def info(self) -> ModelInfo:
        """What it can do, as data."""
        ...

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        ...

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> Stream:
        """Open a stream of frames of `height` x `width`.

        Args:
            height: rows of a source frame, at least 1.
            width: columns of a source frame, at least 1.
            scale: one of `info.scales`.
            seed: base of every random draw.
            first_frame: position in the title of the first frame that will be pushed (warm-up frames included), so
                that noise depends on the title's own frame numbers.
            corner: where in the whole picture these frames begin, so that noise depends on the picture's own pixels.

        Raises:
            vsr_model.errors.UnsupportedScale: `scale` is not one of `info.scales`.
        """
        ...


@runtime_checkable
class Resettable(Protocol):
    """A stream whose temporal state can be dropped in mid-stream, as at a shot cut."""

    def reset(self) -> None:
        """Forget the past: the next frame pushed starts a new shot. Frames still inside come out as usual."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A stream that can wait elsewhere than on the device it works on."""

    def move(self, device: torch.device) -> None:
        """Take all that it remembers to `device`; it must be back where it works before the next push."""
        ...


@runtime_checkable
class Divided(Protocol):
    """An upscaler that can say which networks a frame passes through, so that each can be timed."""

    def parts(self) -> dict[str, torch.nn.Module]:
        """The networks by what they do."""
        ...


@runtime_checkable
class Corrected(Protocol):
    """An upscaler whose last step looks at whole pictures: over tiles it is done once, after they are joined."""

    def uncorrected(self) -> Upscaler:
        """The same without that step; its frames may leave the range of a picture."""
        ...

    def correct(self, result_T3HW: torch.Tensor, source_T3HW: torch.Tensor) -> torch.Tensor:
        """That step by itself, on finished frames and the source frames they were made from."""
        ...


@dataclass(frozen=True)
class ModelRef:
    """Which network, with which weights: all that decides its arithmetic, small enough to travel and to be hashed.

    Attributes:
        name: registry name, or the path of a weights file.
        weights_hash: blake2b-256 hex of the weight bytes ("" for a network without weights).
        version: bumped when the code of the network changes what it computes.
        settings: every model setting that changes a pixel, sorted by name.
    """

    name: str
    weights_hash: str = ""
    version: int = 1
    settings: tuple[tuple[str, str | int | float | bool], ...] = ()


@dataclass(frozen=True)
class Placement:
    """Where a network's arithmetic happens.

    Attributes:
        device: torch device string, e.g. "cuda", "cpu", "mps".
        dtype: "auto" (the network's best for the device), "float32", "bfloat16" or "float16".
        settings: of the network, by name; what is not named is its default.
    """

    device: str = "cpu"
    dtype: str = "auto"
    settings: tuple[tuple[str, str | int | float | bool], ...] = ()


@dataclass(frozen=True)
class ModelEntry:
    """A row of the registry: what the network is, and how to get an instance."""

    info: ModelInfo
    reference: Callable[[], ModelRef]
    load: Callable[[Placement], Upscaler]
    # Says why it cannot be loaded here and what to do, or nothing when it can. A question, as a bucket may have to be
    # asked. None for a network that brings all it needs.
    missing: Callable[[], str] | None = None
