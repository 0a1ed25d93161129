"""Holding a master against its source with PyAV alone, past all of the product's own code."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture_times(path: Path, stream: int | None = None) -> list[Fraction]:
    """Times of the decoded frames of the picture stream, in seconds, in the order shown."""
    with av.open(f"file:{path}") as container:
        video = container.streams[stream] if stream is not None else main_picture(container)
        return [frame.pts * frame.time_base for frame in container.decode(video)]


def main_picture(container: av.container.InputContainer) -> av.VideoStream:
    """The longest video stream, by the second; of equal ones the largest."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    return max(videos, key=lambda s: (round(float((s.duration or 0) * s.time_base)), s.width * s.height, -s.index))


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width of a pixel to its height as players show it."""
    return stream.sample_aspect_ratio or Fraction(1)


def copied_packets(path: Path, picture: int) -> list[tuple[str, int, str]]:
    """(type, packets, hash) of every stream but the picture and QuickTime's helper tracks, in the file's order."""
    with av.open(f"file:{path}") as container:
        streams = [
            s
            for s in container.streams
            if s.index != picture and not (s.type == "data" and (s.name == "bin_data" or "timecode" in s.metadata))
        ]
        hashes = {s.index: hashlib.sha256() for s in streams}
        counts = dict.fromkeys(hashes, 0)
        for packet in container.demux():
            if bytes(packet) == b"\0\0" and packet.stream.type == "subtitle":
                continue  # how MP4 says that no subtitle is shown
            if packet.size and packet.stream_index in hashes:
                hashes[packet.stream_index].update(bytes(packet))
                counts[packet.stream_index] += 1
        for stream in streams:
            if stream.type == "attachment":
                hashes[stream.index].update(stream.data)
        return [(s.type, counts[s.index], hashes[s.index].hexdigest()) for s in streams]


def picture_index(path: Path) -> int:
    """Index of the picture stream."""
    with av.open(f"file:{path}") as container:
        return main_picture(container).index


def assert_keeps(source: Path, master: Path, scale: int, size: tuple[int, int] | None = None) -> None:
    """The media contract: frame count, every time to the tick, every packet of every other stream, size, shape, tags.

    The size is the source's times the scale, or width and height as given.
    """
    index = picture_index(source)
    wanted, held = picture_times(source, index), picture_times(master, index)
    assert len(held) == len(wanted), f"{len(held)} frames in the master, {len(wanted)} in the source"
    assert held == wanted
    assert copied_packets(master, index) == copied_packets(source, index)
    with av.open(f"file:{source}") as a, av.open(f"file:{master}") as b:
        one, other = a.streams[index].codec_context, b.streams[index].codec_context
        assert (other.width, other.height) == (size or (one.width * scale, one.height * scale))
        # Matroska may count in whole pixels of a display; a master, in its container or its stream, says it exactly.
        apart = abs(pixel_aspect(b.streams[index]) - pixel_aspect(a.streams[index]))
        assert apart * one.width <= Fraction(1, 2), "the picture is stretched"
        for tag in ("colorspace", "color_primaries", "color_trc"):
            if getattr(one, tag) != 2:
                assert getattr(other, tag) == getattr(one, tag), tag
        assert len(b.chapters()) == len(a.chapters())
        first, second = next(a.decode(a.streams[index])), next(b.decode(b.streams[index]))
        assert second.rotation == first.rotation


def frames_rgb(path: Path) -> list[np.ndarray]:
    """Every picture frame as [H, W, 3] uint8."""
    with av.open(f"file:{path}") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(main_picture(container))]


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
