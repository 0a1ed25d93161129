"""What a source is: its picture stream, its colour, every other stream. Reads headers and decodes one frame.

Refuses only what no later stage could read; `unsupported` says why a readable source is not handled.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import av.container
import av.error
import av.stream
import av.video.stream

from tasks.errors import SourceError
from tasks.media.picture.alpha import require_opaque
from tasks.media.picture.colour import UNSPECIFIED, Colour, colour_of
from tasks.media.picture.pixels import Layout, layout_of
from tasks.media.reading.decoding import UNDECODABLE, decoder
from tasks.media.reading.dolby import DolbyVision, said_dolby_vision
from tasks.media.reading.limits import Limits
from tasks.media.reading.mastering import Mastering, read_mastering
from tasks.media.reading.pixel_aspect import pixel_aspect
from tasks.media.reading.projection import Projection, read_projection
from tasks.media.reading.rate import rate_of
from tasks.media.reading.side_data import attached, side_data_of
from tasks.media.reading.siting import said_siting
from tasks.media.reading.source import Source, name_of, open_input, source_errors, video_stream
from tasks.media.reading.timecode import said_timecode
from vsr_model.nits import TRANSFERS

# How the picture stream is chosen: by length, by size or by disposition first; or its number.
Choice = int | Literal["auto", "largest", "default"]
_LIMITS = Limits()
_SURELY = 0.9
_OWN_MATRICES = {10: "BT.2020 with constant luminance", 14: "ICtCp"}


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a source as its container describes it."""

    index: int
    type: str
    codec: str
    time_base: Fraction
    language: str
    disposition: int
    metadata: dict[str, str]
    detail: str


@dataclass(frozen=True)
class Probe:
    """What a source is.

    Attributes:
        container: FFmpeg's names of the format, comma separated.
        stream: index of the picture stream among all streams.
        codec: decoder name of the picture stream.
        height, width: of a decoded frame, in samples, before any rotation.
        pix_fmt: as decoded.
        time_base: of the picture stream's timestamps, in seconds.
        frame_rate: average, 0 when unknown; nominal where a timecode counts by it (`rate_of`).
        frames: as the header says, 0 when it does not.
        duration: seconds, 0.0 when the header does not say.
        sample_aspect: pixel width over height (1 when unknown).
        display_matrix: nine integers of a rotation matrix, or None.
        layout, colour: of the picture.
        field_order: FFmpeg's field order number (0 unknown, 1 progressive).
        streams: every stream, the picture's included.
        chapters: number of chapters.
        unsupported: why this source is not handled, and what to do; empty when it is.
        dolby_vision: carries Dolby Vision's metadata, which would misrepresent another picture.
        dolby_profile: of it, as the container says; 0 if it does not.
        icc: what its colour profile is of, RGB or GRAY for instance; empty if it has none.
        side_data: PyAV's names of what is said of the whole picture stream.
        hdr10_plus: carries HDR10+'s.
        active_format: code of what part of the picture is meant to be seen, if it is said (AFD).
        mastering: what an HDR picture says of the display it was graded on.
        projection: how it is to be looked at, where that is not straight on and by both eyes alike.
        timecode: of its first frame, empty if it says none.
    """

    container: str
    stream: int
    codec: str
    height: int
    width: int
    pix_fmt: str
    time_base: Fraction
    frame_rate: Fraction
    frames: int
    duration: float
    sample_aspect: Fraction
    display_matrix: tuple[int, ...] | None
    layout: Layout
    colour: Colour
    field_order: int
    streams: tuple[StreamInfo, ...]
    chapters: int
    unsupported: str
    dolby_vision: bool = False
    side_data: tuple[str, ...] = ()
    hdr10_plus: bool = False
    active_format: int | None = None
    mastering: Mastering | None = None
    projection: Projection | None = None
    timecode: str = ""
    dolby_profile: int = 0
    icc: str = ""


def probe(source: Source, choice: Choice = "auto", limits: Limits = _LIMITS) -> Probe:
    """Describe a source.

    Args:
        source: the file.
        choice: which of several video streams is the picture.

    Raises:
        SourceError: not a video, no such picture stream, or its first frame cannot be decoded.
        UnsupportedSource: its pixel format is not handled, or it is more than the `limits` allow.
    """
    with open_input(source, limits) as container:
        seconds = (container.duration or 0) / 1e6
        limits.require(source.label, streams=len(container.streams), seconds=seconds)
        stream = _picture_stream(container, source, choice)
        # Sound may go on for longer than the picture: where no count is given, planning finds the few too many.
        frames = stream.frames or _SURELY * seconds * float(rate_of(stream))
        limits.require(source.label, pixels=stream.width * stream.height, frames=frames)
        said = _tags(stream)
        first = _first_frame(container, stream, source, limits)
        context = stream.codec_context
        layout = layout_of(first.format.name, source.label)
        require_opaque(first, source.label, stream.metadata)
        carried, dolby = side_data_of(first), said_dolby_vision(stream)
        # Some decoders forget what the header said.
        matrix, primaries, transfer = (b if a == UNSPECIFIED else a for a, b in zip(_tags(stream), said, strict=True))
        swing = 2 if first.format.name.startswith("yuvj") else int(context.color_range)
        colour = colour_of(matrix, primaries, transfer, swing, layout, first.height, said_siting(stream))
        assert stream.time_base is not None
        return Probe(
            container=container.format.name,
            stream=stream.index,
            codec=context.name,
            height=first.height,
            width=first.width,
            pix_fmt=first.format.name,
            time_base=stream.time_base,
            frame_rate=rate_of(stream),
            frames=stream.frames,
            duration=(container.duration or 0) / 1e6,
            sample_aspect=pixel_aspect(stream),
            display_matrix=_display_matrix(first),
            layout=layout,
            colour=colour,
            field_order=int(context.field_order),
            streams=tuple(_describe(s) for s in container.streams),
            chapters=len(container.chapters()),
            unsupported=_unsupported(dolby, carried.dolby_vision, transfer, matrix, source.label),
            dolby_vision=carried.dolby_vision or dolby is not None,
            dolby_profile=dolby.profile if dolby else 0,
            icc=carried.standing.get("ICC_PROFILE", b"")[16:20].decode("latin-1").strip(),
            side_data=tuple(carried.standing),
            hdr10_plus=carried.hdr10_plus,
            active_format=carried.standing["AFD"][0] if "AFD" in carried.standing else None,
            mastering=read_mastering(carried.standing),
            projection=read_projection(carried.standing),
            timecode=said_timecode(container),
        )


