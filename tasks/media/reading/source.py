"""Opening a source or a segment with PyAV, with errors a person can act on. Knows nothing of where the bytes live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import av
import av.container
import av.error
import av.video.stream

from tasks.errors import SourceError
from tasks.media.reading.limits import Limits
from tasks.media.reading.whole import what_is_missing

# PyAV logs every demuxer remark to Python's logging, which takes the GIL inside decoder threads.
av.logging.set_level(None)


@dataclass(frozen=True)
class Source:
    """A video to read: `place` is a local path or a seekable binary file, `label` is what a person calls it."""

    place: str | BinaryIO
    label: str

    @property
    def suffix(self) -> str:
        """The ending of what a person calls it, with its dot."""
        return PurePosixPath(self.label).suffix


@contextmanager
def open_input(source: Source, limits: Limits | None = None) -> Iterator[av.container.InputContainer]:
    """Open a container for reading; with `limits`, one of which nothing is known yet.

    Raises:
        SourceError: missing, unreadable, empty, or not a container FFmpeg knows.
    """
    place = source.place
    # The prefix keeps FFmpeg from reading a name such as "concat:x.mp4" as a protocol.
    target = f"file:{place}" if isinstance(place, str) else place
    if not isinstance(place, str):
        place.seek(0)
    try:
        container = _open(target, limits.for_opening if limits else {})
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        missing = what_is_missing(place)
        because = f"it is truncated: {missing}" if missing else _reason(error)
        raise SourceError(
            f"{source.label}: cannot be opened as a video ({because}). Check that the file is complete and is really a"
            " video, then run again."
        ) from error
    with container:
        yield container


def _open(target: str | BinaryIO, options: dict[str, str]) -> av.container.InputContainer:
    try:
        container = av.open(target, "r", options=options)
        container.chapters()  # their titles are read as text only now
    except UnicodeDecodeError:
        if not isinstance(target, str):
            target.seek(0)
        # Tags older than Unicode: of those code pages this is the usual one.
        container = av.open(target, "r", options=options, metadata_encoding="cp1252", metadata_errors="replace")
    return container


@contextmanager
def source_errors(source: Source, doing: str) -> Iterator[None]:
    """Turn FFmpeg's errors into `SourceError`s that name the source and what was being done."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise SourceError(
            f"{source.label}: damaged while {doing} ({_reason(error)}). Fetch a good copy of the file, then run again."
        ) from error


def video_stream(
    container: av.container.InputContainer, index: int, damaged: bool = False
) -> av.video.stream.VideoStream:
    """The video stream at `index`, set up for exact decoding: on all cores, unless it is known to be damaged.

    What a decoder makes up, it makes of what it has at that moment, which with threads is another thing each time.
    """
    stream = container.streams[index]
    assert isinstance(stream, av.video.stream.VideoStream)
    stream.thread_type = "NONE" if damaged else "AUTO"
    if damaged:
        stream.codec_context.thread_count = 1
    # MPEG-2 and MPEG-4 inverse transforms differ by a code between CPUs unless the exact ones are asked for.
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    return stream


def name_of(stream: Any) -> str:
    """FFmpeg's name of a stream's codec; empty for a stream of one that it does not know."""
    return getattr(stream, "name", None) or ""


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
