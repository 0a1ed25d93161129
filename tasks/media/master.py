"""Writing a master: the upscaled picture encoded, and everything else the source carries copied packet by packet.

Timestamps of the picture come from the title's frame table, so a master shows every frame exactly when the source did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import av.container
import av.error
import av.stream
import numpy as np
from av.packet import Packet

from tasks.errors import UnsupportedSource
from tasks.media.colour import Colour
from tasks.media.encode import (
    MUXER,
    Container,
    EncodeSettings,
    add_picture,
    containers_for,
    movie_timescale,
)
from tasks.media.pixels import Layout
from tasks.media.probe import Probe
from tasks.media.source import Source, name_of, open_input, source_errors
from tasks.media.timeline import Timeline

# Bumped when the same streams would be muxed differently.
MASTER_VERSION = 2
# libx265 reorders by up to so many frames, and gives fewer than that decoding times from memory it never set.
_REORDERED = 2
# Written by the muxer itself, or true only of the source file.
_CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
_PICTURE_TAGS = {"encoder", "duration", "bps", "number_of_frames", "number_of_bytes"}


@dataclass(frozen=True)
class Picture:
    """What the master's picture is: size in samples, layout, colour, and the timestamps of its frames."""

    height: int
    width: int
    layout: Layout
    colour: Colour
    timeline: Timeline


@dataclass(frozen=True)
class Contents:
    """What a master was given: the index of its picture, and what became of every other stream of the source."""

    picture: int
    copied: tuple[Copied, ...]


@dataclass(frozen=True)
class Copied:
    """A stream that was copied, or could not be.

    Attributes:
        source_index: in the source.
        index: in the master; -1 if it could not be carried.
        type, codec: as FFmpeg names them.
        packets: how many.
        sha256: over the packets' payloads in order.
        reason: why it is not in the master; empty when it is.
    """

    source_index: int
    index: int
    type: str
    codec: str
    packets: int
    sha256: str
    reason: str = ""


def choose_container(
    probe: Probe, source: Source, settings: EncodeSettings, wanted: str
) -> tuple[Container, list[str]]:
    """The container for a title's master, and remarks on what it cannot hold exactly.

    Args:
        wanted: "auto" takes the source's own kind if it can hold everything, else the first that can.
    """
    possible = containers_for(settings.codec)
    if wanted != "auto":
        order: list[Container] = [c for c in possible if c == wanted]
    else:
        native = _native_container(probe, source)
        order = sorted(possible, key=lambda c: c != native)
    verdicts = [(container, _cannot_hold(container, probe, source)) for container in order]
    best, remarks = min(verdicts, key=lambda v: (sum("not carried" in remark for remark in v[1]), len(v[1])))
    return best, remarks


def write_master(
    path: str,
    container_name: Container,
    source: Source,
    probe: Probe,
    settings: EncodeSettings,
    picture: Picture,
    frames: Iterable[av.VideoFrame],
) -> Contents:
    """Encode `frames` and mux them with a copy of every other stream of the source.

    Args:
        path: a local file to create.
        frames: one a row of `picture.timeline`, in order, of `picture`'s size and layout.

    Returns:
        What the master holds, with a hash of every copied stream.

    Raises:
        SourceError: the source is damaged.
        UnsupportedSource: the container does not take what the source holds, timestamps for instance.
        OSError: the disk is full or not writable.
    """
    with open_input(source) as original:
        bases = [s.time_base or Fraction(0) for s in original.streams]
        options = _muxer_options(container_name, bases)
        with av.open(f"file:{path}", "w", format=MUXER[container_name], options=options) as output:
            video, targets, copied = _lay_out(original, output, probe, settings, picture)
            output.metadata.update(_kept(original.metadata, _CONTAINER_TAGS))
            if original.chapters():
                output.set_chapters(original.chapters())
            output.start_encoding()
            copies = _copy(original, source, targets, copied)
            encoded = _encode(video, picture, frames)
            for packet in _by_time(encoded, copies):
                _mux(output, packet, source)
    return Contents(
        picture=video.index,
        copied=tuple(
            Copied(i, c.index, c.type, c.codec, c.packets, c.hash.hexdigest(), c.reason)
            for i, c in sorted(copied.items())
        ),
    )


