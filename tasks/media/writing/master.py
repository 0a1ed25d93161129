"""Writing a master: the upscaled picture encoded, and everything else the source carries copied packet by packet.

Timestamps of the picture come from the title's frame table, so a master shows every frame exactly when the source did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import av.container
import av.error
import numpy as np
from av.packet import Packet

from tasks.errors import UnsupportedSource
from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.probe import Probe
from tasks.media.reading.projection import Projection
from tasks.media.reading.siting import unsaid_siting
from tasks.media.reading.source import Source, open_input
from tasks.media.reading.timecode import is_timecode, restated
from tasks.media.reading.timeline import Timeline
from tasks.media.writing.bitstream import OfFrame, Said, Sayer
from tasks.media.writing.carry import (
    LEFT_OUT,
    Carried,
    Copied,
    carry,
    copy_packets,
    in_its_words,
    is_helper,
    is_still,
    kept_as,
    kept_tags,
    refusal,
    still_pictures,
)
from tasks.media.writing.codecs import MUXER, STILLS, Container, EncodeSettings, containers_for, master_layout
from tasks.media.writing.display_size import SILENT, say_display_size
from tasks.media.writing.encode import add_picture, movie_timescale
from tasks.media.writing.held import not_held
from tasks.media.writing.join import Range, encode_ranges
from tasks.media.writing.languages import UNSPOKEN, code_in
from tasks.media.writing.sound import BY_SAMPLES, cuts_off
from tasks.media.writing.tags import COVERLESS, best_kept
from tasks.media.writing.words import BY_WORDS

# Bumped when the same streams would be muxed differently.
MASTER_VERSION = 5
# libx265 reorders by up to so many frames, and gives fewer than that decoding times from memory it never set.
_REORDERED = 2
# Written by the muxer itself, or true only of the source file.
_CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
ALONE = "image files hold the picture alone"
_PICTURE_TAGS = {"encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "alpha_mode"}


@dataclass(frozen=True)
class Picture:
    """What the master's picture is.

    Attributes:
        height, width: in samples.
        layout, colour: of its frames.
        timeline: the table of its frames.
        time_base: seconds a tick of that; unset: the source's.
        frame_rate: average; unset: the source's.
        said: what it says of itself.
        messages: what each frame says besides (ITU-T T.35), taken as far as frames are written; or nothing at all.
        sample_aspect: pixel width over height; unset: the source's.
    """

    height: int
    width: int
    layout: Layout
    colour: Colour
    timeline: Timeline
    time_base: Fraction | None = None
    frame_rate: Fraction | None = None
    said: Said = field(default_factory=Said)
    messages: Iterable[Sequence[bytes]] | None = None
    sample_aspect: Fraction | None = None


@dataclass(frozen=True)
class Contents:
    """What a master was given: the index of its picture, and what became of every other stream of the source."""

    picture: int
    copied: tuple[Copied, ...]


def choose_container(
    probe: Probe, source: Source, settings: EncodeSettings, wanted: str
) -> tuple[Container, list[str]]:
    """The container for a title's master, and remarks on what it cannot hold exactly.

    Args:
        wanted: "auto" takes the source's own kind if it can hold everything, else the first that can.
    """
    possible = containers_for(settings.codec)
    if settings.codec in STILLS:
        others = [
            f"stream {s.index} ({s.type}) is not carried: {ALONE}" for s in probe.streams if s.index != probe.stream
        ]
        return possible[0], [*others, *not_held(possible[0], settings.codec, probe, _family(settings, probe, source))]
    if wanted != "auto":
        order: list[Container] = [c for c in possible if c == wanted]
    else:
        native = _native_container(probe, source)
        order = sorted(possible, key=lambda c: c != native)
    verdicts = [(container, _cannot_hold(container, settings, probe, source)) for container in order]
    best, remarks = min(verdicts, key=lambda v: (sum("not carried" in remark for remark in v[1]), len(v[1])))
    return best, remarks


def write_master(
    path: str,
    container_name: Container,
    source: Source,
    probe: Probe,
    settings: EncodeSettings,
    picture: Picture,
    ranges: Sequence[Range],
) -> Contents:
    """Encode a picture and mux it with a copy of every other stream of the source.

    Args:
        path: a local file to create, in a folder that the caller removes if this fails.
        ranges: of the picture, in order; together a frame a row of `picture.timeline`, of its size and layout.

    Returns:
        What the master holds, with a hash of every copied stream.

    Raises:
        SourceError: the source is damaged.
        UnsupportedSource: the container does not take what the source holds, timestamps for instance; or the encoders
            of several ranges gave streams that do not go together.
        OSError: the disk is full or not writable.
    """
    # Before it is opened for copying: a remote file has one position.
    stills = still_pictures(source)
    with open_input(source) as original:
        options = _muxer_options(container_name, original, picture.said.projection)
        with av.open(f"file:{path}", "w", format=MUXER[container_name], options=options) as output:
            video, encoder, targets, carried = _lay_out(original, stills, output, probe, settings, picture)
            output.metadata.update(kept_tags(original.metadata, _CONTAINER_TAGS))
            _restate(output, video, probe.frame_rate, picture.frame_rate or probe.frame_rate)
            if original.chapters():
                output.set_chapters(original.chapters())
            output.start_encoding()
            # A picture that begins below zero would lose what is there: all streams begin so much later instead.
            below = max(0, -int(picture.timeline.pts[0]))
            copies = copy_packets(original, source, targets, carried, below * (picture.time_base or probe.time_base))
            times = (picture.timeline.pts + below).tolist()

            def encode(one: Range) -> tuple[Any, Iterator[Packet[Any]]]:
                own = encoder if one.start == 0 else _another(container_name, probe, settings, picture)
                return own, _encode(own, picture.colour, one.frames, times[one.start : one.stop])

            if len(ranges) == 1:
                _, packets = encode(ranges[0])
            else:
                packets = encode_ranges(encode, ranges, times, path, source.label)
            shown = dict(zip(times, _durations(picture.timeline), strict=True))
            encoded = _timed(packets, video, shown)
            of_frame = _as_they_come(zip(times, picture.messages, strict=True)) if picture.messages else None
            encoded = map(Sayer(picture.said, settings.codec, of_frame).said, encoded)
            for packet in _by_time(encoded, copies):
                _mux(output, packet, source)
    before = [c for c in carried.values() if c.still and 0 <= c.index < video.index]
    place = video.index - len(before)  # when read back, they come after all tracks
    aspect = picture.sample_aspect or probe.sample_aspect
    if container_name == "mkv" and settings.codec in SILENT and aspect != 1:
        say_display_size(path, place, aspect)
    return Contents(
        picture=place,
        copied=tuple(state.account(index) for index, state in sorted(carried.items())),
    )


def _as_they_come(pairs: Iterator[tuple[int, Sequence[bytes]]]) -> OfFrame:
    """What looks up the messages of a time, once, and takes no more of the pairs than it needs: their times rise."""
    waiting: dict[int, Sequence[bytes]] = {}

    def of_frame(time: int) -> Sequence[bytes]:
        if time not in waiting:
            for when, said in pairs:
                waiting[when] = said
                if when == time:
                    break
        return waiting.pop(time)

    return of_frame


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


def _lay_out(
    original: av.container.InputContainer,
    stills: dict[int, bytes],
    output: av.container.OutputContainer,
    probe: Probe,
    settings: EncodeSettings,
    picture: Picture,
) -> tuple[Any, Any, dict[int, Any], dict[int, Carried]]:
    """Make the master's streams in the source's order; returns the picture's, its encoder, and the others."""
    video: Any = None
    encoder: Any = None
    targets: dict[int, Any] = {}
    carried: dict[int, Carried] = {}
    stream: Any
    for stream in original.streams:
        if stream.index == probe.stream:
            video, encoder = _add_picture(output, probe, settings, picture)
            if probe.display_matrix is not None:
                video.set_display_matrix(probe.display_matrix)
            tags = in_its_words(kept_tags(stream.metadata, _PICTURE_TAGS), output.format.name)
            video.metadata.update({"title": tags["name"], **tags} if "name" in tags else tags)
            video.disposition = stream.disposition
            continue
        target, carried[stream.index] = carry(stream, original, output, stills, settings.without)
        if target is not None:
            targets[stream.index] = target
    return video, encoder, targets, carried


