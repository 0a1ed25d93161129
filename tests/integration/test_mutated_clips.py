"""Faults put into encoded masters of real clips: each is found by its name and in its place, and a clean one has none.

Only a fault of colour may be missed, in a picture that has next to none, and only if nobody could see it. Both are
measured, by other rules than the judge's: the latter by whether somewhere the picture is another colour than it should
be by a just noticeable difference (2.3 of CIELAB's dE, Mahy 1994), over a twentieth of some frame.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tasks.judge import faults
from tasks.media.contract.likeness import Comparison
from tasks.media.picture.colour import Colour, to_planes, to_rgb
from tasks.media.picture.pixels import Layout, Planes
from tasks.records import Fault, Shard
from tests.mutations import MUTATIONS
from vsr_model.classical import lanczos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIPS = [
    "bbb_720p25_aac51.mp4", "bbb_trailer_720p24.mp4", "car_768x432_12fps.mp4", "flower_540p30.mp4",
    "friday_1940film_480p30.mp4", "sam2_blocks_720p30.mp4", "sam2_cups_720p30.mp4", "sam2_dog_720p30.mp4",
    "sam2_juggle_720p24.mp4", "tears_of_steel_800x332_vp8.webm",
]  # fmt: skip
FRAMES, BORDER, SCALE, WIDTH = 32, 16, 2, 320
EIGHT, LIMITED, CPU = Layout("yuv", 8, 1, 1), Colour(1, 1, 1, False), torch.device("cpu")
# Of one frame; the others are of the second shard.
OF_A_FRAME = {"out of order", "black", "flash", "frozen"}
# By which names a fault is found, if not by its own: a tile's edge may be what a shard begins with.
NAMED = {"late": {"out of order"}, "turning hue": {"hue"}, "seam": {"seam", "border"}}
# Chroma, in 8-bit steps, below which there is too little to turn or to fade.
OF_COLOUR = {"hue": 1.0, "turning hue": 2.0, "saturation": 2.0}
NOTICED, SHARE, PATCH = 2.3, 0.05, 8
SHARDS = [
    Shard("film", index, start, stop, 0, 0, "length" if index else "start", 0, 0, 0, 1.0, "")
    for index, (start, stop) in enumerate([(0, BORDER), (BORDER, FRAMES)])
]


def read(path: Path) -> list[Planes]:
    """The first frames of a clip from a fifth of it on, so wide, in 8 bits 4:2:0."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int((container.duration or 0) / 5), any_frame=False)
        found = []
        for frame in container.decode(stream):
            height = round(frame.height * WIDTH / frame.width / 2) * 2
            shown = frame.reformat(
                WIDTH, height, "yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709", interpolation="AREA"
            )
            codes = shown.to_ndarray()
            luma, rest = codes[:height], codes[height:].reshape(2, height // 2, WIDTH // 2)
            found.append((luma.copy(), rest[0].copy(), rest[1].copy()))
            if len(found) == FRAMES:
                break
    return found


def encoded(frames: torch.Tensor) -> Iterator[av.VideoFrame]:
    """What is read back of a master with these frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[3], frames.shape[2], "yuv420p"
        for number, planes in enumerate(to_planes(frames, EIGHT, LIMITED, 0)):
            luma, *chroma = planes
            packed = np.concatenate([luma, np.stack(chroma).reshape(-1, luma.shape[1])])
            frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        yield from container.decode(video=0)


def judged(source: list[Planes], frames: torch.Tensor, cuts: tuple[int, ...]) -> list[Fault]:
    comparison = Comparison(iter(source), EIGHT, LIMITED, LIMITED)
    for frame in encoded(frames):
        comparison.add(frame)
    return faults(comparison.finish(), SHARDS, cuts)


def lab(frames: torch.Tensor) -> torch.Tensor:
    """[T, 3, h, w]: CIELAB (D65) of the mean colour of each patch, of R'G'B' of BT.709 taken as sRGB."""
    small = torch.nn.functional.avg_pool2d(frames.clamp(0.0, 1.0), PATCH * SCALE)
    linear = torch.where(small > 0.04045, ((small + 0.055) / 1.055) ** 2.4, small / 12.92)
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = torch.einsum("ij,tjhw->tihw", to_xyz / to_xyz.sum(1, keepdim=True), linear)
    bent = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def noticed(clean: torch.Tensor, mutated: torch.Tensor) -> float:
    """By how much colours are off, over the twentieth of the frame that is off most, in the frame that is worst."""
    apart = (lab(clean) - lab(mutated)).norm(dim=1).flatten(1)
    return float(apart.quantile(1.0 - SHARE, dim=1).max())


def chroma(frames: torch.Tensor) -> float:
    """Root mean square of Cb and Cr of BT.709, in 8-bit steps, of patches."""
    red, _, blue = small = torch.nn.functional.avg_pool2d(frames, PATCH * SCALE).unbind(1)
    luma = sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), small, strict=True))
    return 255.0 * float((((blue - luma) / 1.8556).square() + ((red - luma) / 1.5748).square()).mean().sqrt())


def is_found(name: str, at: int, found: list[Fault]) -> bool:
    """True if a fault is found by its name: at its frame, or somewhere in the second shard."""
    places = [range(fault.start, fault.stop) for fault in found if fault.name in NAMED.get(name, {name})]
    return any(at in place if name in OF_A_FRAME else place.start >= BORDER for place in places)


def cuts_of(source: list[Planes]) -> tuple[int, ...]:
    lumas = np.stack([planes[0].astype(np.float32) for planes in source])
    steps = np.abs(np.diff(lumas, axis=0)).mean((1, 2))
    return tuple(int(n) + 1 for n in np.flatnonzero(steps > 20))


def busiest(source: list[Planes], cuts: tuple[int, ...]) -> int:
    """Where in the second shard the picture moves most, within a shot."""
    lumas = np.stack([planes[0].astype(np.float32) for planes in source])
    steps = np.abs(np.diff(lumas, axis=0)).mean((1, 2))  # of frame n + 1 to the one before
    inside = [n for n in range(BORDER + 3, FRAMES - 4) if not {n - 1, n, n + 1, n + 2} & set(cuts)]
    return max(inside, key=lambda n: steps[n])


@pytest.mark.parametrize("clip", CLIPS)
def test_every_fault_is_found_by_name_and_a_clean_master_has_none(
    clip: str, shared_clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = read(shared_clips / clip)
    assert len(source) == FRAMES
    cuts = cuts_of(source)
    height, width = source[0][0].shape
    with torch.inference_mode():
        clean = lanczos(CPU).stream(height, width, SCALE, 0).push(to_rgb(source, EIGHT, LIMITED, CPU)).clone()
    assert judged(source, clean, cuts) == []
    colour = chroma(clean[BORDER:])
    missed, told = [], []
    for name, mutate in MUTATIONS.items():
        at = busiest(source, cuts) if name in OF_A_FRAME else BORDER
        mutated = mutate(clean, at)
        by = noticed(clean, mutated)
        found = judged(source, mutated, cuts)
        assert all(fault.start >= BORDER for fault in found), f"{name}: {found}"
        caught = is_found(name, at, found)
        names = ", ".join(sorted({fault.name for fault in found}))
        told.append(f"{name}: {'caught' if caught else 'missed'} ({by:.1f}; {names})")
        nothing_to_see = colour < OF_COLOUR.get(name, 0.0) and by < NOTICED
        if not caught and not nothing_to_see:
            missed.append(told[-1])
    with capsys.disabled():
        print(f"\n{clip} {cuts}, chroma {colour:.1f}: " + "; ".join(told))
    assert missed == []
