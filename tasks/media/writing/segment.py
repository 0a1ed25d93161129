"""Segments: the lossless intermediate files (FFV1 in Matroska) that shards become. Written by workers, read at finish.

A segment knows frame numbers, not times: frame n of the title has timestamp n milliseconds, which Matroska holds
exactly; the master takes its times from the title's frame table. The files are bit-exact: the same frames give the
same bytes.

Each slice of a frame ends in a checksum. FFmpeg's decoder only logs one that is wrong and shows an older picture in its
place, whatever `err_detect` says: they are looked at here, before a frame is decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Protocol

import av
import av.container
import av.video.stream

from tasks.errors import SourceError
from tasks.media.picture.pixels import Layout, Planes, to_frame, to_planes
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.media.writing.encode import ffv1_slices

# Bumped when the bytes of a segment change for the same frames.
SEGMENT_VERSION = 2
_TICK = Fraction(1, 1000)
# What ends a slice (RFC 9043, 4.9): its length in 3 bytes, a byte of no concern here, and its checksum in 4.
_FOOTER = 8
# Bytes with their bits the other way round: FFV1's CRC-32 takes the highest bit first, zlib's the lowest.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# What zlib makes of bytes whose CRC, from 0 on and with itself at the end, is 0; and what it is to begin with for that.
_NOTHING = 0xFFFFFFFF
_READ = 2**20  # bytes at a time


class SegmentWriter:
    """Writes one segment; use as a context manager. Not thread-safe."""

    def __init__(self, path: str, height: int, width: int, layout: Layout, first_frame: int, threads: int = 0) -> None:
        """Open the file.

        Args:
            path: a local file to create.
            height, width: of the frames to come.
            layout: of their planes.
            first_frame: frame number in the title of the first one.
            threads: for coding; 0 takes one a core.
        """
        self._layout = layout
        self._next = first_frame
        self._container = av.open(f"file:{path}", "w", format="matroska", options={"fflags": "+bitexact"})
        slices = str(ffv1_slices(height, width))
        self._stream: av.video.stream.VideoStream = self._container.add_stream(
            "ffv1", options={"level": "3", "slicecrc": "1", "slices": slices, "g": "1"}
        )
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = _coded(layout)
        self._stream.codec_context.time_base = _TICK
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._stream.codec_context.thread_count = threads
        self._stream.codec_context.thread_type = "SLICE"

    def write(self, planes: Planes) -> None:
        """Append a frame."""
        frame = to_frame(planes, self._layout)
        if _coded(self._layout) != self._layout.pix_fmt:
            frame = frame.reformat(format=_coded(self._layout), threads=1)
        frame.pts, frame.time_base = self._next, _TICK
        self._next += 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()


def read_segment_frame(source: Source, layout: Layout, number: int) -> Planes:
    """Frame `number` of the title from a segment that holds it, without decoding the others: every one is a key frame.

    Raises:
        SourceError: damaged, or not holding it.
    """
    with open_input(source) as container, source_errors(source, "decoding a segment"):
        stream = video_stream(container, 0)
        stream.thread_type = "SLICE"  # frames in parallel would be decoded for nothing
        assert stream.time_base is not None
        container.seek(int(number * _TICK / stream.time_base), stream=stream)
        for frame in _whole_frames(container, stream, source):
            assert frame.time_base is not None and frame.pts is not None
            if frame.pts * frame.time_base == number * _TICK:
                return to_planes(frame, layout)
    raise SourceError(f"{source.label}: does not hold frame {number}; delete it and rerun.")


def read_segment(source: Source, layout: Layout, start: int, stop: int) -> Iterator[av.VideoFrame]:
    """Decode a segment and prove that it holds frames [start, stop) of the title.

    Raises:
        SourceError: damaged, or not holding exactly those frames.
    """
    with open_input(source) as container, source_errors(source, "decoding a segment"):
        yield from _these_frames(container, source, layout, start, stop)


class Reads(Protocol):
    """What can be read from front to back."""

    def read(self, size: int) -> bytes:
        """Up to so many bytes more; none at the end."""


def read_passing_segment(file: Reads, label: str, layout: Layout, start: int, stop: int) -> Iterator[av.VideoFrame]:
    """The same of a segment that is read from front to back, and no byte of it twice.

    Raises:
        SourceError: see `read_segment`.
    """
    source = Source(label, label)
    with (
        source_errors(source, "decoding a segment"),
        av.open(file, "r", format="matroska", buffer_size=_READ) as container,
    ):
        yield from _these_frames(container, source, layout, start, stop)


def _these_frames(
    container: av.container.InputContainer, source: Source, layout: Layout, start: int, stop: int
) -> Iterator[av.VideoFrame]:
    expected = start
    for frame in _whole_frames(container, video_stream(container, 0), source):
        assert frame.time_base is not None and frame.pts is not None
        if frame.pts * frame.time_base != expected * _TICK or frame.format.name != _coded(layout):
            raise SourceError(f"{source.label}: holds frame {frame.pts} where {expected} was due; delete it and rerun.")
        expected += 1
        yield frame if frame.format.name == layout.pix_fmt else frame.reformat(format=layout.pix_fmt, threads=1)
    if expected != stop:
        raise SourceError(f"{source.label}: ends at frame {expected}, not {stop}; delete it and rerun.")


def _whole_frames(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, source: Source
) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
        if not _is_whole(bytes(packet)):
            number = packet.pts * packet.time_base / _TICK if packet.pts is not None else "?"
            raise SourceError(f"{source.label}: frame {number} is damaged; delete it and rerun.")
        yield from packet.decode()


def _is_whole(packet: bytes) -> bool:
    """True if every slice has the checksum that it ends in; slices are found from the last one on."""
    data, end = memoryview(packet.translate(_REVERSED)), len(packet)
    while end > 0:
        length = int.from_bytes(packet[end - _FOOTER : end - _FOOTER + 3], "big") + _FOOTER
        if length > end or zlib.crc32(data[end - length : end], _NOTHING) != _NOTHING:
            return False
        end -= length
    return True


def _coded(layout: Layout) -> str:
    """The pixel format of a segment: FFV1 has no planar 8-bit RGB."""
    return {"gbrp": "bgr0", "gbrap": "bgra"}.get(layout.pix_fmt, layout.pix_fmt)
