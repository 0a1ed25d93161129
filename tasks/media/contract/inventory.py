"""What a file really holds, read back from its own bytes: tracks, times, hashes, labels, colour. Judges nothing."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av.video.stream
import numpy as np
import numpy.typing as npt

from tasks.media.picture.alpha import quarters
from tasks.media.picture.colour import Siting
from tasks.media.picture.pixels import layout_of, to_planes
from tasks.media.reading.decoding import Damaged, decoded
from tasks.media.reading.dolby import said_dolby_vision
from tasks.media.reading.pixel_aspect import pixel_aspect
from tasks.media.reading.rate import rate_of
from tasks.media.reading.side_data import HDR10_PLUS, SideData, attached, side_data_of
from tasks.media.reading.siting import said_siting
from tasks.media.reading.source import Source, name_of, open_input, source_errors, video_stream
from tasks.media.reading.stamps import NEVER, DoubtfulTimes, Ticks, times_of
from tasks.media.reading.timecode import said_timecode
from tasks.media.writing.carry import is_gap, is_helper, payload
from tasks.media.writing.words import Script

Tags = dict[str, str]


@dataclass(frozen=True)
class Track:
    """One stream of a file.

    Attributes:
        index: in the file.
        type: "video", "audio", "subtitle", "data" or "attachment".
        codec: as FFmpeg names it.
        language: three letters, empty if unknown.
        disposition: FFmpeg's flags.
        tags: its metadata.
        time_base: of `ticks` and `lengths`, in seconds.
        ticks: presentation time of each packet that is shown, in the file's order (the picture's: sorted).
        lengths: how long each lasts, 0 if unknown.
        sha256: over the packets' payloads, in the file's order; of an attachment over its bytes.
        packets: how many.
        words: hash of what subtitles of plain words say, however they look; empty for any other track.
        helper: QuickTime's chapter or timecode track, which says what is said elsewhere.
    """

    index: int
    type: str
    codec: str
    language: str
    disposition: int
    tags: Tags
    time_base: Fraction
    ticks: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    sha256: str
    packets: int
    words: str
    helper: bool

    @property
    def times(self) -> tuple[Fraction, ...]:
        """The same as `ticks`, in seconds."""
        return tuple(tick * self.time_base for tick in self.ticks.tolist())


@dataclass(frozen=True)
class Inventory:
    """A file's contents.

    Attributes:
        height, width: of the picture, in samples.
        pix_fmt: of the picture.
        colour: H.273 matrix, primaries and transfer, and FFmpeg's range number.
        siting: where its chroma sits, if that is said.
        sample_aspect: pixel width over height.
        picture: the picture's track.
        tracks: every other one, in the file's order.
        timecode: of the first frame as the file says it, empty if it does not.
        frame_rate: pictures a second as the file says it (`rate_of`), 0 if it does not.
        chapters: (start seconds, end seconds, tags) of each.
        tags: the file's own metadata.
    """

    height: int
    width: int
    pix_fmt: str
    colour: tuple[int, int, int, int]
    siting: Siting | None
    sample_aspect: Fraction
    picture: Track
    tracks: tuple[Track, ...]
    timecode: str
    frame_rate: Fraction
    chapters: tuple[tuple[Fraction, Fraction, Tags], ...]
    tags: Tags

    @property
    def times(self) -> tuple[Fraction, ...]:
        """Of every picture frame in the order shown, in seconds, as the packets say."""
        return self.picture.times


@dataclass(frozen=True)
class Shown:
    """What the decoded frames of a picture stream say.

    Attributes:
        times: of each frame, in seconds; repaired where the timestamps cannot be true (`tasks.media.reading.stamps`).
        repaired: how many were.
        interlaced: how many are flagged as pairs of fields.
        captions: how many carry closed captions (A53).
        captions_sha256: over their frame numbers and bytes.
        side_data: what the first frame says of the whole, and whether any has dynamic metadata.
        hdr10_plus: of each frame a hash of what HDR10+ says of it, empty where it says nothing.
        alpha: mean alpha, 0..1, of each quarter of each frame, [N, 4]; None if the picture has no alpha.
    """

    times: tuple[Fraction, ...]
    repaired: int
    interlaced: int
    captions: int
    captions_sha256: str
    side_data: SideData
    hdr10_plus: tuple[bytes, ...]
    alpha: npt.NDArray[np.float64] | None = None


@dataclass
class _Tally:
    """A track while its packets are counted."""

    hash: Any = field(default_factory=hashlib.sha256)
    script: Script | None = None
    packets: int = 0
    # Lossless sound has more than a thousand packets a second: lists of them would fill the memory.
    ticks: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))


def take_inventory(source: Source, picture: int) -> Inventory:
    """Read a file from end to end; nothing is decoded.

    Args:
        source: the file.
        picture: index of its picture stream.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(source) as container, source_errors(source, "reading it back"):
        tallies = {stream.index: _Tally() for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                _count(tallies[packet.stream_index], packet, packet.stream_index == picture)
        tracks = {stream.index: _track(stream, tallies[stream.index], container) for stream in container.streams}
        main = tracks.pop(picture)
        shown: Any = container.streams[picture]
        video = shown.codec_context
        return Inventory(
            height=video.height,
            width=video.width,
            pix_fmt=str(video.pix_fmt),
            colour=(int(video.colorspace), int(video.color_primaries), int(video.color_trc), int(video.color_range)),
            siting=said_siting(shown),
            sample_aspect=pixel_aspect(shown),
            picture=main,
            tracks=tuple(tracks.values()),
            timecode=said_timecode(container),
            frame_rate=rate_of(shown),
            chapters=tuple(_chapter(chapter) for chapter in container.chapters()),
            tags=dict(container.metadata),
        )


def watch(source: Source, picture: int, numbers: Mapping[int, int] | None = None) -> Shown:
    """Decode a picture stream from end to end; twice, if it turns out to be damaged.

    Args:
        source: any video; what of it is damaged is passed over, as in its frame table.
        picture: index of the stream.
        numbers: of the pictures that carry the closed captions of frames, by frame; None: the same.

    Raises:
        SourceError: it cannot be read.
        UnsupportedSource: its pixel format is not handled.
    """
    try:
        return _watch(source, picture, numbers, damaged=False)
    except Damaged:
        return _watch(source, picture, numbers, damaged=True)


def _watch(source: Source, picture: int, numbers: Mapping[int, int] | None, damaged: bool) -> Shown:
    stamps: list[int] = []
    interlaced = captions = 0
    digest = hashlib.sha256()
    standing: dict[str, bytes] = {}
    hdr10_plus: list[bytes] = []
    alpha: list[tuple[float, ...]] = []
    with open_input(source) as container, source_errors(source, "decoding it"):
        stream = video_stream(container, picture, damaged)
        dolby_vision = said_dolby_vision(stream) is not None
        for number, frame in enumerate(decoded(container, stream, damaged)):
            stamps.append(NEVER if frame.pts is None else frame.pts)
            interlaced += frame.interlaced_frame
            beside = attached(frame)
            if (said := beside.get("A53_CC")) is not None:
                captions += 1
                place = number if numbers is None else numbers.get(number, -1)
                digest.update(place.to_bytes(8, "big", signed=True) + bytes(said))
            held = side_data_of(frame)
            dolby_vision |= held.dolby_vision
            hdr10_plus.append(hashlib.sha256(beside[HDR10_PLUS]).digest() if HDR10_PLUS in beside else b"")
            standing = standing if number else held.standing
            layout = layout_of(frame.format.name, source.label)
            if layout.alpha:
                alpha.append(quarters(to_planes(frame, layout), layout))
        times, repaired = _times(np.array(stamps, np.int64), stream)
    side_data = SideData(standing, dolby_vision, any(hdr10_plus))
    seen = np.array(alpha) if alpha else None
    return Shown(times, repaired, interlaced, captions, digest.hexdigest(), side_data, tuple(hdr10_plus), seen)


def _times(said: Ticks, stream: av.video.stream.VideoStream) -> tuple[tuple[Fraction, ...], int]:
    assert stream.time_base is not None
    try:
        found = times_of(said, stream.codec_context.framerate, stream.time_base)
    except DoubtfulTimes:
        found = None
    shown = np.where(said == NEVER, 0, said) if found is None else found
    return tuple(tick * stream.time_base for tick in shown.tolist()), int((shown != said).sum())


def _count(tally: _Tally, packet: Any, is_picture: bool) -> None:
    if is_picture:
        if packet.pts is None or packet.is_discard:
            return
    else:
        context = packet.stream.codec_context
        codec = context.name if context else ""
        if is_gap(packet, codec):
            return
        tally.hash.update(payload(packet, codec))
        if packet.stream.type == "subtitle":
            tally.script = tally.script or Script(codec)
            tally.script.take(bytes(packet))
    tally.packets += 1
    tally.ticks.append(packet.pts if packet.pts is not None else packet.dts or 0)
    tally.lengths.append(packet.duration or 0)


def _track(stream: Any, tally: _Tally, container: Any) -> Track:
    if stream.type == "attachment":
        tally.hash.update(stream.data)
        tally.packets = 1
    context = stream.codec_context
    ticks, lengths = np.array(tally.ticks, np.int64), np.array(tally.lengths, np.int64)
    if stream.type == "video":
        order = np.argsort(ticks, kind="stable")
        ticks, lengths = ticks[order], lengths[order]
    tags = dict(stream.metadata)
    if stream.type == "attachment" and stream.mimetype:
        tags.setdefault("mimetype", stream.mimetype)
    return Track(
        index=stream.index,
        type=stream.type,
        codec=context.name if context is not None else (name_of(stream) or stream.type),
        language="" if (stream.language or "und") == "und" else str(stream.language),
        disposition=int(stream.disposition),
        tags=tags,
        time_base=stream.time_base or Fraction(1),
        ticks=ticks,
        lengths=lengths,
        sha256=tally.hash.hexdigest(),
        packets=tally.packets,
        words=tally.script.sha256 if tally.script else "",
        helper=bool(is_helper(stream, container)),
    )


def _chapter(chapter: Any) -> tuple[Fraction, Fraction, Tags]:
    base = chapter["time_base"]
    return (chapter["start"] * base, chapter["end"] * base, dict(chapter["metadata"]))
