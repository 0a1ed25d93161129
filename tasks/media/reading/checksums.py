"""What the frames of a finished file look like, in one number each. Judges nothing, and knows no source.

The number is the CRC-32 of all samples of the decoded frame, plane after plane: what FFmpeg's `framehash` muxer prints,
so that a master can be held against its receipt without this program.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import av
import numpy as np

from tasks.media.reading.source import Source, open_input, source_errors, video_stream


def frame_checksums(
    source: Source, picture: int, watch: Callable[[av.VideoFrame], None] | None = None
) -> tuple[str, ...]:
    """Eight hex digits for each frame of stream `picture`, in the order shown; `watch` is shown each of them too.

    Raises:
        SourceError: it cannot be decoded to its end.
    """
    with open_input(source) as container, source_errors(source, "reading its picture back"):
        stream = video_stream(container, picture)
        found: list[str] = []
        for frame in container.decode(stream):
            found.append(f"{_checksum(frame):08x}")
            if watch is not None:
                watch(frame)
        return tuple(found)


def whole_frames(source: Source, picture: int) -> tuple[str, ...]:
    """The same of as many frames as can be decoded before a damaged place."""
    found: list[str] = []
    with open_input(source) as container:
        try:
            for frame in container.decode(video_stream(container, picture)):
                found.append(f"{_checksum(frame):08x}")
        except av.error.FFmpegError:
            pass
    return tuple(found)


def count_frames(source: Source, picture: int) -> int:
    """How many frames stream `picture` holds, from its packets alone: nothing is decoded.

    Raises:
        SourceError: it cannot be read to its end.
    """
    with open_input(source) as container, source_errors(source, "counting its frames"):
        packets = container.demux(container.streams[picture])
        return sum(packet.size > 0 and not packet.is_discard for packet in packets)


def _checksum(frame: av.VideoFrame) -> int:
    checksum = 0
    parts = frame.format.components
    for number, plane in enumerate(frame.planes):
        # Samples of one plane each, or all in one.
        samples = 1 if len(frame.planes) == len(parts) else len(parts)
        width = plane.width * samples * (4 if parts[number].bits > 16 else 2 if parts[number].bits > 8 else 1)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, :width]
        checksum = zlib.crc32(rows.tobytes(), checksum)
    return checksum
