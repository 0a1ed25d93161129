"""`python -m vsr_model.training.blend A B SHARE OUT`: weights between two that were trained one from the other.

A network taught to restore, blended with the faithful one it was taught from, keeps more of a source that needed no
restoring. Between weights that have one origin lie weights that work; between strangers there are none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vsr_model.swift.network import Swift
from vsr_model.swift.upscaler import read_network
from vsr_model.training.train import save_weights


def blend(a: Swift, b: Swift, share: float) -> Swift:
    """Return a network whose weights are `a`'s and a `share` (0 to 1) of the way to `b`'s.

    Raises:
        ValueError: they are of different sizes.
    """
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} cannot be blended")
    blended = Swift(a.shape)
    theirs = b.state_dict()
    blended.load_state_dict({key: torch.lerp(value, theirs[key], share) for key, value in a.state_dict().items()})
    return blended


def main() -> None:
    """Write the blend of two weights files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("share", type=float, help="0 is A, 1 is B")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    save_weights(blend(read_network(arguments.a), read_network(arguments.b), arguments.share), arguments.out)


if __name__ == "__main__":
    main()
