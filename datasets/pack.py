"""Carry the training arrays to a machine with a narrow door: each `.npy` as one H.265 4:4:4 video, and back again.

`python -m datasets.pack pack DATA OUT` and `python -m datasets.pack unpack IN DATA`. About a tenth of the bytes, at
a distortion well under the noise of a photograph. Knows nothing of what the pictures show.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import av
import numpy as np

# Shape suffixes: N items, T frames, 3 channels (R, G, B), H rows, W columns.

PHOTO_CRF = 12
FILM_CRF = 14


def pack(array_file: Path, out: Path, crf: int) -> None:
    """Encode a uint8 [N, 3, H, W] or [N, T, 3, H, W] array as `out`.mkv with its shape beside it in `out`.json."""
    array = np.load(array_file, mmap_mode="r")
    run = array.shape[1] if array.ndim == 5 else 1
    frames_N3HW = array.reshape(-1, *array.shape[-3:])
    with av.open(str(out.with_suffix(".mkv")), "w") as container:
        stream = container.add_stream("libx265", rate=24)
        stream.height, stream.width = frames_N3HW.shape[-2:]
        stream.pix_fmt = "yuv444p"
        stream.options = {
            "crf": str(crf),
            "preset": "fast",
            "x265-params": f"keyint={run}:min-keyint={run}:scenecut=0:log-level=error:pools=2",
        }
        for frame_3HW in frames_N3HW:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_3HW.transpose(1, 2, 0)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    out.with_suffix(".json").write_text(json.dumps({"shape": array.shape}))


def unpack(packed: Path, array_file: Path) -> None:
    """Decode `packed`.mkv into the array file it came from (not bit for bit: the video is lossy)."""
    shape = tuple(json.loads(packed.with_suffix(".json").read_text())["shape"])
    array = np.lib.format.open_memmap(array_file, mode="w+", dtype=np.uint8, shape=shape)
    frames_N3HW = array.reshape(-1, *shape[-3:])
    with av.open(str(packed.with_suffix(".mkv"))) as container:
        for n, frame in enumerate(container.decode(video=0)):
            frames_N3HW[n] = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    if arguments.verb == "pack":
        for file in sorted(arguments.source.glob("*.npy")):
            pack(file, arguments.target / file.stem, FILM_CRF if file.stem.startswith("film") else PHOTO_CRF)
    else:
        for file in sorted(arguments.source.glob("*.mkv")):
            unpack(file, arguments.target / f"{file.stem}.npy")


if __name__ == "__main__":
    main()
