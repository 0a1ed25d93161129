"""`python -m datasets.build OUT`: download the sources, cut them into training arrays, write the manifest.

Writes, for the training loop to map into memory:
    tiles_train.npy, tiles_validation.npy   uint8 [N, 3, 512, 512]      sharp picture tiles (RGB)
    built_train.npy, built_validation.npy   uint8 [N, 3, 512, 512]      drawn tiles of grids, facades, bricks and wires
    film_train.npy,  film_validation.npy    uint8 [N, 24, 3, 360, 640]  runs of consecutive film frames, no cut inside
    manifest.parquet                        one row a source: name, package, kind, split, licence, origin, sha256, tiles

Pictures are reduced before they are cut, so that a pixel of a tile holds detail the camera really resolved. The film
is heavily compressed at 1280x720, so only its half size is taken for truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from datasets.built import built_tile
from datasets.drawn import drawn_tile
from datasets.sources import Source, Split, fetch

# Shape suffixes: N items, T frames, 3 channels (R, G, B), H rows, W columns.
UInt8 = npt.NDArray[np.uint8]

TILE = 512
CLIP_FRAMES = 24
TEXTURE_TILES: dict[Split, int] = {"train": 640, "validation": 64}
TILES_OF_A_TEXTURE = 2
DRAWN_TILES: dict[Split, int] = {"train": 120, "validation": 12}
BUILT_TILES: dict[Split, int] = {"train": 600, "validation": 40}
CELL = 32  # side of the cells that tell whether a tile is filled, and cells a side of what it looks like
MIN_FILLED = 0.6
SAME_LOOK = 0.97
FILM_CLIPS = 100
FILM_USED = 0.9  # the rest is credits
MIN_DETAIL = 1.6  # mean step between neighbours, in code values, below which a tile is sky or blur
FILM_SIZE = (360, 640)
SPLITS: tuple[Split, ...] = ("train", "validation")


def build(out: Path, cache: Path, film_clips: int = FILM_CLIPS) -> None:
    """Write every array and the manifest into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    sources = fetch(cache)
    counts: dict[str, int] = {}
    for seed, split in enumerate(SPLITS):
        pictures = [source for source in sources if source.kind in ("photo", "artwork") and source.split == split]
        textures = [source for source in sources if source.kind == "texture" and source.split == split]
        textures.sort(key=lambda source: source.sha256)  # any order that mixes the packages
        tiles = take(pictures, None, counts)
        tiles += take(textures, TEXTURE_TILES[split], counts)
        tiles += [drawn_tile(seed, n, TILE) for n in range(DRAWN_TILES[split])]
        np.save(out / f"tiles_{split}.npy", np.stack(tiles))
        np.save(out / f"built_{split}.npy", np.stack([built_tile(seed, n, TILE) for n in range(BUILT_TILES[split])]))
    film = next(source for source in sources if source.kind == "film")
    starts = film_starts(film.path, film_clips)
    counts[film.name] = len(starts)
    low, high = len(starts) * 9 // 20, len(starts) * 11 // 20  # the middle scenes are never trained on
    for split, part in (("train", starts[:low] + starts[high:]), ("validation", starts[low:high])):
        shape = (len(part), CLIP_FRAMES, 3, *FILM_SIZE)
        clips = np.lib.format.open_memmap(out / f"film_{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
        where = {start + t: (n, t) for n, start in enumerate(part) for t in range(CLIP_FRAMES)}
        for index, frame_3HW in enumerate(frames_of(film.path)):
            if index in where:
                clips[where[index]] = reduce(frame_3HW, FILM_SIZE)
    write_manifest(out / "manifest.parquet", sources, counts)


def take(sources: list[Source], limit: int | None, counts: dict[str, int]) -> list[UInt8]:
    """Cut tiles from the sources in order until there are `limit`, noting in `counts` how many each gave."""
    tiles: list[UInt8] = []
    looks: list[npt.NDArray[np.float32]] = []
    for source in sources:
        cut = list(tiles_of(source))
        if source.kind == "texture":  # the same thing in other colours comes many times
            cut = [tile_3HW for tile_3HW in cut[:TILES_OF_A_TEXTURE] if _is_new(tile_3HW, looks)]
        counts[source.name] = len(cut)
        tiles += cut
        if limit is not None and len(tiles) >= limit:
            return tiles[:limit]
    return tiles


def tiles_of(source: Source) -> Iterator[UInt8]:
    """Yield the [3, 512, 512] tiles of one picture that hold any detail."""
    picture_3HW = next(frames_of(source.path))
    height, width = picture_3HW.shape[1:]
    # Large photographs carry demosaicing and lens blur at full size; drawings are sharp but repeat themselves.
    factors: tuple[float, ...] = (1.5, 2.0, 2.8, 4.0) if max(height, width) >= 3000 else (1.5, 2.0)
    if source.kind != "photo":
        factors = (3.0,) if source.kind == "artwork" else (1.0,)
    for factor in factors:
        size = (round(height / factor), round(width / factor))
        if min(size) < TILE:
            continue
        small_3HW = reduce(picture_3HW, size)
        for top in _offsets(size[0]):
            for left in _offsets(size[1]):
                tile_3HW = small_3HW[:, top : top + TILE, left : left + TILE]
                if _detail(tile_3HW) > MIN_DETAIL and (source.kind != "texture" or _is_filled(tile_3HW)):
                    yield np.ascontiguousarray(tile_3HW)


def _offsets(length: int) -> list[int]:
    """Offsets of the fewest tiles that cover `length` with at most an eighth of a tile lost at the end."""
    count = max(1, (length + TILE // 8) // TILE)
    return (
        [round(n * (length - TILE) / max(1, count - 1)) for n in range(count)] if count > 1 else [(length - TILE) // 2]
    )


def _detail(tile_3HW: UInt8) -> float:
    """Mean absolute difference of horizontal neighbours in green, in code values: near 0 for sky and blur."""
    return float(np.abs(np.diff(tile_3HW[1].astype(np.int16), axis=1)).mean())


def _is_filled(tile_3HW: UInt8) -> bool:
    """True if most of a tile shows something: sheets of textures are often half empty."""
    green_HW = tile_3HW[1].astype(np.float32)
    step_HW = np.abs(np.diff(green_HW, axis=1, prepend=green_HW[:, :1]))
    cell_NN = step_HW.reshape(TILE // CELL, CELL, TILE // CELL, CELL).mean(axis=(1, 3))
    return bool((cell_NN > MIN_DETAIL).mean() > MIN_FILLED)


def _is_new(tile_3HW: UInt8, looks: list[npt.NDArray[np.float32]]) -> bool:
    """True if no tile before looks the same but for colour and contrast; remembers this one's look."""
    look = tile_3HW.mean(axis=0).reshape(CELL, TILE // CELL, CELL, TILE // CELL).mean(axis=(1, 3)).astype(np.float32)
    look = (look - look.mean()).ravel()
    look /= max(float(np.linalg.norm(look)), 1e-6)
    if any(abs(float(look @ other)) > SAME_LOOK for other in looks):
        return False
    looks.append(look)
    return True


def film_starts(path: Path, count: int) -> list[int]:
    """Pick the first frames of `count` runs of `CLIP_FRAMES` that hold no cut and do move, spread over the film."""
    change: list[float] = []
    last: npt.NDArray[np.int16] | None = None
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            small = frame.reformat(width=160, height=90, format="gray").to_ndarray().astype(np.int16)
            change.append(0.0 if last is None else float(np.abs(small - last).mean()))
            last = small
    runs = [np.array(change[s + 1 : s + CLIP_FRAMES]) for s in range(0, int(len(change) * FILM_USED), CLIP_FRAMES)]
    moving = [n * CLIP_FRAMES for n, run in enumerate(runs) if run.max() < 16 and run.mean() > 0.7]
    chosen = np.linspace(0, len(moving) - 1, min(count, len(moving))).round().astype(int)
    return [moving[n] for n in dict.fromkeys(chosen.tolist())]


def frames_of(path: Path) -> Iterator[UInt8]:
    """Yield every frame of a picture or film as RGB [3, H, W]."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))


def reduce(picture_3HW: UInt8, size: tuple[int, int]) -> UInt8:
    """Antialiased bicubic reduction to `size` (rows, columns)."""
    pixels_13HW = torch.from_numpy(picture_3HW)[None].float()
    small_13HW = F.interpolate(pixels_13HW, size=size, mode="bicubic", antialias=True, align_corners=False)
    result: UInt8 = small_13HW[0].round().clamp(0, 255).byte().numpy()
    return result


def write_manifest(path: Path, sources: list[Source], counts: dict[str, int]) -> None:
    """Write one row a source; `items` is the number of tiles or film runs cut from it."""
    rows = [{**asdict(s), "path": str(s.path), "items": counts.get(s.name, 0)} for s in sources]
    pq.write_table(pa.Table.from_pylist(rows), path)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/remaster/sources")
    parser.add_argument("--film-clips", type=int, default=FILM_CLIPS)
    arguments = parser.parse_args()
    build(arguments.out, arguments.cache, arguments.film_clips)


if __name__ == "__main__":
    main()
