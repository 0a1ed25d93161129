"""Batches: the training arrays of `python -m datasets.build` become clips, the same for the same step.

`Clips` has truth and its clean reduction, `Pairs` truth and damaged sources made ahead of time. Both give lessons, for
the loop, and an exam, for the held-out score.

A batch depends on the seed and the step number and on nothing before it, so resuming needs no saved random state and
two runs see the same clips whatever stopped them in between.

Knows nothing of networks.

Shape suffixes: N items, B clips, T frames, 3 colours, S side of a tile or source, H rows, W columns, R crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from vsr_model.training.motion import moving_clips

PAIR_REACH = 12.0  # the same of the clips that are damaged ahead of time
EXAM_CLIPS, EXAM_FRAMES, EXAM_SIDE, EXAM_REACH = 10, 20, 256, 10.0
REACH = 22.0  # fastest ordinary motion of a synthetic clip, in pixels of the truth a frame

Split = Literal["train", "validation"]
Lesson = tuple[torch.Tensor, torch.Tensor]  # truth [B, T, 3, H * factor, W * factor] and source [B, T, 3, H, W] in 0..1


class Clips:
    """Truth for one split, held on `device`: tiles to set in motion, and film that moves already."""

    def __init__(
        self,
        folder: Path,
        split: Split,
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

    def lesson(self, step: int, clips: int, frames: int, crop: int, factor: int) -> Lesson:
        """Clips number `step` and their clean sources of `crop` pixels a side."""
        truth_BT3HW = self.batch(step, clips, frames, crop * factor)
        return truth_BT3HW, shrink(truth_BT3HW, factor)

    def exam(self, factor: int) -> Lesson:
        """The same few clips every time; ordinary footage moves less than what is learnt from."""
        truth_BT3HW = self.batch(0, EXAM_CLIPS, EXAM_FRAMES, EXAM_SIDE, EXAM_REACH)
        return truth_BT3HW, shrink(truth_BT3HW, factor)

    def batch(
        self, step: int, clips: int, frames: int, side: int, reach: float = REACH, film_share: float | None = None
    ) -> torch.Tensor:
        """Return clip batch number `step`: [clips, frames, 3, side, side] float32 in 0..1."""
        generator = torch.Generator().manual_seed((self.seed << 40) + step)
        of_film = round(clips * (self.film_share if film_share is None else film_share))
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


class Pairs:
    """Damaged sources made ahead of time (`python -m datasets.clips`) and their truths, drawn again on `device`."""

    def __init__(self, folder: Path, split: Split, device: torch.device, seed: int = 0) -> None:
        """Load `damaged_{split}.npz` and draw the truths from the tiles and film in the same folder."""
        made = np.load(folder / f"damaged_{split}.npz")
        if (found := material(folder, split)) != str(made["made_from"]):
            raise ValueError(f"{folder}: holds {found}; the damaged clips were made from {made['made_from']}")
        self.source_NT3SS = torch.from_numpy(made["source"]).to(device)
        clips = Clips(folder, split, device, seed=int(made["seed"]))
        n_items, frames = self.source_NT3SS.shape[:2]
        truths = [pair_truth(clips, n, frames, int(made["side"])) for n in range(n_items)]
        self.truth_NT3HW = torch.stack(truths)
        self.seed = seed

    def lesson(self, step: int, clips: int, frames: int, crop: int, factor: int) -> Lesson:
        """Clips number `step`, cut from the pairs at random; smaller factors have the truth reduced."""
        generator = torch.Generator().manual_seed((self.seed << 40) + step)

        def below(bound: int) -> int:
            return int(torch.randint(bound, (), generator=generator))

        n_items, n_frames, _, side, _ = self.source_NT3SS.shape
        scale = self.truth_NT3HW.shape[-1] // side
        truths: list[torch.Tensor] = []
        sources: list[torch.Tensor] = []
        for _ in range(clips):
            n, start = below(n_items), below(n_frames - frames + 1)
            top, left = below(side - crop + 1), below(side - crop + 1)
            flips, turned = [axis for axis in (2, 3) if below(2)], below(2)  # not in time: damage has a direction
            for pictures, found, size in ((self.truth_NT3HW, truths, scale), (self.source_NT3SS, sources, 1)):
                rows, columns = (slice(at * size, (at + crop) * size) for at in (top, left))
                clip_T3RR = pictures[n, start : start + frames, :, rows, columns].flip(flips)
                found.append(clip_T3RR.transpose(2, 3) if turned else clip_T3RR)
        return self._pair(torch.stack(truths), torch.stack(sources), factor)

    def exam(self, factor: int) -> Lesson:
        """The first few pairs, whole."""
        return self._pair(self.truth_NT3HW[:EXAM_CLIPS], self.source_NT3SS[:EXAM_CLIPS], factor)

    def _pair(self, truth_BT3HW: torch.Tensor, source_BT3HW: torch.Tensor, factor: int) -> Lesson:
        scale = truth_BT3HW.shape[-1] // source_BT3HW.shape[-1]
        if scale % factor:
            raise ValueError(f"sources reduced by {scale} cannot teach a factor of {factor}")
        truth_BT3HW = truth_BT3HW.float() / 255.0
        small_BT3HW = truth_BT3HW if factor == scale else shrink(truth_BT3HW, scale // factor)
        return small_BT3HW, source_BT3HW.float() / 255.0


def material(folder: Path, split: Split) -> str:
    """What clips are drawn from, in words: the shapes of the arrays (their bytes may differ, they travel as video)."""
    files = [folder / f"{kind}_{split}.npy" for kind in ("tiles", "film")]
    return ", ".join(f"{f.stem} {np.load(f, mmap_mode='r').shape}" for f in files if f.is_file())


def pair_truth(clips: Clips, number: int, frames: int, side: int) -> torch.Tensor:
    """The truth of damaged clip `number`: uint8 [frames, 3, side, side]; every fifth is film."""
    of_film = number % 5 == 4 and clips.film_NT3HW is not None and frames <= clips.film_NT3HW.shape[1]
    truth_1T3SS = clips.batch(number, 1, frames, side, PAIR_REACH, film_share=1.0 if of_film else 0.0)
    return (truth_1T3SS[0] * 255.0).round().byte()


def shrink(truth_BT3HW: torch.Tensor, scale: int) -> torch.Tensor:
    """The clean source: antialiased bicubic reduction by `scale`, rounded to 8 bits; float in 0..1."""
    b, t, c, height, width = truth_BT3HW.shape
    small = F.interpolate(
        truth_BT3HW.reshape(b * t, c, height, width), size=(height // scale, width // scale),
        mode="bicubic", antialias=True, align_corners=False,
    )  # fmt: skip
    return ((small * 255.0).round().clamp(0.0, 255.0) / 255.0).reshape(b, t, c, height // scale, width // scale)
