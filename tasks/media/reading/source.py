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
import av.stream
import av.video.stream

from tasks.errors import SourceError
from tasks.media.reading.limits import Limits
from tasks.media.reading.whole import what_is_missing

# PyAV logs every demuxer remark to Python's logging, which takes the GIL inside decoder threads.
av.logging.set_level(None)

# How far FFmpeg looks for streams where it found too little by itself, in bytes and microseconds. It keeps them all.
_FURTHER = {"probesize": "100000000", "analyzeduration": "3600000000"}


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
def open_input(
    source: Source, limits: Limits | None = None, only: int | None = None
) -> Iterator[av.container.InputContainer]:
    """Open a container for reading.

    Args:
        source: the file.
        limits: for one of which nothing is known yet.
        only: index of the one stream that is read, so that those that begin late need not be looked for.

    Raises:
        SourceError: missing, unreadable, empty, or not a container FFmpeg knows.
    """
    place = source.place
    # The prefix keeps FFmpeg from reading a name such as "concat:x.mp4" as a protocol.
    target = f"file:{place}" if isinstance(place, str) else place
    try:
        container = _open_whole(target, limits.for_opening if limits else {}, only)
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        missing = what_is_missing(place)
        because = f"it is truncated: {missing}" if missing else _reason(error)
        raise SourceError(
            f"{source.label}: cannot be opened as a video ({because}). Check that the file is complete and is really a"
            " video, then run again."
        ) from error
    with container:
        yield container


def _open_whole(target: str | BinaryIO, options: dict[str, str], only: int | None) -> av.container.InputContainer:
    """Open a container with the streams that begin later than FFmpeg looks by itself."""
    container = _open(target, options)
    found = len(container.streams), _unknown(container)
    enough = not found[1] and container.format.name != "mpeg" if only is None else only < found[0]
    if enough:
        return container
    container.close()
    container = _open(target, options | _FURTHER)
    if (len(container.streams), _unknown(container)) == found:
        # What FFmpeg says of rates and lengths depends on how far it looked.
        container.close()
        container = _open(target, options)
    return container


def _unknown(container: av.container.InputContainer) -> int:
    """How many tracks of sound a container names of which nothing was found."""
    contexts = [stream.codec_context for stream in container.streams.audio]
    return sum(1 for context in contexts if context is not None and not (context.sample_rate and context.channels))


def _open(target: str | BinaryIO, options: dict[str, str]) -> av.container.InputContainer:
    _rewind(target)
    try:
        container = av.open(target, "r", options=options)
        container.chapters()  # their titles are read as text only now
    except UnicodeDecodeError:
        _rewind(target)
        # Tags older than Unicode: of those code pages this is the usual one.
        container = av.open(target, "r", options=options, metadata_encoding="cp1252", metadata_errors="replace")
    return container


def _rewind(target: str | BinaryIO) -> None:
    if not isinstance(target, str):
        target.seek(0)


@contextmanager
def source_errors(source: Source, doing: str) -> Iterator[None]:
    """Turn FFmpeg's errors into `SourceError`s that name the source and what was being done.

    So is what PyAV raises at the end of a file in which it met a stream that was not there when it was opened.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        raise SourceError(
            f"{source.label}: damaged while {doing} ({_reason(error)}). Fetch a good copy of the file, then run again."
        ) from error
    except IndexError as error:
        if not _is_of_streams(error):
            raise
        raise SourceError(
            f"{source.label}: one of its streams begins later than was looked for, and is not told of before. Copy it"
            " into a container that names its streams (`ffmpeg -probesize 2G -analyzeduration 2G -i IN -map 0 -c copy"
            " OUT.mkv`)."
        ) from error


def packets_of(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet[Any]]:
    """The packets of one stream, the empty one at the end too, whatever others begin later than was looked for."""
    try:
        yield from container.demux(stream)
    except IndexError as error:  # raised when all is read
        if not _is_of_streams(error):
            raise


def _is_of_streams(error: IndexError) -> bool:
    """True if a container was asked for a stream that it does not know."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code.co_filename.endswith("av/container/streams.py")


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