def _picture_stream(
    container: av.container.InputContainer, source: Source, choice: Choice
) -> av.video.stream.VideoStream:
    """The stream to remaster: not cover art; by itself the longest, then the default one, the largest, the first."""
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        held = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise SourceError(f"{source.label}: has no video stream (it holds {held}); remove it from the library.")
    pictures = [s for s in videos if s.codec_context is not None]
    if not pictures:
        raise SourceError(
            f"{source.label}: its picture is of a codec that FFmpeg cannot decode; convert it with its maker's tools."
        )

    if isinstance(choice, int):
        chosen = next((stream for stream in pictures if stream.index == choice), None)
        if chosen is None:
            known = ", ".join(str(stream.index) for stream in pictures)
            raise SourceError(
                f"{source.label}: has no video stream {choice}; choose one of {known} (`remaster probe`)."
            )
        return chosen

    def rank(stream: av.video.stream.VideoStream) -> tuple[Any, ...]:
        # Companion streams of one programme differ by a frame or so in length.
        length = round(float((stream.duration or 0) * (stream.time_base or 0)))
        default = bool(stream.disposition & av.stream.Disposition.default)
        size = stream.codec_context.width * stream.codec_context.height
        first = {"auto": length, "largest": size, "default": default}[choice]
        return (first, length, default, size, -stream.index)

    return max(pictures, key=rank)


def _first_frame(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, source: Source, limits: Limits
) -> av.VideoFrame:
    pictures = video_stream(container, stream.index)
    pictures.codec_context.options = limits.for_decoding
    decode = decoder(pictures)
    with source_errors(source, "reading its first frame"):
        for packet in container.demux(pictures):
            try:
                frames = decode(packet)
            except UNDECODABLE:
                continue  # a broadcast capture may start in mid-GOP: nothing decodes before its first key frame
            except av.error.ArgumentError as error:
                raise limits.hidden(source.label) from error
            if frames:
                return frames[0]
    raise SourceError(f"{source.label}: holds no decodable picture; fetch a good copy of the file.")


def _tags(stream: av.video.stream.VideoStream) -> tuple[int, int, int]:
    context = stream.codec_context
    return int(context.colorspace), int(context.color_primaries), int(context.color_trc)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    side = attached(frame).get("DISPLAYMATRIX")
    if side is None:
        return None
    raw = bytes(side)
    return tuple(int.from_bytes(raw[i : i + 4], "little", signed=True) for i in range(0, 36, 4))


def _unsupported(dolby: DolbyVision | None, in_frames: bool, transfer: int, matrix: int, label: str) -> str:
    # Where no container says what it is, a picture of Dolby's own colours has no transfer.
    if not dolby.stands_alone if dolby else in_frames and transfer == UNSPECIFIED:
        profile = dolby.profile if dolby else 5
        return (
            f"{label}: is Dolby Vision profile {profile}, whose picture is none without its metadata, which would not"
            " fit an enlarged one. Supply a version with an HDR10, HLG or SDR base layer (profiles 7, 8 and 9)."
        )
    if transfer in TRANSFERS and matrix in _OWN_MATRICES:
        return (
            f"{label}: is HDR in a colour space ({_OWN_MATRICES[matrix]}) that is not handled. Convert it to BT.2020"
            " with non-constant luminance, which is what nearly all HDR is in."
        )
    return ""


def _describe(stream: Any) -> StreamInfo:
    context = stream.codec_context
    detail = ""
    if stream.type == "video" and context is not None:
        detail = f"{context.width}x{context.height} {context.pix_fmt}"
    elif stream.type == "audio" and context is not None:
        detail = f"{context.sample_rate} Hz {context.layout.name}"
    return StreamInfo(
        index=stream.index,
        type=stream.type,
        codec=context.name if context is not None else (name_of(stream) or stream.type),
        time_base=stream.time_base or Fraction(0),
        language=stream.language or "",
        disposition=int(stream.disposition),
        metadata=dict(stream.metadata),
        detail=detail,
    )
