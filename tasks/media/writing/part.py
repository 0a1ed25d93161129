"""A source cut into parts where its picture changes, each a file of the same kind; nothing is decoded, nothing lost.

Every packet is in exactly one part: those of the picture from the key frame on that a part begins with, all others by
when they are shown, or once their times have gone back, as they may at a splice. A part's picture begins when the
source's does, and everything keeps its place beside it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
from av.packet import Packet

from tasks.errors import UnsupportedSource
from tasks.media.reading.source import Source, open_input, source_errors
from tasks.media.writing.carry import refusal

# Bumped when the same source would be cut otherwise.
PART_VERSION = 1
# FFmpeg's own name for what it reads as "mpeg"; times are those of the packets.
_MUXERS = {"mpeg": "vob", "mpegts": "mpegts"}
_OPTIONS = {"fflags": "+bitexact", "mpegts_copyts": "1"}


def write_parts(source: Source, stream_index: int, at: Sequence[int], places: Sequence[str]) -> tuple[str, ...]:
    """Copy the parts of a source into files.

    Args:
        source, stream_index: of the picture.
        at: timestamps of the key frames that every part but the first begins with, rising.
        places: local files to create, one a part.

    Returns:
        What could not be copied, in words.

    Raises:
        SourceError: the source is damaged.
        UnsupportedSource: it is of a kind that cannot be cut, or its packets do not say when they are shown.
        OSError: the disk is full or not writable.
    """
    with open_input(source) as original, ExitStack() as opened:
        muxer = _MUXERS.get(original.format.name)
        if muxer is None:
            raise UnsupportedSource(f"{source.label}: cannot be cut, as it is {original.format.long_name}.")
        outputs = [opened.enter_context(av.open(f"file:{place}", "w", muxer, _OPTIONS)) for place in places]
        laid_out = [_lay_out(original, output) for output in outputs]
        targets = [streams for streams, _ in laid_out]
        base = original.streams[stream_index].time_base
        assert base is not None
        cut = _Cut(stream_index, base, tuple(at))
        with source_errors(source, "cutting it"):
            packets = original.demux([stream for stream in original.streams if stream.index in targets[0]])
            for packet in packets:
                if packet.size:
                    part = cut.place(packet)
                    packet.stream = targets[part][packet.stream_index]
                    _mux(outputs[part], packet, source)
    return laid_out[0][1]


class _Cut:
    """Which part each packet goes into, with its times counted anew."""

    def __init__(self, picture: int, base: Fraction, at: tuple[int, ...]) -> None:
        self._picture, self._base, self._at = picture, base, at
        self._last: dict[int, tuple[int, int]] = {}  # part and decoding time of each stream's latest packet
        self._began: int | None = None

    def place(self, packet: Packet[Any]) -> int:
        """The part of the next packet, whose times become the part's."""
        before, last = self._last.get(packet.stream_index, (0, None))
        part = before
        if packet.stream_index == self._picture:
            self._began = packet.pts if self._began is None else self._began
            if packet.is_keyframe and packet.pts in self._at:
                part = self._at.index(packet.pts) + 1
        elif packet.pts is not None:
            part = max(part, bisect_right(self._at, packet.pts * packet.time_base / self._base))
            if part == before < len(self._at) and last is not None and packet.dts is not None and packet.dts <= last:
                part += 1
        if packet.dts is not None:
            self._last[packet.stream_index] = part, packet.dts
        if part:
            back = round((self._at[part - 1] - (self._began or 0)) * self._base / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - back
            packet.dts = None if packet.dts is None else packet.dts - back
        return part


def _lay_out(
    original: av.container.InputContainer, output: av.container.OutputContainer
) -> tuple[dict[int, Any], tuple[str, ...]]:
    """Streams of a part by index in the source, and what it cannot hold."""
    targets: dict[int, Any] = {}
    lost = []
    stream: Any
    for stream in original.streams:
        why = refusal(output.format.name, stream)
        if why:
            lost.append(f"stream {stream.index} ({stream.type}) is not in its parts: {why}")
            continue
        targets[stream.index] = target = output.add_stream_from_template(stream, opaque=True)
        target.disposition = stream.disposition
        target.metadata.update(stream.metadata)
    output.metadata.update(original.metadata)
    return targets, tuple(lost)


def _mux(output: av.container.OutputContainer, packet: Packet[Any], source: Source) -> None:
    try:
        output.mux(packet)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise UnsupportedSource(
            f"{source.label}: cannot be cut, as a packet of it cannot be copied ({error.strerror})."
        ) from error
