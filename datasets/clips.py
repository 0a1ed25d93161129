"""`python -m datasets.clips DATA`: damaged sources for clips the training draws, made ahead of time by real encoders.

Pictures are set in motion (sub-pixel pans, zooms, turns, bending surfaces, objects that hide and uncover) by the same
code that the training loop runs; the damage is done here because encoders run on the CPU.

Writes damaged_{split}.npz: `source` uint8 [N, T, 3, S, S], `recipes`, one JSON a clip, and the `seed` and `side` with
which `vsr_model.training.data.Pairs` draws the truths again. Clip n depends on the seed and n alone.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.degrade import UInt8, degrade, draw
from vsr_model.training.data import Clips, Split, material, pair_truth

# Shape suffixes: N clips, T frames, 3 channels (R, G, B), S rows and columns.


@dataclass(frozen=True)
class Order:
    """What to make: `count` clips of `frames` frames whose truth is `side` pixels wide and high, for factor `scale`."""

    data: Path
    split: Split
    count: int
    frames: int
    side: int
    scale: int
    seed: int


def damaged(order: Order, share: int = 0, shares: int = 1) -> list[tuple[int, UInt8, str]]:
    """Make every `shares`th clip from number `share` on: its number, its source [T, 3, S, S], its recipe as JSON."""
    torch.set_num_threads(1)
    clips = Clips(order.data, order.split, torch.device("cpu"), seed=order.seed)
    made = []
    for n in range(share, order.count, shares):
        truth_T3SS = pair_truth(clips, n, order.frames, order.side).numpy()
        recipe = draw((order.seed << 32) + n, order.scale)
        made.append((n, degrade(truth_T3SS, recipe), json.dumps(recipe.as_data())))
    return made


def main() -> None:
    """Write the damaged sources of one split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what `python -m datasets.build` wrote; the result is put there too")
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = vars(parser.parse_args())
    processes = options.pop("processes")
    order = Order(**options)
    with ProcessPoolExecutor(processes) as pool:
        parts = pool.map(damaged, [order] * processes, range(processes), [processes] * processes)
        made = sorted((one for part in parts for one in part), key=lambda one: one[0])
    np.savez(
        order.data / f"damaged_{order.split}.npz", source=np.stack([source for _, source, _ in made]),
        recipes=np.array([recipe for _, _, recipe in made]), seed=order.seed, side=order.side,
        made_from=material(order.data, order.split),
    )  # fmt: skip


if __name__ == "__main__":
    main()
