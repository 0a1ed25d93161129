"""Image files of one picture each: whether they can be decoded, and what their headers say of time."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import av.error

from tasks.media.reading.movie import exact_rate

_EXR = b"\x76\x2f\x31\x01"
_TILED, _DEEP_OR_PARTS = 0x02, 0x18  # of the second to fourth byte of the version field


def rate_in_header(data: bytes) -> Fraction | None:
    """Pictures a second that a DPX or EXR file says it is one of; None if it does not, or is damaged."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.video[0]
            next(container.decode(stream))
            said = stream.codec_context.framerate
        return exact_rate(said) if said else None
    except (av.error.FFmpegError, IndexError, StopIteration, ValueError):
        return None


def is_whole(data: bytes) -> bool:
    """True if an image file can be decoded to its end."""
    if not holds_its_chunks(data):
        return False
    try:
        with av.open(io.BytesIO(data), "r") as container:
            frames = list(container.decode(container.streams.video[0]))
        return bool(frames) and not frames[0].is_corrupt
    except (av.error.FFmpegError, IndexError):
        return False


def holds_its_chunks(data: bytes) -> bool:
    """False for an EXR file that ends before a chunk of its picture does; FFmpeg decodes it all the same.

    Of files of any other kind, and of EXR of several parts, nothing is said. Layout as in the OpenEXR file format.
    """
    if data[:4] != _EXR or len(data) < 9:
        return True
    flags = int.from_bytes(data[5:8], "little")
    if flags & _DEEP_OR_PARTS:
        return True
    try:
        place = 8
        while data[place]:  # name, type, size, value; an empty name ends the header
            place = data.index(0, data.index(0, place) + 1) + 1
            place += 4 + struct.unpack_from("<I", data, place)[0]
        table = place + 1
        first = struct.unpack_from("<Q", data, table)[0]
        chunks = struct.unpack_from(f"<{(first - table) // 8}Q", data, table)
        size_at = 16 if flags & _TILED else 4
        ends = [chunk + size_at + 4 + struct.unpack_from("<I", data, chunk + size_at)[0] for chunk in chunks]
    except (IndexError, ValueError, struct.error, OverflowError, MemoryError):
        return False
    return max(ends, default=0) <= len(data)
