"""One stream through the networks: source frames at result size in, finished frames out, in chunks.

The first chunk needs 25 source frames and gives frames 0 to 20; each following one needs 8 more and gives 8. Whatever
the length of a stream, its last frame is repeated as often as the last chunk needs, and what that adds is dropped.
Memory does not depend on the length.

Knows nothing of files, weights or sizes that do not fit (see `upscaler`).

Shape suffixes: T frames, 3 channels (R, G, B) in -1..1, C channels, t latents, H rows, W columns, N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

from vsr_model.color import match_low_frequencies, match_statistics
from vsr_model.flashvsr import tcdecoder, wan_layers
from vsr_model.flashvsr.dit import Cache, Constants, Dit, Sparsity
from vsr_model.flashvsr.lq_projection import CLIP, History, LqProjection
from vsr_model.flashvsr.tcdecoder import TcDecoder
from vsr_model.flashvsr.wan_tiles import Memories, Tiling, decode_tiled
from vsr_model.flashvsr.wan_vae import WanVae
from vsr_model.parking import Parked

ColorFix = Literal["wavelet", "adain", "none"]
DrawNoise = Callable[[int, int], torch.Tensor]  # first latent and their number to [16, t, H / 8, W / 8]

MULTIPLE = 128  # of the sides: 8 pixels a latent, 2 latents a token, 8 tokens a window
FIRST_LATENTS, LATENTS = 6, 2  # of the first chunk, and of every other
FIRST_FRAMES, FRAMES = 21, 8  # that come out of it
SHORTEST = 25  # source frames
# At this size `sparse_ratio` is a share of pairs; at others it keeps as many key windows for a query window as there.
_REFERENCE_PIXELS = 768 * 1280
_COLOR_FIXES = {"wavelet": match_low_frequencies, "adain": match_statistics}


@dataclass(frozen=True)
class Settings:
    """What a person may choose; the defaults are the published ones, but for the colour fix.

    Attributes:
        sparse_ratio: how many key windows a query window looks at, in units of 60; more is steadier, less is faster.
        kv_ratio: slabs of 8 frames that later chunks look back at.
        local_range: windows of 128 pixels that a window sees along either axis; less is sharper, more is steadier.
        color_fix: wavelet keeps the source's low frequencies, adain the mean and deviation of each frame (which lets
            the picture pump), none nothing.
        unload_dit: keep the transformer in the host's memory while frames are decoded; changes no pixel.
        vae_tile: side, in pixels of the result, of the tiles that Wan's decoder works in, which share a quarter; 0 is
            the whole picture at once. Less takes less of the GPU's memory and more time. The small decoder has none.
    """

    sparse_ratio: float = 2.0
    kv_ratio: float = 3.0
    local_range: int = 11
    color_fix: ColorFix = "wavelet"
    unload_dit: bool = False
    vae_tile: int = 0

    def sparsity(self, height: int, width: int) -> Sparsity:
        """For frames of height x width pixels."""
        keep_ratio = self.sparse_ratio * _REFERENCE_PIXELS / (height * width)
        return Sparsity(keep_ratio, int(self.kv_ratio), self.local_range)

    def tiling(self) -> Tiling | None:
        """Of Wan's decoder; None for the whole picture at once."""
        side = self.vae_tile // wan_layers.PATCH
        # The original's tiles share half, which takes more than twice the work and memory of a quarter.
        stride = side - side // 4
        return Tiling((side, side), (stride, stride)) if side else None


@dataclass(frozen=True)
class Networks:
    """The networks of one mode, on one device in one type, the constants of the transformer, and where it waits."""

    projection: LqProjection
    dit: Dit
    decoder: TcDecoder | WanVae
    constants: Constants
    parked: Parked = field(default_factory=Parked)


