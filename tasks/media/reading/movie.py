"""What makes a film of image files that lie one after the other: the header of a QuickTime movie, before them.

With it FFmpeg reads them like any video: each file is a frame that stands by itself, found by its place and decoded by
the decoder of its kind. Knows how many bytes the files have, not what is in them.

Boxes as in ISO/IEC 14496-12, and in Apple's QuickTime File Format for the kinds of picture.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

# What QuickTime calls a picture of that kind, by the files' ending.
_KINDS = {".dpx": b"dpx ", ".exr": b"exr ", ".jpeg": b"jpeg", ".jpg": b"jpeg", ".png": b"png ", ".tif": b"tiff",
          ".tiff": b"tiff"}  # fmt: skip
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_MOST = 2**32 - 1


def movie_header(sizes: Sequence[int], suffix: str, fps: Fraction) -> bytes:
    """The bytes before the first file.

    Args:
        sizes: of the files, in bytes, in the order shown; each less than 4 GiB.
        suffix: the files' ending.
        fps: pictures a second; each lasts as long as the others.
    """
    kind = _box(b"ftyp", b"qt  ", 512, b"qt  ")
    total = sum(sizes)
    place = len(kind) + len(_movie(sizes, suffix, fps, 0)) + 16
    data = struct.pack(">I4sQ", 1, b"mdat", 16 + total)
    return kind + _movie(sizes, suffix, fps, place) + data


def exact_rate(value: str | float | Fraction) -> Fraction:
    """A number of pictures a second as it is meant: 23.976 is 24000/1001.

    Raises:
        ValueError: not a number above 0 and up to 1000.
    """
    try:
        rate = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{value} is no number of pictures a second; write 24, 23.976 or 24000/1001") from error
    if not 0 < rate <= 1000:
        raise ValueError(f"{value} pictures a second are none that can be shown; it must be above 0 and at most 1000")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    # Three digits are what is usually written, and headers hold single floats.
    return ntsc if ntsc and abs(rate - ntsc) < Fraction(1, 1500) else rate.limit_denominator(1001)


def _movie(sizes: Sequence[int], suffix: str, fps: Fraction, place: int) -> bytes:
    frames, (scale, tick) = len(sizes), fps.as_integer_ratio()
    length = min(frames * tick, _MOST)
    # The picture's size is left open: it is in the files.
    format_ = _box(_KINDS[suffix.lower()], bytes(6), struct.pack(">H", 1), bytes(24 + 2), 0x480000, 0x480000, 0,
                   struct.pack(">H", 1), bytes(32), struct.pack(">Hh", 24, -1))  # fmt: skip
    table = _box(
        b"stbl",
        _box(b"stsd", 0, 1, format_),
        _box(b"stts", 0, 1, frames, tick),
        _box(b"stsc", 0, 1, 1, frames, 1),
        _box(b"stsz", 0, 0, frames, struct.pack(f">{frames}I", *sizes)),
        _box(b"co64", 0, 1, struct.pack(">Q", place)),
    )
    here = _box(b"dinf", _box(b"dref", 0, 1, _box(b"url ", 1)))
    video = _box(b"minf", _box(b"vmhd", 1, bytes(8)), here, table)
    media = _box(
        b"mdia",
        _box(b"mdhd", 0, 0, 0, scale, length, struct.pack(">HH", 0x7FFF, 0)),
        _box(b"hdlr", 0, b"mhlr", b"vide", bytes(12), b"\0"),
        video,
    )
    track = _box(b"trak", _box(b"tkhd", 7, 0, 0, 1, 0, length, bytes(16), _MATRIX, 0, 0), media)
    head = _box(b"mvhd", 0, 0, 0, scale, length, 0x10000, struct.pack(">H", 0x100), bytes(10), _MATRIX, bytes(24), 2)
    return _box(b"moov", head, track)


def _box(name: bytes, *parts: bytes | int) -> bytes:
    """A box of these parts; numbers have four bytes."""
    body = b"".join(part if isinstance(part, bytes) else struct.pack(">I", part) for part in parts)
    return struct.pack(">I4s", 8 + len(body), name) + body
