"""FlashVSR as an upscaler: any size of picture, frames in 0..1, every frame out.

The source is enlarged by bicubic to the size of the result, and for the networks continued to the right and below to
whole windows of 128 pixels by its last column and row; what that adds is cut away again.

Knows nothing of where weights come from (see `models`).

Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.classical import resize
from vsr_model.contract import ModelInfo
from vsr_model.errors import UnsupportedScale
from vsr_model.flashvsr.noise import noise
from vsr_model.flashvsr.pipeline import MULTIPLE, SHORTEST, Networks, Pipeline, Settings
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

    def stream(self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0) -> FlashVsrStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`). Values outside 0..1 are clamped.

        Raises:
            UnsupportedScale: `scale` is not one of `info.scales`.
        """
        if scale not in self._info.scales:
            can = ", ".join(map(str, self._info.scales))
            raise UnsupportedScale(f"{self._info.name} enlarges by {can}, not by {scale}: ask for one of those")
        return FlashVsrStream(self.networks, self._settings, self._device, (height, width), scale, seed, first_frame)


class FlashVsrStream:
    """A run of frames, one pipeline for each shot."""

    def __init__(
        self, networks: Networks, settings: Settings, device: torch.device, size: tuple[int, int], scale: int,
        seed: int, first_frame: int,
    ) -> None:  # fmt: skip
        """Open the stream; see `FlashVsrUpscaler.stream`."""
        self._networks, self._settings, self._device = networks, settings, device
        self._height, self._width = (side * scale for side in size)
        self._padded = tuple(-(-side // MULTIPLE) * MULTIPLE for side in (self._height, self._width))
        self._seed, self._next_frame = seed, first_frame
        self._ready: list[torch.Tensor] = []
        self._pipeline = self._open()

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones (see `vsr_model.contract.Stream.push`)."""
        done = [*self._ready]
        self._ready.clear()
        for t in range(len(frames_T3HW)):
            self._next_frame += 1
            done.append(self._trimmed(self._pipeline.push(self._enlarge(frames_T3HW[t : t + 1]).transpose(0, 1))))
        return torch.cat([self._nothing(), *done])

    def finish(self) -> torch.Tensor:
        """Return the frames still inside and close the stream."""
        self.reset()
        done = torch.cat([self._nothing(), *self._ready])
        self._ready.clear()
        return done

    def reset(self) -> None:
        """End the shot: its last frames come with the next push, and the next frame starts afresh."""
        rest_3THW = self._pipeline.finish()
        if rest_3THW is not None:
            self._ready.append(self._trimmed(rest_3THW))
            self._pipeline = self._open()

    def _open(self) -> Pipeline:
        first_frame, (height, width) = self._next_frame, self._padded

        def draw(first: int, count: int) -> torch.Tensor:
            # A latent is named by the last frame it stands for, so shards that share a grid of frames share the noise.
            frames = [first_frame + FRAMES * latent for latent in range(first, first + count)]
            return noise(self._seed, frames, LATENT_CHANNELS, height // PATCH, width // PATCH, device=self._device)

        return Pipeline(self._networks, self._settings, height, width, draw)

    def _enlarge(self, frame_13HW: torch.Tensor) -> torch.Tensor:
        big_13HW = resize(frame_13HW.float(), self._height, self._width).clamp(0.0, 1.0)
        below, right = self._padded[0] - self._height, self._padded[1] - self._width
        return F.pad(big_13HW, (0, right, 0, below), mode="replicate") * 2.0 - 1.0

    def _trimmed(self, frames_3THW: torch.Tensor) -> torch.Tensor:
        return (frames_3THW.transpose(0, 1)[..., : self._height, : self._width] + 1.0) * 0.5

    def _nothing(self) -> torch.Tensor:
        return torch.zeros((0, 3, self._height, self._width), device=self._device)