def _restate(output: av.container.OutputContainer, video: Any, before: Fraction, after: Fraction) -> None:
    """Say the timecode at the rate of the picture, wherever that of the source's was taken over."""
    tracks = (stream for stream in output.streams if stream is video or stream.type != "video")
    for tags in (output.metadata, *(track.metadata for track in tracks)):
        tags.update({name: restated(said, before, after) for name, said in tags.items() if is_timecode(name)})


def _add_picture(
    output: av.container.OutputContainer, probe: Probe, settings: EncodeSettings, picture: Picture
) -> tuple[Any, Any]:
    return add_picture(
        output, settings, picture.height, picture.width, picture.layout, picture.colour,
        picture.time_base or probe.time_base, picture.frame_rate or probe.frame_rate,
        picture.sample_aspect or probe.sample_aspect, picture.said.mastering, picture.said.projection,
    )  # fmt: skip


def _another(container_name: Container, probe: Probe, settings: EncodeSettings, picture: Picture) -> Any:
    """An encoder that is set up as the picture's own: for a container that nothing is written to."""
    with av.open(BytesIO(), "w", format=MUXER[container_name]) as nowhere:
        return _add_picture(nowhere, probe, settings, picture)[1]


def _encode(encoder: Any, colour: Colour, frames: Iterable[av.VideoFrame], times: list[int]) -> Iterator[Packet[Any]]:
    for planar, when in zip(frames, times, strict=True):
        frame = planar if planar.format.name == encoder.pix_fmt else planar.reformat(format=encoder.pix_fmt, threads=1)
        frame.pts, frame.time_base = when, encoder.time_base
        frame.color_range = 2 if colour.full_range else 1
        frame.colorspace, frame.color_primaries, frame.color_trc = colour.matrix, colour.primaries, colour.transfer
        frame.pict_type = 0
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _timed(packets: Iterable[Packet[Any]], video: Any, shown: dict[int, int]) -> Iterator[Packet[Any]]:
    for packet in packets:
        assert packet.pts is not None
        packet.stream = video
        packet.duration = shown[packet.pts]
        if len(shown) <= _REORDERED:
            packet.dts = packet.pts
        yield packet


