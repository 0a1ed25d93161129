"""FlashVSR as an upscaler: any size of picture, frames in 0..1, every frame out.

The source is enlarged by bicubic to the size of the result, and for the networks mirrored at its right and lower edge
up to whole windows of 128 pixels; what that adds is cut away again.

Knows nothing of where weights come from (see `models`).

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from vsr_model.classical import resize
from vsr_model.contract import Corner, ModelInfo
from vsr_model.errors import UnsupportedScale
from vsr_model.flashvsr.noise import noise
from vsr_model.flashvsr.pipeline import LATENTS, MULTIPLE, SHORTEST, Networks, Pipeline, Settings, fix_colors, joined
from vsr_model.flashvsr.tcdecoder import FRAMES, LATENT_CHANNELS, PATCH

# Frames between the one just fed and the last that has come out, at most.
LOOK_AHEAD = SHORTEST - 1


class FlashVsrUpscaler:
    """The networks of one mode on one device."""

    def __init__(self, networks: Networks, settings: Settings, info: ModelInfo, device: torch.device) -> None:
        """Take networks that lie on `device` in the type they shall compute in."""
        self.networks, self._settings, self._info, self._device = networks, settings, info, device

    @property
    def info(self) -> ModelInfo:
        """What it can do, as data."""
        return self._info

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._device

    def parts(self) -> dict[str, nn.Module]:
        """The networks a frame passes through, by what they do."""
        return {"projection": self.networks.projection, "dit": self.networks.dit, "decode": self.networks.decoder}

    def uncorrected(self) -> FlashVsrUpscaler:
        """The same without a colour fix (see `vsr_model.contract.Corrected`)."""
        return FlashVsrUpscaler(self.networks, replace(self._settings, color_fix="none"), self._info, self._device)

    def correct(self, result_T3HW: torch.Tensor, source_T3HW: torch.Tensor) -> torch.Tensor:
        """The colour fix by itself, on whole pictures in 0..1."""
        height, width = result_T3HW.shape[-2:]
        wanted_T3HW = torch.cat([enlarge(frame_3HW[None], height, width) for frame_3HW in source_T3HW])
        return (fix_colors(self._settings.color_fix, result_T3HW * 2.0 - 1.0, wanted_T3HW) + 1.0) * 0.5

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> FlashVsrStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`). Values outside 0..1 are clamped.

        Raises:
            UnsupportedScale: `scale` is not one of `info.scales`.
        """
        if scale not in self._info.scales:
            can = ", ".join(map(str, self._info.scales))
            raise UnsupportedScale(f"{self._info.name} enlarges by {can}, not by {scale}: ask for one of those")
        result = (height * scale, width * scale)
        place = _Place(seed, first_frame, corner[0] * scale // PATCH, corner[1] * scale // PATCH)
        return FlashVsrStream(self.networks, self._settings, self._device, (height, width), result, place)


@dataclass(frozen=True)
class _Place:
    """What decides a stream's noise: the seed, its first frame, and its first row and column in latents."""

    seed: int
    frame: int
    top: int
    left: int


def _draw(place: _Place, size: tuple[int, int], device: torch.device, first: int, count: int) -> torch.Tensor:
    """Noise of `count` latents from the stream's number `first` on.

    A latent is named by the last frame it stands for, so shards that share a grid of frames share the noise.
    """
    frames = [place.frame + FRAMES * latent for latent in range(first, first + count)]
    height, width = (side // PATCH for side in size)
    return noise(place.seed, frames, LATENT_CHANNELS, height, width, place.top, place.left, device)


class FlashVsrStream:
    """A run of frames, one pipeline for each shot."""

    def __init__(
        self, networks: Networks, settings: Settings, device: torch.device, size: tuple[int, int],
        result: tuple[int, int], place: _Place,
    ) -> None:  # fmt: skip
        """Open the stream; see `FlashVsrUpscaler.stream`."""
        self._networks, self._settings, self._device = networks, settings, device
        self._size = (3, *size)
        self._height, self._width = result
        self._padded = _padded(self._height), _padded(self._width)
        self._place, self._next_frame = place, place.frame
        self._ready: list[torch.Tensor] = []
        self._pipeline = self._open()

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones (see `vsr_model.contract.Stream.push`).

        Raises:
            ValueError: the frames are not of the size the stream was opened for.
        """
        if tuple(frames_T3HW.shape[1:]) != self._size:
            raise ValueError(f"expected frames {['T', *self._size]}, got {list(frames_T3HW.shape)}")
        done = [*self._ready]
        self._ready.clear()
        # In parts, so that a long push takes no more memory than a short one.
        for part_T3HW in torch.split(frames_T3HW, FRAMES * LATENTS):
            self._next_frame += len(part_T3HW)
            done.append(self._trimmed(self._pipeline.push(self._enlarge(part_T3HW).transpose(0, 1))))
        return joined(done or [self._nothing()], dim=0)

    def finish(self) -> torch.Tensor:
        """Return the frames still inside and close the stream."""
        self.reset()
        done = joined(self._ready or [self._nothing()], dim=0)
        self._ready = []
        return done

    def move(self, device: torch.device) -> None:
        """Take what it remembers to `device` (see `vsr_model.contract.Movable`)."""
        self._pipeline.move(device)
        self._ready = [frames_T3HW.to(device) for frames_T3HW in self._ready]

    def reset(self) -> None:
        """End the shot: its last frames come with the next push, and the next frame starts afresh."""
        rest_3THW = self._pipeline.finish()
        if rest_3THW is not None:
            self._ready.append(self._trimmed(rest_3THW))
            self._pipeline = self._open()

    def _open(self) -> Pipeline:
        # Nothing the pipeline holds may hold this stream: a circle would keep its gigabytes until it is looked for.
        draw = partial(_draw, replace(self._place, frame=self._next_frame), self._padded, self._device)
        return Pipeline(self._networks, self._settings, *self._padded, draw)

    def _enlarge(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        big_T3HW = enlarge(frames_T3HW, self._height, self._width)
        if self._padded == (self._height, self._width):
            return big_T3HW
        sides = zip(big_T3HW.shape[-2:], self._padded, strict=True)
        rows, columns = (_mirrored(side, padded, self._device) for side, padded in sides)
        return big_T3HW[..., rows[:, None], columns]

    def _trimmed(self, frames_3THW: torch.Tensor) -> torch.Tensor:
        return (frames_3THW.transpose(0, 1)[..., : self._height, : self._width] + 1.0) * 0.5

    def _nothing(self) -> torch.Tensor:
        return torch.zeros((0, 3, self._height, self._width), device=self._device)


def _padded(side: int) -> int:
    """Up to whole windows."""
    return -(-side // MULTIPLE) * MULTIPLE


def enlarge(frames_T3HW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Source frames in 0..1 as the networks want them: of the result's size, in -1..1."""
    return resize(frames_T3HW.float(), height, width).clamp_(0.0, 1.0).mul_(2.0).sub_(1.0)


def _mirrored(side: int, padded: int, device: torch.device) -> torch.Tensor:
    """Indices 0..`side` - 1, continued to `padded` by walking back and forth without repeating an edge."""
    period = max(1, 2 * side - 2)
    place = torch.arange(padded, device=device) % period
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)
