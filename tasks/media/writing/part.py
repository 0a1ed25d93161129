"""A source cut into parts where its picture changes, each a file of the same kind; nothing is decoded, nothing lost.

Every packet is in exactly one part: those of the picture from the key frame on that a part begins with, all others by
when they are shown; sound also once its times have gone back, as they may at a splice. A part's picture begins when the
source's does, and everything keeps its place beside it. A copy does not say any more what was missing from its source,
so of what is damaged none is made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
from av.packet import Packet

from tasks.errors import UnsupportedSource
from tasks.media.reading.source import Source, name_of, open_input, source_errors
from tasks.media.writing.carry import refusal

# Bumped when the same source would be cut otherwise.
PART_VERSION = 1
# By what a demuxer calls it: the muxer of the same kind, and what lets times stay as they are.
_MUXERS: dict[str, tuple[str, dict[str, str]]] = {"mpeg": ("vob", {}), "mpegts": ("mpegts", {"mpegts_copyts": "1"})}
# As on Blu-ray discs and in cameras, where some kinds of sound and subtitles have numbers of their own.
_OF_DISCS = frozenset({".m2t", ".m2ts", ".mts"})
_TOLD_LATE = 2  # pictures by which the demuxer may be ahead of one that it says was torn


@dataclass(frozen=True)
class Copies:
    """What was written: the index of the picture in every part, and what could not be copied, in words."""

    picture: int
    lost: tuple[str, ...]


def write_parts(
    source: Source, stream_index: int, at: Sequence[int], places: Sequence[str], without: Collection[str] = ()
) -> Copies:
    """Copy the parts of a source into files.

    Args:
        source, stream_index: of the picture.
        at: timestamps of the key frames that every part but the first begins with, rising.
        places: local files to create, one a part.
        without: kinds of streams that no master is to have: copies need not hold them.

    Raises:
        SourceError: the source is damaged.
        UnsupportedSource: it is of a kind that cannot be cut, parts of it are missing, its packets do not say when they
            are shown, or what was written does not hold what was to be.
        OSError: the disk is full or not writable.
    """
    with open_input(source) as original, ExitStack() as opened:
        if original.format.name not in _MUXERS:
            raise UnsupportedSource(f"{source.label}: cannot be cut, as it is {original.format.long_name}.")
        muxer, options = _MUXERS[original.format.name]
        options = {"fflags": "+bitexact", **options}
        if source.suffix.lower() in _OF_DISCS:
            options["mpegts_m2ts_mode"] = "1"
        outputs = [opened.enter_context(av.open(f"file:{place}", "w", muxer, options)) for place in places]
        laid_out = [_lay_out(original, output) for output in outputs]
        targets = [streams for streams, _ in laid_out]
        base = original.streams[stream_index].time_base
        assert base is not None
        cut = _Cut(stream_index, base, tuple(at))
        with source_errors(source, "cutting it"):
            for packet in original.demux([stream for stream in original.streams if stream.index in targets[0]]):
                if packet.size:
                    cut.require_whole(packet, source)
                    part = cut.place(packet)
                    packet.stream = targets[part][packet.stream_index]
                    _mux(outputs[part], packet, source)
            cut.require_whole(None, source)
        wanted = (original.streams[index] for index in targets[0])
        kinds = [_kind(stream) for stream in wanted if stream.type not in without]
    for place in places:
        _require_all(source, place, kinds)
    return Copies(targets[0][stream_index].index, laid_out[0][1])


class _Cut:
    """Which part each packet goes into, with its times counted anew."""

    def __init__(self, picture: int, base: Fraction, at: tuple[int, ...]) -> None:
        self._picture, self._base, self._at = picture, base, at
        self._part = 0  # that the picture has come to
        self._last: dict[int, tuple[int, int]] = {}  # part and decoding time of each sound's latest packet
        self._began: int | None = None
        self._torn: list[float] = []  # when the pictures are shown from one on of which something is missing

    def require_whole(self, packet: Packet[Any] | None, source: Source) -> None:
        """Refuse a source of whose picture something is missing; None is its end.

        Where files were joined, packets are numbered anew, so that the last ones before seem to lack something.
        """
        if packet is None or packet.stream_index == self._picture:
            begins = packet is not None and packet.is_keyframe and packet.pts in self._at
            if begins:
                self._torn.clear()
            elif self._torn and (packet is None or len(self._torn) > _TOLD_LATE):
                raise UnsupportedSource(f"{source.label}: cannot be cut, as it is damaged at {self._torn[0]:.2f} s.")
            elif packet is not None and (self._torn or (packet.is_corrupt and self._began is not None)):
                self._torn.append(float((packet.pts or packet.dts or 0) * packet.time_base))

    def place(self, packet: Packet[Any]) -> int:
        """The part of the next packet, whose times become the part's."""
        part = self._part_of(packet)
        if part:
            back = round((self._at[part - 1] - (self._began or 0)) * self._base / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - back
            packet.dts = None if packet.dts is None else packet.dts - back
        return part

    def _part_of(self, packet: Packet[Any]) -> int:
        if packet.stream_index == self._picture:
            self._began = packet.pts if self._began is None else self._began
            if packet.is_keyframe and packet.pts in self._at:
                self._part = self._at.index(packet.pts) + 1
            return self._part
        if packet.pts is None:
            return self._part
        part = bisect_right(self._at, packet.pts * packet.time_base / self._base)
        if packet.stream.type == "audio" and packet.dts is not None:
            before, last = self._last.get(packet.stream_index, (0, packet.dts))
            part = max(part, before)
            if part == before < len(self._at) and packet.dts < last:
                part += 1
            self._last[packet.stream_index] = part, packet.dts
        return part


def _kind(stream: Any) -> tuple[str, str]:
    return stream.type, stream.codec_context.name if stream.codec_context is not None else name_of(stream)


def _require_all(source: Source, place: str, kinds: list[tuple[str, str]]) -> None:
    """Refuse what does not read as it was written: some kinds of streams have no name in some containers."""
    with open_input(Source(place, f"a part of {source.label}")) as part:
        found = [_kind(stream) for stream in part.streams]
    gone = [f"{type} {codec}" for type, codec in kinds if kinds.count((type, codec)) > found.count((type, codec))]
    if gone:
        raise UnsupportedSource(f"{source.label}: cannot be cut, as a copy does not hold its {', '.join(gone)}.")


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
