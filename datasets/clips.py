"""`python -m datasets.clips DATA OUT`: degraded pairs, a clip of truth and the source made from it, ready to train on.

Pictures are set in motion (sub-pixel pans, zooms, turns, bending surfaces, objects that hide and uncover) by the same
code that the training loop runs for clean sources; here it runs ahead of time because real encoders run on the CPU.

Writes pairs_{split}.npz with `truth` uint8 [N, T, 3, H, W], `source` uint8 [N, T, 3, H/scale, W/scale] and
`recipes`, one JSON a pair. Pair n depends on the seed and n alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from datasets.degrade import Recipe, UInt8, degrade, draw
from vsr_model.training.data import Clips

# Shape suffixes: N pairs, T frames, 3 channels (R, G, B), H rows, W columns.


def pairs(
    clips: Clips, count: int, frames: int, side: int, scale: int, strength: float = 1.0
) -> Iterator[tuple[UInt8, UInt8, Recipe]]:
    """Yield `count` pairs (truth_T3HW, source_T3HW, recipe); `side` is that of the truth, a multiple of `scale`."""
    for n in range(count):
        truth_T3HW = (clips.batch(n, 1, frames, side)[0] * 255.0).round().byte().cpu().numpy()
        recipe = draw((clips.seed << 32) + n, scale, strength)
        yield truth_T3HW, degrade(truth_T3HW, recipe), recipe


def main() -> None:
    """Write the pairs of one split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what `python -m datasets.build` wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    split: Literal["train", "validation"] = arguments.split
    clips = Clips(arguments.data, split, torch.device("cpu"), seed=arguments.seed)
    made = list(pairs(clips, arguments.count, arguments.frames, arguments.side, arguments.scale))
    truth, source, recipes = zip(*made, strict=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.out / f"pairs_{split}.npz", truth=np.stack(truth), source=np.stack(source),
        recipes=np.array([json.dumps(recipe.as_data()) for recipe in recipes]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
