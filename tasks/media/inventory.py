"""What a finished file really holds, read back from its own bytes: timestamps, hashes, colour. Judges nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tasks.media.master import is_gap, payload
from tasks.media.source import Source, open_input, source_errors


@dataclass(frozen=True)
class Inventory:
    """A file's contents.

    Attributes:
        height, width: of the picture, in samples.
        pix_fmt: of the picture.
        colour: H.273 matrix, primaries and transfer, and FFmpeg's range number.
        sample_aspect: pixel width over height.
        times: of every picture frame in the order shown, in seconds.
        hashes: sha256 over the packets' payloads of every other stream, by stream index.
        packets: how many packets each of those has.
        types: "video", "audio", "subtitle", "data" or "attachment", by stream index.
        timecodes: number of data streams that hold a timecode.
        chapters: (start seconds, end seconds, title) of each.
    """

    height: int
    width: int
    pix_fmt: str
    colour: tuple[int, int, int, int]
    sample_aspect: Fraction
    times: tuple[Fraction, ...]
    hashes: dict[int, str]
    packets: dict[int, int]
    types: dict[int, str]
    timecodes: int
    chapters: tuple[tuple[Fraction, Fraction, str], ...]


def take_inventory(source: Source, picture: int) -> Inventory:
    """Read a file from end to end.

    Args:
        source: the file.
        picture: index of its picture stream.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(source) as container, source_errors(source, "reading it back"):
        hashes: dict[int, Any] = {s.index: hashlib.sha256() for s in container.streams if s.index != picture}
        packets = dict.fromkeys(hashes, 0)
        stream: Any
        for stream in container.streams:
            if stream.type == "attachment":
                hashes[stream.index].update(stream.data)
                packets[stream.index] = 1
        times = []
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.stream_index == picture:
                if packet.pts is not None and not packet.is_discard:
                    times.append(packet.pts * packet.time_base)
                continue
            context = container.streams[packet.stream_index].codec_context
            codec = context.name if context else ""
            if is_gap(packet, codec):
                continue
            hashes[packet.stream_index].update(payload(packet, codec))
            packets[packet.stream_index] += 1
        context = container.streams[picture].codec_context
        video: Any = context
        return Inventory(
            height=video.height,
            width=video.width,
            pix_fmt=str(video.pix_fmt),
            colour=(int(video.colorspace), int(video.color_primaries), int(video.color_trc), int(video.color_range)),
            sample_aspect=video.sample_aspect_ratio or Fraction(1),
            times=tuple(sorted(times)),
            hashes={index: digest.hexdigest() for index, digest in hashes.items()},
            packets=packets,
            types={s.index: s.type for s in container.streams},
            timecodes=sum(s.type == "data" and "timecode" in s.metadata for s in container.streams),
            chapters=tuple(_chapter(chapter) for chapter in container.chapters()),
        )


def _chapter(chapter: Any) -> tuple[Fraction, Fraction, str]:
    base = chapter["time_base"]
    return (chapter["start"] * base, chapter["end"] * base, chapter["metadata"].get("title", ""))
