"""`python -m tests.benchmarks.seams CLIP`: what tiles change, against the untiled run, at their seams and elsewhere.

Differences are in code values of 8 bits. "step" is how much more neighbouring pixels differ across a seam than in the
untiled run there: a seam one can see is a step along a line.

Shape suffixes: T frames, 3 channels, H rows, W columns, 1 a mean over what is gone.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import av
import torch

from vsr_model.contract import Upscaler
from vsr_model.registry import load_for_measuring
from vsr_model.tiling import TiledUpscaler, _spans

NEAR = 4  # result pixels to either side that count as the seam


def frames(path: str, count: int, height: int, width: int) -> torch.Tensor:
    """The first frames of a clip, cut to height x width from the middle."""
    taken = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            x_3HW = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255.0
            top, left = (x_3HW.shape[1] - height) // 2, (x_3HW.shape[2] - width) // 2
            taken.append(x_3HW[:, top : top + height, left : left + width])
            if len(taken) == count:
                break
    return torch.stack(taken)


def run(upscaler: Upscaler, clip_T3HW: torch.Tensor, scale: int) -> torch.Tensor:
    """The whole clip in 0..255."""
    stream = upscaler.stream(*clip_T3HW.shape[-2:], scale)
    parts = [stream.push(clip_T3HW[t : t + 8].to(upscaler.device)) for t in range(0, len(clip_T3HW), 8)]
    return torch.cat([*parts, stream.finish()]).clamp(0, 1).cpu() * 255.0


def compare(
    name: str, clip_T3HW: torch.Tensor, scale: int, tile: int, overlap: int, weightless: bool, precision: str
) -> str:
    """One row of the table."""
    network = load_for_measuring(name, precision, weightless)
    whole_T3HW = run(network, clip_T3HW, scale)
    tiled_T3HW = run(TiledUpscaler(network, tile, overlap), clip_T3HW, scale)
    step = network.info.grid // scale or 1
    spans = _spans(clip_T3HW.shape[-1], tile, overlap, step)
    seams = [(a.stop + b.start) * scale // 2 for a, b in pairwise(spans)]
    near = torch.zeros(whole_T3HW.shape[-1], dtype=torch.bool)
    for seam in seams:
        near[seam - NEAR : seam + NEAR] = True
    error_W = (tiled_T3HW - whole_T3HW).abs().mean(dim=(0, 1, 2))
    jumps = [(x.diff(dim=-1).abs().mean(dim=(0, 1, 2))) for x in (tiled_T3HW, whole_T3HW)]
    across = [float(jump[near[1:]].mean()) for jump in jumps]
    return (
        f"| {name} | {tile} | {overlap} | {float(error_W[near].mean()):.3f} | {float(error_W[~near].mean()):.3f} |"
        f" {float((tiled_T3HW - whole_T3HW).abs().max()):.1f} | {across[0] - across[1]:+.4f} of {across[1]:.3f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--models", nargs="+", default=["swift", "flashvsr-test"])
    parser.add_argument("--size", default="192x352", help="rows and columns of a source frame")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--tiles", type=int, nargs="+", default=[96, 128, 192])
    parser.add_argument("--overlap", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--random-weights", action="store_true")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    clip_T3HW = frames(arguments.clip, arguments.frames, height, width)
    print("| network | tile | overlap | difference at seams | elsewhere | largest | step across a seam |")
    print("|---|---|---|---|---|---|---|")
    with torch.inference_mode():
        for name in arguments.models:
            for tile in arguments.tiles:
                row = compare(name, clip_T3HW, arguments.scale, tile, arguments.overlap, arguments.random_weights,
                              arguments.precision)  # fmt: skip
                print(row, flush=True)


if __name__ == "__main__":
    main()
