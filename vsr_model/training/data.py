"""Batches: the training arrays of `python -m datasets.build` become clips of truth, the same for the same step.

A batch depends on the seed and the step number and on nothing before it, so resuming needs no saved random state and
two runs see the same clips whatever stopped them in between.

Knows nothing of networks.

Shape suffixes: N items, B clips, T frames, 3 colours, S tile side, H rows, W columns, R crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from vsr_model.training.motion import moving_clips

REACH = 22.0  # fastest ordinary motion of a synthetic clip, in pixels of the truth a frame


class Clips:
    """Truth for one split, held on `device`: tiles to set in motion, and film that moves already."""

    def __init__(
        self,
        folder: Path,
        split: Literal["train", "validation"],
        device: torch.device,
        film_share: float = 0.3,
        seed: int = 0,
    ) -> None:
        """Load `tiles_{split}.npy` [N, 3, S, S] and, where it is there, `film_{split}.npy` [N, T, 3, H, W]; uint8."""
        self.tiles_N3SS = torch.from_numpy(np.load(folder / f"tiles_{split}.npy")).to(device)
        film = folder / f"film_{split}.npy"
        self.film_NT3HW = torch.from_numpy(np.load(film)).to(device) if film.is_file() else None
        self.film_share = film_share if self.film_NT3HW is not None else 0.0
        self.seed = seed

    def batch(self, step: int, clips: int, frames: int, side: int, reach: float = REACH) -> torch.Tensor:
        """Return clip batch number `step`: [clips, frames, 3, side, side] float32 in 0..1."""
        generator = torch.Generator().manual_seed((self.seed << 40) + step)
        of_film = round(clips * self.film_share)
        if self.film_NT3HW is not None and frames > self.film_NT3HW.shape[1]:
            of_film = 0
        pick_2B = torch.randint(len(self.tiles_N3SS), (2, clips - of_film), generator=generator)
        back_B3SS, front_B3SS = self.tiles_N3SS[pick_2B.to(self.tiles_N3SS.device)]
        parts = [moving_clips(back_B3SS, front_B3SS, frames, side, reach, generator)] if of_film < clips else []
        parts += [self._film_clip(frames, side, generator)[None] for _ in range(of_film)]
        return torch.cat(parts)

    def _film_clip(self, frames: int, side: int, generator: torch.Generator) -> torch.Tensor:
        """A random run and place of the film, mirrored and reversed at random: [T, 3, R, R]."""
        assert self.film_NT3HW is not None
        n_items, n_frames, _, height, width = self.film_NT3HW.shape

        def below(bound: int) -> int:
            return int(torch.randint(bound, (), generator=generator))

        stride = 1 + below(2) if 2 * frames <= n_frames else 1  # every second frame: faster motion
        start, top, left = below(n_frames - stride * (frames - 1)), below(height - side + 1), below(width - side + 1)
        clip_T3RR = self.film_NT3HW[below(n_items), start : start + stride * (frames - 1) + 1 : stride]
        clip_T3RR = clip_T3RR[..., top : top + side, left : left + side]
        flips = [axis for axis in (0, 2, 3) if below(2)]
        clip_T3RR = clip_T3RR.flip(flips) if flips else clip_T3RR
        return clip_T3RR.float() / 255.0


def shrink(truth_BT3HW: torch.Tensor, scale: int) -> torch.Tensor:
    """The clean source: antialiased bicubic reduction by `scale`, rounded to 8 bits; float in 0..1."""
    b, t, c, height, width = truth_BT3HW.shape
    small = F.interpolate(
        truth_BT3HW.reshape(b * t, c, height, width), size=(height // scale, width // scale),
        mode="bicubic", antialias=True, align_corners=False,
    )  # fmt: skip
    return ((small * 255.0).round().clamp(0.0, 255.0) / 255.0).reshape(b, t, c, height // scale, width // scale)
