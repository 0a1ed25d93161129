"""What is measured of a shard's frames while they are on the device: fidelity to the source, and light of what is HDR.

Shape suffixes: T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tasks.records import LightLevels, Work
from vsr_model.classical import resize
from vsr_model.nits import levels

_FIDELITY_EVERY = 8


class Gauge:
    """What is measured of output frames.

    Lowest PSNR, averaged down to the source's size, against the source, of a sample of frames: catches a network that
    went wrong (black, shifted, garbled frames) for the price of a reduction; it does not judge beauty. Of what stays
    HDR also how bright it is, beside the source.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._transfer = work.colour.transfer if work.hdr and work.hdr.shots else 0
        self._sources: dict[int, torch.Tensor] = {}
        self._source_light: list[torch.Tensor] = []
        self._light = (0.0, 0.0)
        self.lowest = math.inf
        self.frame = work.shard.start

    @property
    def light(self) -> LightLevels | None:
        """Of all frames that were noted."""
        if not self._transfer:
            return None
        most, average = torch.cat(self._source_light).amax(dim=0).tolist()
        return LightLevels(*(round(nits, 2) for nits in (most, average, *self._light)))

    def _sampled(self, frame: int) -> bool:
        shard = self._work.shard
        return frame >= shard.start and ((frame - shard.start) % _FIDELITY_EVERY == 0 or frame == shard.stop - 1)

    def remember(self, source_T3HW: torch.Tensor, first: int) -> None:
        """Keep what will be compared of source frames from number `first` on."""
        for t in range(source_T3HW.shape[0]):
            if self._sampled(first + t):
                self._sources[first + t] = source_T3HW[t]
        shard = self._work.shard
        own_T3HW = source_T3HW[max(0, shard.start - first) : max(0, shard.stop - first)]
        if self._transfer and len(own_T3HW):
            self._source_light.append(levels(own_T3HW, self._transfer))

    def measured(self, out_T3HW: torch.Tensor, first: int) -> tuple[list[int], torch.Tensor, torch.Tensor]:
        """Numbers of the frames that are compared, the mean square error of each, and the light of all [T, 2]."""
        found = []
        for frame in range(first, first + len(out_T3HW)):
            source_3HW = self._sources.pop(frame, None)
            if source_3HW is not None:
                reduced_3HW = _reduced(out_T3HW[frame - first].float(), *source_3HW.shape[-2:])
                found.append((frame, (reduced_3HW - source_3HW).square().mean()))
        empty = out_T3HW.new_empty(0, dtype=torch.float32)
        light = levels(out_T3HW, self._transfer) if self._transfer else empty
        return [frame for frame, _ in found], torch.stack([error for _, error in found]) if found else empty, light

    def note(self, frames: list[int], errors: list[float], light: list[list[float]]) -> None:
        """Take them in."""
        self._light = tuple(max(values) for values in zip(self._light, *light, strict=True))
        for frame, error in zip(frames, errors, strict=True):
            psnr = min(-10.0 * math.log10(max(error, 1e-12)), 120.0) if math.isfinite(error) else 0.0
            if psnr < self.lowest:
                self.lowest, self.frame = psnr, frame


def _reduced(out_3HW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Averaged over squares where a result is a whole number of times as large as its source."""
    factor = out_3HW.shape[-2] // height
    if out_3HW.shape[-2:] == (factor * height, factor * width):
        return F.avg_pool2d(out_3HW, factor)
    return resize(out_3HW[None], height, width)[0]
