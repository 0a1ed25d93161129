"""Headers of Matroska (RFC 9559), and one made from a stream: it says what FFmpeg knows and PyAV has no word for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import av
import av.error
import av.video.stream

from tasks.media.reading.whole import element

# Segment, tracks, track.
TRACK = (0x18538067, 0x1654AE6B, 0xAE)


class Element(NamedTuple):
    """An element: its ID, and where in the data it, its content and the next one begin."""

    kind: int
    start: int
    body: int
    end: int


def header_of(stream: av.video.stream.VideoStream) -> bytes:
    """The header of a film of this one stream; empty for a codec that Matroska has no place for."""
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska", options={"strict": "unofficial"}) as film:
            film.add_stream_from_template(stream, opaque=True)
            film.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return b""
    return header.getvalue()


def elements(header: bytes, *path: int) -> Iterator[tuple[int, bytes]]:
    """ID and content of each element within the first one that lies at the end of a path of IDs."""
    start, end = 0, len(header)
    for kind in path:
        found = next((each for each in within(header, start, end) if each.kind == kind), None)
        start, end = (found.body, found.end) if found else (0, 0)
    for each in within(header, start, end):
        yield each.kind, header[each.body : each.end]


def within(header: bytes, start: int, end: int) -> Iterator[Element]:
    """The elements in a part of a file's beginning; the last one may go on beyond it."""
    file = io.BytesIO(header)
    while start < end:
        kind, length, body = element(file, start)
        stop = end if length is None else body + length
        yield Element(kind, start, body, stop)
        start = stop
