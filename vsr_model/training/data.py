"""Batches: the training arrays of `python -m datasets.build` become clips, the same for the same step.

`Clips` has truth and its clean reduction, `Pairs` truth and damaged sources made ahead of time. Both give lessons, for
the loop, and an exam, for the held-out score. Part of the truth of `Clips` may be taught: pictures that a larger
network has enlarged, which show what it makes of every source that pictures of the usual size can be.

A batch depends on the seed and the step number and on nothing before it, so resuming needs no saved random state and
two runs see the same clips whatever stopped them in between.

Knows of networks only which factors they enlarge by.

Shape suffixes: N items, B clips, T frames, 3 colours, S side of a tile or source, H rows, W columns, R crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from vsr_model.swift.network import SCALES
from vsr_model.training.motion import moving_clips

PAIR_REACH = 12.0  # the same of the clips that are damaged ahead of time
EXAM_CLIPS, EXAM_FRAMES, EXAM_SIDE, EXAM_REACH = 10, 20, 256, 10.0
REACH = 22.0  # fastest ordinary motion of a synthetic clip, in pixels of the truth a frame

Split = Literal["train", "validation"]
Lesson = tuple[torch.Tensor, torch.Tensor]  # truth [B, T, 3, H * factor, W * factor] and source [B, T, 3, H, W] in 0..1


@dataclass(frozen=True)
class Shares:
    """What a batch is made of; the rest of it are ordinary tiles.

    Attributes:
        film: share of film.
        taught: share of tiles that a larger network has enlarged (`python -m datasets.teach`).
        built: share of tiles drawn like buildings, grids and wires.
    """

    film: float = 0.3
    taught: float = 0.0
    built: float = 0.0


EXAM_SHARES = Shares(film=0.3, built=0.2)


class Clips:
    """Truth for one split, held on `device`: tiles of several kinds to set in motion, and film that moves already."""

    def __init__(
        self, folder: Path, split: Split, device: torch.device, shares: Shares | None = None, seed: int = 0
    ) -> None:
        """Load `tiles_{split}.npy`, uint8 [N, 3, S, S], and what else `shares` (none: of the exam) asks for.

        `film_{split}.npy` [N, T, 3, H, W] and `built_{split}.npy`, where they are there, and all
        `taught{factor}_{split}.*.npy`, shaped as the tiles.
        """
        self.shares = shares or EXAM_SHARES
        self.seed = seed

        def loaded(*files: Path) -> torch.Tensor | None:
            there = [torch.from_numpy(np.load(file)).to(device) for file in files if file.is_file()]
            return torch.cat(there) if there else None

        tiles_N3SS = loaded(folder / f"tiles_{split}.npy")
        if tiles_N3SS is None:
            raise FileNotFoundError(f"{folder}: no tiles_{split}.npy; make it with python -m datasets.build")
        self.tiles_N3SS = tiles_N3SS
        self.film_NT3HW = loaded(folder / f"film_{split}.npy") if self.shares.film else None
        self.built_N3SS = loaded(folder / f"built_{split}.npy") if self.shares.built else None
        self.taught = {
            factor: loaded(*sorted(folder.glob(f"taught{factor}_{split}.*.npy"))) if self.shares.taught else None
            for factor in SCALES
        }

    def lesson(self, step: int, clips: int, frames: int, crop: int, factor: int) -> Lesson:
        """Clips number `step` and their clean sources of `crop` pixels a side."""
        truth_BT3HW = self.batch(step, clips, frames, crop * factor, taught=factor)
        return truth_BT3HW, shrink(truth_BT3HW, factor)

    def exam(self, factor: int) -> Lesson:
        """The same few clips every time; ordinary footage moves less than what is learnt from."""
        truth_BT3HW = self.batch(0, EXAM_CLIPS, EXAM_FRAMES, EXAM_SIDE, EXAM_REACH)
        return truth_BT3HW, shrink(truth_BT3HW, factor)

    def batch(
        self,
        step: int,
        clips: int,
        frames: int,
        side: int,
        reach: float = REACH,
        taught: int | None = None,
        shares: Shares | None = None,
    ) -> torch.Tensor:
        """Return clip batch number `step`: [clips, frames, 3, side, side] float32 in 0..1.

        `taught` is the factor whose taught tiles may be among them; `shares` overrides those of all batches. A kind
        that is not there, or too short, leaves its share to the ordinary tiles.
        """
        shares = shares or self.shares
        generator = torch.Generator().manual_seed((self.seed << 40) + step)
        film = self.film_NT3HW if self.film_NT3HW is not None and frames <= self.film_NT3HW.shape[1] else None
        of_film = round(clips * shares.film) if film is not None else 0
        kinds = [(self.taught.get(taught or 0), shares.taught), (self.built_N3SS, shares.built)]
        counted = []
        rest = clips - of_film
        for tiles, share in kinds:
            if tiles is not None:
                counted.append((tiles, min(rest, round(clips * share))))  # rounded up, shares may be more than a batch
                rest -= counted[-1][1]
        parts = []
        for tiles_N3SS, count in [(self.tiles_N3SS, rest), *counted]:
            if count:
                pick_2B = torch.randint(len(tiles_N3SS), (2, count), generator=generator)
                back_B3SS, front_B3SS = tiles_N3SS[pick_2B.to(tiles_N3SS.device)]
                parts.append(moving_clips(back_B3SS, front_B3SS, frames, side, reach, generator))
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
    truth_1T3SS = clips.batch(number, 1, frames, side, PAIR_REACH, shares=Shares(film=float(number % 5 == 4)))
    return (truth_1T3SS[0] * 255.0).round().byte()


def shrink(truth_BT3HW: torch.Tensor, scale: int) -> torch.Tensor:
    """The clean source: antialiased bicubic reduction by `scale`, rounded to 8 bits; float in 0..1."""
    b, t, c, height, width = truth_BT3HW.shape
    small = F.interpolate(
        truth_BT3HW.reshape(b * t, c, height, width), size=(height // scale, width // scale),
        mode="bicubic", antialias=True, align_corners=False,
    )  # fmt: skip
    return ((small * 255.0).round().clamp(0.0, 255.0) / 255.0).reshape(b, t, c, height // scale, width // scale)
