"""Films and video as pairs of fields, of pictures that are known: what a recipe recovers can be held against them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from tasks.media.picture.pixels import Layout, Planes, to_frame, to_planes
from tests.clips import picture

LAYOUT = Layout("yuv", 8, 1, 1)
NTSC = Fraction(30000, 1001)


def film(count: int, first: int = 0, shot: int = 0, width: int = 320, height: int = 256) -> list[Planes]:
    """Pictures that all differ."""
    shown = (picture(2 * n, width, height, shot) for n in range(first, first + count))
    frames = (av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=LAYOUT.pix_fmt) for rgb in shown)
    return [to_planes(frame, LAYOUT) for frame in frames]


def woven(top: Planes, bottom: Planes) -> Planes:
    """The top field of one picture and the bottom field of another."""
    planes = []
    for one, other in zip(top, bottom, strict=True):
        plane = np.array(one)
        plane[1::2] = other[1::2]
        planes.append(plane)
    return tuple(planes)


def telecined(pictures: Sequence[Planes], top_first: bool = True) -> list[Planes]:
    """Five frames of four pictures: fields AA BB BC CD DD."""
    frames = []
    for n in range(0, len(pictures), 4):
        a, b, c, d = pictures[n : n + 4]
        pairs = ((a, a), (b, b), (b, c), (c, d), (d, d))
        frames += [woven(*pair) if top_first else woven(*pair[::-1]) for pair in pairs]
    return frames


def video(moments: Sequence[Planes], top_first: bool = True) -> list[Planes]:
    """A frame of every two moments."""
    pairs = zip(moments[::2], moments[1::2], strict=True)
    return [woven(one, other) if top_first else woven(other, one) for one, other in pairs]


def shifted(pictures: Sequence[Planes]) -> list[Planes]:
    """Frames of the first field of one picture and the second one of the next."""
    return [woven(one, other) for one, other in pairwise(pictures)]


def write(
    path: Path,
    frames: Sequence[Planes],
    codec: str = "ffv1",
    rate: Fraction = NTSC,
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    patch: Any = None,
    timecode: str = "",
) -> Path:
    """A file of these frames with sound; `patch` is given the bytes and the number of each packet, returns others."""
    height, width = frames[0][0].shape
    with av.open(f"file:{path}", "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, LAYOUT.pix_fmt
        stream.codec_context.time_base = stream.time_base = time_base or 1 / rate
        stream.codec_context.thread_count = 1
        if timecode:
            stream.metadata["timecode"] = timecode
        sound = output.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=48000, layout="mono")
        count = 0

        def mux(packets: Sequence[Any]) -> None:
            nonlocal count
            for packet in packets:
                if patch is not None:
                    changed = av.Packet(patch(bytes(packet), count))
                    changed.stream, changed.time_base = stream, packet.time_base
                    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                    changed.is_keyframe = packet.is_keyframe
                    packet, count = changed, count + 1
                output.mux(packet)

        for number, planes in enumerate(frames):
            frame = to_frame(planes, LAYOUT)
            frame.pts, frame.time_base = pts[number] if pts else number, stream.codec_context.time_base
            mux(stream.encode(frame))
        mux(stream.encode(None))
        for start in range(0, int(len(frames) / rate * 48000), 1024):
            wave = (np.sin(np.arange(start, start + 1024) / 20) * 8000)[None]
            flat = wave.astype(np.int16) if path.suffix == ".mkv" else (wave / 32768).astype(np.float32)
            block = av.AudioFrame.from_ndarray(flat, format="s16" if path.suffix == ".mkv" else "fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
            output.mux(sound.encode(block))
        output.mux(sound.encode(None))
    return path


def soft(path: Path, pictures: Sequence[Planes]) -> Path:
    """MPEG-2 whose every other picture is flagged to be shown for three fields: 24 pictures for 60 fields."""
    shown = np.cumsum([0, *([3, 2] * len(pictures))])[: len(pictures)]

    def flagged(data: bytes, number: int) -> bytes:
        place = data.index(b"\x00\x00\x01\xb5", data.index(b"\x00\x00\x01\x00")) + 4
        assert data[place] >> 4 == 8
        # Bits of the picture coding extension: which field comes first, and that it is shown again.
        first, again = (number // 2) % 2 == 0, number % 2 == 0
        here = data[place + 3] & ~0x82 | (0x80 if first else 0) | (0x02 if again else 0)
        return data[: place + 3] + bytes([here]) + data[place + 4 :]

    options = {"bf": "0", "g": "6", "q": "2"}
    return write(path, pictures, "mpeg2video", NTSC, 1 / (2 * NTSC), shown.tolist(), options, flagged)