def _durations(timeline: Timeline) -> list[int]:
    """How long each frame is shown: until the next one; the last as the source says, or as long as the one before."""
    until_next = np.diff(timeline.pts).tolist()
    last = int(timeline.duration[-1]) or (until_next[-1] if until_next else 1)
    return [*until_next, last]


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


def _muxer_options(
    container: Container, original: av.container.InputContainer, projection: Projection | None
) -> dict[str, str]:
    options = {"fflags": "+bitexact"}
    if projection:
        options["strict"] = "unofficial"  # MP4's words for it are not of ISO
    if container == "mkv":
        # Times below zero (the priming of a codec) stay; and no track is made a default one that was none.
        return options | {"avoid_negative_ts": "disabled", "default_mode": "passthrough"}
    # Edit lists count in the movie's own ticks: too coarse ones would round the streams' start offsets.
    bases = [stream.time_base or Fraction(0) for stream in original.streams]
    kept = best_kept(MUXER[container], kept_tags(original.metadata, _CONTAINER_TAGS))
    flags = "+faststart+use_metadata_tags" if kept.in_table else "+faststart"
    return options | {"movflags": flags, "movie_timescale": str(movie_timescale(bases))}


def _native_container(probe: Probe, source: Source) -> Container:
    suffix = source.label.rsplit(".", 1)[-1].lower()
    if suffix == "mov":
        return "mov"
    return "mkv" if "matroska" in probe.container else "mp4"


def _family(settings: EncodeSettings, probe: Probe, source: Source) -> str:
    try:
        return master_layout(settings, probe.layout, source.label).family
    except UnsupportedSource:
        return ""  # which planning says


def _cannot_hold(container: Container, settings: EncodeSettings, probe: Probe, source: Source) -> list[str]:
    """What of a source a container with such a picture cannot hold or is not to hold, in words."""
    remarks, codec = [], settings.codec
    if container == "mkv" and (probe.time_base * 1000).denominator != 1:
        remarks.append(f"mkv rounds times of 1/{probe.time_base.denominator} s to milliseconds")
    with open_input(source) as original:
        tags = best_kept(MUXER[container], kept_tags(original.metadata, _CONTAINER_TAGS))
        if tags.altered:
            remarks.append(f"tags of the file are not carried to the letter: {', '.join(tags.altered)}")
        for stream in original.streams:
            if stream.type in settings.without and not is_helper(stream, original):
                remarks.append(f"stream {stream.index} ({stream.type}) is {LEFT_OUT}")
                continue
            spoken = stream.metadata.get("language", "und")
            if spoken != "und" and not code_in(MUXER[container], spoken):
                remarks.append(f"the language of stream {stream.index} ({spoken}) is not carried: {UNSPOKEN}")
            if stream.index != probe.stream and not is_helper(stream, original):
                why = refusal(MUXER[container], stream)
                why = why or (COVERLESS if tags.in_table and stream.type == "video" and is_still(stream) else "")
                made = kept_as(MUXER[container], stream) if why else ""
                if made:
                    how = BY_SAMPLES if stream.type == "audio" else BY_WORDS
                    remarks.append(f"stream {stream.index} ({stream.type}) becomes {made}, {how}: {why}")
                    if stream.type == "audio" and cuts_off(MUXER[container], stream):
                        remarks.append(f"stream {stream.index} ({stream.type}) is cut off beyond full scale by {made}")
                elif why:
                    remarks.append(f"stream {stream.index} ({stream.type}) is not carried: {why}")
    siting = probe.colour.siting
    if unsaid_siting(container, codec, probe.layout, probe.colour):
        remarks.append(f"where chroma sits ({siting}) is not carried: {container} with {codec} has no place for it")
    return [*remarks, *not_held(container, codec, probe)]
