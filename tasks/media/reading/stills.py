"""Image files of one picture each: whether they can be decoded, and what their headers say of time and display."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import av.error

from tasks.errors import UnsupportedSource
from tasks.media.reading.movie import exact_rate

_EXR = b"\x76\x2f\x31\x01"
_COLOURS = {"R", "G", "B", "A"}
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
        _, table = _attributes(data)
        first = struct.unpack_from("<Q", data, table)[0]
        chunks = struct.unpack_from(f"<{(first - table) // 8}Q", data, table)
        size_at = 16 if flags & _TILED else 4
        ends = [chunk + size_at + 4 + struct.unpack_from("<I", data, chunk + size_at)[0] for chunk in chunks]
    except (IndexError, ValueError, struct.error, OverflowError, MemoryError):
        return False
    return max(ends, default=0) <= len(data)


def require_as_shown(data: bytes, label: str) -> None:
    """See that FFmpeg reads all of an image file, and where it is.

    It decodes the display window of EXR files as if that began at (0, 0). What lies outside is left out, and where the
    file holds nothing it is black. Of channels it knows R, G, B and A alone, of several parts the first.

    Raises:
        UnsupportedSource: it would not.
    """
    if more := _more_than_colours(data):
        raise UnsupportedSource(
            f"{label}: {more}, and a master would be without. Put the rest into files of its own, and leave the picture"
            " (`oiiotool IN --ch R,G,B -o OUT`, or `--ch R,G,B,A`, after `--subimage 0` or `--flatten` if need be)."
        )
    if why := _otherwise_than_shown(data):
        raise UnsupportedSource(
            f"{label}: {why}. Cut each file to what is shown (`oiiotool IN --croptofull --origin +0+0 --fullpixels -o"
            " OUT`), or make all of it what is shown (`oiiotool IN --origin +0+0 --fullpixels -o OUT`)."
        )


def _more_than_colours(data: bytes) -> str:
    """What an EXR file holds besides a picture's colours and alpha; empty if nothing, or if it is another file."""
    if data[:4] != _EXR:
        return ""
    if int.from_bytes(data[5:8], "little") & _DEEP_OR_PARTS:
        # Of one part that might be several, FFmpeg makes black, and says nothing.
        return "holds several parts or samples a pixel, or is written as if it did"
    try:
        names = _channels(_attributes(data)[0][b"channels"])
    except (IndexError, ValueError, KeyError, struct.error):
        return ""
    if names == ["Y"]:
        return ""  # gray, which is known by its format
    others = [name for name in names if name.upper() not in _COLOURS]
    return f"holds other channels than R, G, B and A ({', '.join(others)})" if others else ""


def _channels(listed: bytes) -> list[str]:
    """Names of a list of channels, each of which 16 bytes follow."""
    names, place = [], 0
    while listed[place]:
        end = listed.index(0, place)
        names.append(listed[place:end].decode("latin-1"))
        place = end + 17
    return names


def _otherwise_than_shown(data: bytes) -> str:
    """Why an EXR file would be read otherwise than it is to be shown; empty if it would not, or is another file."""
    if data[:4] != _EXR:
        return ""
    try:
        said, _ = _attributes(data)
        held, shown = (struct.unpack("<4i", said[name]) for name in (b"dataWindow", b"displayWindow"))
    except (IndexError, ValueError, KeyError, struct.error):
        return ""
    (left, top, right, bottom), (first, upper, last, lower) = held, shown
    if left < first or top < upper or right > last or bottom > lower:
        sizes = (f"{x1 - x0 + 1}x{y1 - y0 + 1}" for x0, y0, x1, y1 in (held, shown))
        return "holds {} pixels and shows {}, and a master would be without the others".format(*sizes)
    if (first, upper) != (0, 0):
        return f"has a display window that begins at ({first}, {upper}), and would be read shifted by that"
    return ""


def _attributes(data: bytes) -> tuple[dict[bytes, bytes], int]:
    """What the header of an EXR file says, by name, and where it ends; of a torn one an IndexError or the like."""
    said, place = {}, 8
    while data[place]:  # name, type, size, value; an empty name ends the header
        name_end = data.index(0, place)
        value = data.index(0, name_end + 1) + 5
        end = value + struct.unpack_from("<I", data, value - 4)[0]
        said[data[place:name_end]] = data[value:end]
        place = end
    return said, place + 1