def _mux(output: av.container.OutputContainer, packet: Packet[Any], source: Source) -> None:
    kind, index = packet.stream.type, packet.stream.index
    try:
        output.mux(packet)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise  # the disk, which another attempt may find better
        raise UnsupportedSource(
            f"{source.label}: {output.format.name} does not take a packet of its master's stream {index} ({kind};"
            f" {error.strerror}). Choose another master.container."
        ) from error


def payload(packet: Packet[Any], codec: str) -> bytes:
    """A packet's bytes as they are compared: AAC without the ADTS header, which only transport streams keep."""
    data = bytes(packet)
    if codec.startswith("aac") and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def is_gap(packet: Packet[Any], codec: str) -> bool:
    """True for the empty samples with which MP4 fills the time between two subtitles: muxers make them anew."""
    return codec == "mov_text" and packet.size == 2 and bytes(packet) == b"\0\0"


@dataclass
class _Copy:
    """A copied stream while it is being copied."""

    index: int
    type: str
    codec: str
    reason: str
    hash: Any
    packets: int = 0
    last_dts: int | None = None
    last_duration: int = 0


def _lay_out(
    original: av.container.InputContainer,
    output: av.container.OutputContainer,
    probe: Probe,
    settings: EncodeSettings,
    picture: Picture,
) -> tuple[Any, dict[int, Any], dict[int, _Copy]]:
    """Make the master's streams in the source's order."""
    video: Any = None
    targets: dict[int, Any] = {}
    copied: dict[int, _Copy] = {}
    stream: Any
    for stream in original.streams:
        if stream.index == probe.stream:
            video = add_picture(
                output, settings, picture.height, picture.width, picture.layout, picture.colour, probe.time_base,
                probe.frame_rate, probe.sample_aspect,
            )  # fmt: skip
            if probe.display_matrix is not None:
                video.set_display_matrix(probe.display_matrix)
            video.metadata.update(_kept(stream.metadata, _PICTURE_TAGS))
            video.disposition = stream.disposition
            continue
        reason = _made_anew(stream, original) or _refusal(output.format.name, stream)
        target = None if reason else _clone(output, stream)
        codec = stream.codec_context.name if stream.codec_context is not None else (name_of(stream) or stream.type)
        copied[stream.index] = _Copy(target.index if target else -1, stream.type, codec, reason, hashlib.sha256())
        if target is not None:
            targets[stream.index] = target
            if stream.type == "attachment":
                copied[stream.index].hash.update(stream.data)
                copied[stream.index].packets = 1
    return video, targets, copied


def _clone(output: av.container.OutputContainer, stream: Any) -> Any:
    if stream.type == "attachment":
        name, kind = stream.metadata.get("filename", f"attachment{stream.index}"), stream.mimetype
        return output.add_attachment(name, kind or "application/octet-stream", stream.data)
    target: Any = output.add_stream_from_template(stream, opaque=True)
    target.metadata.update(_kept(stream.metadata, {"duration"}))
    target.disposition = stream.disposition
    return target


def _refusal(muxer: str, stream: Any) -> str:
    """Why a muxer would not take a stream, found out by trying; empty if it would."""
    if stream.type == "data" and muxer == "matroska":
        return "Matroska has no such track"  # the muxer would accept it and write nothing
    try:
        with av.open(BytesIO(), "w", format=muxer) as trial:
            _clone(trial, stream)
            trial.start_encoding()
    except (ValueError, av.error.FFmpegError) as error:
        return f"{muxer} cannot hold it ({getattr(error, 'strerror', error)})"
    return ""


def _made_anew(stream: Any, original: av.container.InputContainer) -> str:
    """Says so of QuickTime's helper tracks, which the muxer writes from chapters and from the picture's timecode."""
    if stream.type != "data" or stream.codec_context is not None:
        return ""
    if "timecode" in stream.metadata:
        return "holds the timecode, which the master carries as timecode"
    if original.chapters() and name_of(stream) == "bin_data" and not stream.disposition:
        return "holds the chapters, which the master carries as chapters"
    return ""