class Pipeline:
    """One stream. `push` frames, then `finish`; not reusable after that."""

    def __init__(self, networks: Networks, settings: Settings, height: int, width: int, draw_noise: DrawNoise) -> None:
        """Open a stream of frames of height x width, multiples of `MULTIPLE`."""
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"{width}x{height} is not a multiple of {MULTIPLE} in both sides")
        self._networks, self._settings = networks, settings
        self._sparsity = settings.sparsity(height, width)
        self._draw_noise = draw_noise
        self._history, self._cache = History(), Cache()
        self._memory = tcdecoder.Memory() if isinstance(networks.decoder, TcDecoder) else wan_layers.Memory()
        self._tiling, self._tiles = settings.tiling(), Memories()
        self._waiting: list[torch.Tensor] = []  # frames [3, 1, H, W] that are no clip yet
        self._source: list[torch.Tensor] = []  # frames whose result has not come out
        self._tokens: list[torch.Tensor] = []  # of latents not yet made
        self._latents = self._taken = self._given = 0

    @torch.inference_mode()
    def push(self, source_3THW: torch.Tensor) -> torch.Tensor:
        """Take frames in -1..1; returns those that are finished, float32 [3, T', H, W], T' may be 0."""
        done = [x for t in range(source_3THW.shape[1]) for x in self._take(source_3THW[:, t : t + 1])]
        result_3THW = joined(done or [source_3THW[:, :0].float()], dim=1)
        self._given += result_3THW.shape[1]
        return result_3THW

    @torch.inference_mode()
    def finish(self) -> torch.Tensor | None:
        """Return the frames still inside; None if none were ever pushed."""
        if not self._taken:
            return None
        frames, last_31HW = self._taken, self._source[-1]
        needed = max(SHORTEST, FRAMES * math.ceil((frames + 3) / FRAMES) + 1)
        rest_3THW = torch.cat(
            [last_31HW[:, :0].float()] + [x for _ in range(needed - frames) for x in self._take(last_31HW)], dim=1
        )
        return rest_3THW[:, : frames - self._given]

    def move(self, device: torch.device) -> None:
        """Take all that the stream remembers to `device`; the networks stay where they are."""
        history = self._history
        for name in ("first_CThw", "second_CThw"):
            held = getattr(history, name)
            setattr(history, name, held if held is None else held.to(device))
        for tensors in (self._cache.pool, self._memory.last, self._waiting, self._source, self._tokens):
            tensors[:] = [tensor.to(device) for tensor in tensors]

    def _take(self, frame_31HW: torch.Tensor) -> list[torch.Tensor]:
        """Take one frame; a chunk of finished ones comes back when it was the one that was missing."""
        self._taken += 1
        self._waiting.append(frame_31HW)
        self._source.append(frame_31HW)
        if len(self._waiting) < CLIP and self._taken > 1:
            return []
        weight = self._networks.dit.patch_embedding.weight
        tokens_NC = self._networks.projection(torch.cat(self._waiting, dim=1).to(weight.dtype), self._history)
        self._waiting.clear()
        if tokens_NC is not None:
            self._tokens.append(tokens_NC)
        wanted = LATENTS if self._latents else FIRST_LATENTS
        return [self._chunk(wanted)] if len(self._tokens) == wanted else []

    def _chunk(self, latents: int) -> torch.Tensor:
        """Make the next latents and the frames they stand for."""
        networks, dtype = self._networks, self._networks.dit.patch_embedding.weight.dtype
        frames = FRAMES if self._latents else FIRST_FRAMES
        source_3THW = torch.cat(self._source[:frames], dim=1)
        noise_CtHW = self._draw_noise(self._latents, latents).to(source_3THW.device, dtype)
        with self._at_work(source_3THW.device):
            change_CtHW = networks.dit(
                noise_CtHW, torch.cat(self._tokens), self._latents, networks.constants, self._sparsity, self._cache
            )
        latents_CtHW = noise_CtHW - change_CtHW
        result_3THW = self._bounded(self._decode(latents_CtHW, source_3THW), latents_CtHW)
        self._latents += latents
        self._tokens.clear()
        del self._source[:frames]
        return self._correct(result_3THW, source_3THW)

    @contextmanager
    def _at_work(self, device: torch.device) -> Iterator[None]:
        """The transformer on the device while it works; in the host's memory afterwards if it shall not stay."""
        dit, parked = self._networks.dit, self._networks.parked
        with torch.inference_mode(False):  # else its weights would be tied to this mode
            parked.come(dit, device)
        try:
            yield
        finally:
            if self._settings.unload_dit:
                with torch.inference_mode(False):
                    parked.leave(dit)

    def _decode(self, latents_CtHW: torch.Tensor, source_3THW: torch.Tensor) -> torch.Tensor:
        """Latent by latent: all of the first chunk at once would take five times the memory of everything else."""
        frames, done = source_3THW.to(latents_CtHW.dtype), 0
        parts = []
        for latent_C1HW in torch.split(latents_CtHW, 1, dim=1):
            upto = done + (1 if self._latents == done == 0 else CLIP)
            parts.append(self._decode_latent(latent_C1HW, frames[:, done:upto]))
            done = upto
        return torch.cat(parts, dim=1)

    def _decode_latent(self, latent_C1HW: torch.Tensor, source_3THW: torch.Tensor) -> torch.Tensor:
        decoder = self._networks.decoder
        if isinstance(decoder, TcDecoder):
            assert isinstance(self._memory, tcdecoder.Memory)
            small: torch.Tensor = decoder(latent_C1HW, source_3THW, self._memory)
            return small
        assert isinstance(self._memory, wan_layers.Memory)
        if self._tiling:
            return decode_tiled(decoder, latent_C1HW, self._tiling, self._tiles)
        full: torch.Tensor = decoder(latent_C1HW, self._memory)
        return full

    def _bounded(self, result_3THW: torch.Tensor, latents_CtHW: torch.Tensor) -> torch.Tensor:
        """The chunk within the bounds of a picture; no number in all of it if an infinity is anywhere.

        Bounds, and the small decoder's for latents, make ordinary values of infinities, and nobody would notice. That
        is seen to on the device: a question would make the host wait for it.
        """
        finite = latents_CtHW.isfinite().all() & result_3THW.isfinite().all()
        if isinstance(self._networks.decoder, WanVae):
            result_3THW = result_3THW.clamp(-1.0, 1.0)
        return result_3THW.masked_fill(~finite, math.nan)

    def _correct(self, result_3THW: torch.Tensor, source_3THW: torch.Tensor) -> torch.Tensor:
        fix = self._settings.color_fix
        return fix_colors(fix, result_3THW.transpose(0, 1), source_3THW.transpose(0, 1)).transpose(0, 1)


def joined(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """The parts, one after the other; not copied if it is one."""
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def fix_colors(fix: ColorFix, result_T3HW: torch.Tensor, source_T3HW: torch.Tensor) -> torch.Tensor:
    """The chosen colour fix on frames in -1..1; float32."""
    if fix == "none":
        return result_T3HW.float()
    return _COLOR_FIXES[fix](result_T3HW, source_T3HW)
