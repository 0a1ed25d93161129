"""How large Matroska says that a picture is shown, which is how wide its pixels are.

FFmpeg's muxer writes it, but not of a stream of PyAV's, which has no place for it; and some codecs do not say it
themselves. So it is put into the header of the finished file, and what the muxer left free before it becomes smaller.

Element numbers are those of RFC 9559, section 5.1 and, for the picture, 5.1.4.1.28; CRC-32 is that of RFC 8794, 11.3.1.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from itertools import islice
from pathlib import Path

from tasks.media.reading.header import Element, within

# Codecs whose streams do not say how wide their pixels are, or not before a picture is decoded.
SILENT = frozenset({"av1", "av1_nvenc", "ffv1", "prores", "vp9"})
_SEGMENT, _SEEK_HEAD, _SEEK = 0x18538067, 0x114D9B74, 0x4DBB
_VOID, _CRC, _INFO, _TRACKS, _TRACK, _PICTURE = 0xEC, 0xBF, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0
_COLUMNS, _ROWS, _WIDTH, _HEIGHT, _UNIT = 0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2
_PIXELS, _RATIO = 0, 3
_HEAD = 1 << 20  # bytes, of which tracks are few


def say_display_size(path: str, track: int, sample_aspect: Fraction) -> None:
    """Write it into a file of FFmpeg's, which stays as long as it is.

    Args:
        path: of the file.
        track: which of its tracks is the picture, counted from 0.
        sample_aspect: pixel width over height.
    """
    with Path(path).open("r+b") as file:
        head = file.read(_HEAD)
        segment = next(each for each in within(head, 0, len(head)) if each.kind == _SEGMENT)
        seek, void, info, tracks = islice(within(head, segment.body, len(head)), 4)
        assert [each.kind for each in (seek, void, info, tracks)] == [_SEEK_HEAD, _VOID, _INFO, _TRACKS]
        said = _with_display(head, tracks, track, sample_aspect)
        longer = len(said) - (tracks.end - tracks.start)
        moved = {each.start - segment.body for each in (info, tracks)}
        free = void.end - void.start - longer
        file.seek(seek.start)
        file.write(_moved(head, seek, moved, longer) + _nothing(free) + head[info.start : info.end] + said)


def _display(height: int, width: int, aspect: Fraction) -> bytes:
    """How large a picture is shown whose pixels have this aspect: in pixels if that is exact, else as a ratio."""
    across, down, shape = width * aspect, height / aspect, width * aspect / height
    if across.denominator == 1:
        return _numbers(across.numerator, height, _PIXELS)
    if down.denominator == 1:
        return _numbers(width, down.numerator, _PIXELS)
    return _numbers(shape.numerator, shape.denominator, _RATIO)


def _numbers(width: int, height: int, unit: int) -> bytes:
    numbers = {_WIDTH: width, _HEIGHT: height, _UNIT: unit}
    return b"".join(_written(kind, value.to_bytes(8, "big").lstrip(b"\0") or b"\0") for kind, value in numbers.items())


def _with_display(head: bytes, tracks: Element, wanted: int, aspect: Fraction) -> bytes:
    """The tracks, one of which has a picture of pixels with this aspect."""
    track = [each for each in within(head, tracks.body, tracks.end) if each.kind == _TRACK][wanted]
    picture = next(each for each in within(head, track.body, track.end) if each.kind == _PICTURE)
    said = {each.kind: each for each in within(head, picture.body, picture.end)}
    # Of two eyes in one picture the muxer says itself how large one of them is.
    size = (said.get(_HEIGHT, said[_ROWS]), said.get(_WIDTH, said[_COLUMNS]))
    height, width = (int.from_bytes(head[each.body : each.end], "big") for each in size)
    others = [head[each.start : each.end] for kind, each in said.items() if kind not in {_WIDTH, _HEIGHT, _UNIT}]
    shown = _written(_PICTURE, b"".join(others) + _display(height, width, aspect))
    whole = _written(_TRACK, head[track.body : picture.start] + shown + head[picture.end : track.end])
    return _summed(_TRACKS, head[tracks.body : track.start] + whole + head[track.end : tracks.end])


def _moved(head: bytes, seek: Element, which: set[int], by: int) -> bytes:
    """The places of all elements, some of which begin `by` bytes earlier."""
    content = bytearray(head[seek.body : seek.end])
    for entry in within(head, seek.body, seek.end):
        if entry.kind == _SEEK:
            *_, place = within(head, entry.body, entry.end)
            start = int.from_bytes(head[place.body : place.end], "big")
            if start in which:
                earlier = (start - by).to_bytes(place.end - place.body, "big")
                content[place.body - seek.body : place.end - seek.body] = earlier
    return _summed(_SEEK_HEAD, bytes(content))


def _summed(kind: int, content: bytes) -> bytes:
    """An element with a checksum that fits, if it had one."""
    first = next(within(content, 0, len(content)))
    if first.kind == _CRC:
        rest = content[first.end :]
        content = _written(_CRC, zlib.crc32(rest).to_bytes(4, "little")) + rest
    return _written(kind, content)


def _nothing(length: int) -> bytes:
    """So many bytes that mean nothing, at least 2."""
    return _written(_VOID, bytes(length - 2)) if length <= 128 else _written(_VOID, bytes(length - 9), 8)


def _written(kind: int, content: bytes, digits: int = 0) -> bytes:
    """An element; its length is written in as few bytes as it takes, or in `digits`."""
    name = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    digits = digits or next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    return name + (len(content) | 1 << 7 * digits).to_bytes(digits, "big") + content