def _encode(video: Any, picture: Picture, frames: Iterable[av.VideoFrame]) -> Iterator[Packet[Any]]:
    colour, times = picture.colour, picture.timeline.pts.tolist()
    shown = dict(zip(times, _durations(picture.timeline), strict=True))
    for frame, when in zip(frames, times, strict=True):
        frame.pts, frame.time_base = when, video.codec_context.time_base
        frame.color_range = 2 if colour.full_range else 1
        frame.colorspace, frame.color_primaries, frame.color_trc = colour.matrix, colour.primaries, colour.transfer
        frame.pict_type = 0
        yield from _timed(video.encode(frame), shown)
    yield from _timed(video.encode(None), shown)


def _timed(packets: list[Packet[Any]], shown: dict[int, int]) -> Iterator[Packet[Any]]:
    for packet in packets:
        assert packet.pts is not None
        packet.duration = shown[packet.pts]
        if len(shown) <= _REORDERED:
            packet.dts = packet.pts
        yield packet


def _durations(timeline: Timeline) -> list[int]:
    """How long each frame is shown: until the next one; the last as the source says, or as long as the one before."""
    until_next = np.diff(timeline.pts).tolist()
    last = int(timeline.duration[-1]) or (until_next[-1] if until_next else 1)
    return [*until_next, last]


def _copy(
    original: av.container.InputContainer, source: Source, targets: dict[int, Any], copied: dict[int, _Copy]
) -> Iterator[Packet[Any]]:
    wanted = [s for s in original.streams if s.index in targets and s.type != "attachment"]
    if not wanted:
        return
    with source_errors(source, "copying its other streams"):
        for packet in original.demux(wanted):
            if packet.size == 0:
                continue  # the demuxer's end mark
            state = copied[packet.stream_index]
            if is_gap(packet, state.codec):
                continue
            state.hash.update(payload(packet, state.codec))
            state.packets += 1
            if packet.dts is None:
                # Matroska stores no decoding times; muxers need rising ones.
                packet.dts = packet.pts if state.last_dts is None else max(packet.pts or 0, state.last_dts + 1)
            if not packet.duration and state.type == "data":
                # QuickTime's edit list would end before a last sample that lasts no time.
                packet.duration = state.last_duration
            state.last_dts, state.last_duration = packet.dts, packet.duration or 0
            packet.stream = targets[packet.stream_index]
            yield packet


def _by_time(*flows: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Merge packet flows by decoding time, holding one packet of each, so that neither runs ahead."""
    heads = [(flow, packet) for flow in flows if (packet := next(flow, None)) is not None]
    while heads:
        position = min(range(len(heads)), key=lambda i: _seconds(heads[i][1]))
        flow, packet = heads[position]
        yield packet
        following = next(flow, None)
        if following is None:
            del heads[position]
        else:
            heads[position] = (flow, following)


def _seconds(packet: Packet[Any]) -> float:
    when = packet.dts if packet.dts is not None else packet.pts
    return float((when or 0) * packet.time_base)


def _kept(tags: dict[str, str], dropped: set[str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k.lower() not in dropped and not k.lower().startswith("_statistics")}


def _muxer_options(container: Container, time_bases: list[Fraction]) -> dict[str, str]:
    options = {"fflags": "+bitexact"}
    if container in {"mp4", "mov"}:
        # Edit lists count in the movie's own ticks: too coarse ones would round the streams' start offsets.
        options |= {"movflags": "+faststart", "movie_timescale": str(movie_timescale(time_bases))}
    return options


def _native_container(probe: Probe, source: Source) -> Container:
    suffix = source.label.rsplit(".", 1)[-1].lower()
    if suffix == "mov":
        return "mov"
    return "mkv" if "matroska" in probe.container else "mp4"


def _cannot_hold(container: Container, probe: Probe, source: Source) -> list[str]:
    """What of a source a container cannot hold, in words."""
    remarks = []
    if container == "mkv" and (probe.time_base * 1000).denominator != 1:
        remarks.append(f"mkv rounds times of 1/{probe.time_base.denominator} s to milliseconds")
    with open_input(source) as original:
        for stream in original.streams:
            if stream.index != probe.stream and not _made_anew(stream, original):
                refusal = _refusal(MUXER[container], stream)
                if refusal:
                    remarks.append(f"stream {stream.index} ({stream.type}) is not carried: {refusal}")
    return remarks
