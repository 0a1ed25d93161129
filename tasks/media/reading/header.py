"""A Matroska header made from a stream: it says what FFmpeg knows of the stream and PyAV has no word for (RFC 9559)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import av.error
import av.video.stream

from tasks.media.reading.whole import element

# Segment, tracks, track.
TRACK = (0x18538067, 0x1654AE6B, 0xAE)


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
    for kind in path:
        header = next((content for found, content in elements(header) if found == kind), b"")
    file, place = io.BytesIO(header), 0
    while place < len(header):
        kind, length, body = element(file, place)
        if not kind:
            return
        place = len(header) if length is None else body + length
        yield kind, header[body:place]
