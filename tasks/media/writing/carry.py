"""Everything of a source but its picture, carried into a master packet by packet: what goes where, and what cannot.

Of sound that a container has no place for every sample is kept (`tasks.media.writing.sound`), of subtitles of another
kind the words (`tasks.media.writing.words`).

Knows nothing of how the picture is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import av.container
import av.error
import av.stream
from av.packet import Packet
from av.stream import Discard

from tasks.media.reading.source import Source, name_of, open_input, source_errors
from tasks.media.reading.units import nal_units
from tasks.media.writing import words
from tasks.media.writing.languages import code_in
from tasks.media.writing.sound import Transcoder, add_sound

_IMAGES = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "gif": "image/gif", "tiff": "image/tiff"}
# Ticks by which the first packets of a reordered stream are decoded before they are shown, where no one says.
_MOST_REORDERED = 32
_TICK = Fraction(1, 1000)
_START_CODES = (b"\0\0\1", b"\0\0\0\1")
# Bumped when the same packets of data would be written otherwise.
DATA_VERSION = 1
LEFT_OUT = "left out, as asked (master.without)"


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
        made: the codec it was brought into; empty if it was copied.
    """

    source_index: int
    index: int
    type: str
    codec: str
    packets: int
    sha256: str
    reason: str = ""
    made: str = ""


@dataclass
class Carried:
    """A stream while it is being copied: like `Copied`, and where it has come to."""

    index: int
    type: str
    codec: str
    reason: str
    still: bool
    hash: Any = field(default_factory=hashlib.sha256)
    packets: int = 0
    last_dts: int | None = None
    last_duration: int = 0
    made: str = ""
    transcoder: Transcoder | None = None

    def account(self, source_index: int) -> Copied:
        """What became of it."""
        digest = self.hash.hexdigest()
        return Copied(source_index, self.index, self.type, self.codec, self.packets, digest, self.reason, self.made)


def payload(packet: Packet[Any], codec: str) -> bytes:
    """A packet's bytes as they are compared.

    Transport streams alone keep AAC's ADTS header, which is left out, and part the units of H.264 and H.265 by start
    codes, where other containers say the length of each, as is done here.
    """
    data = bytes(packet)
    if codec in {"h264", "hevc"} and (packet.stream.codec_context.extradata or b"").startswith(_START_CODES):
        return _by_length(data)
    if codec.startswith("aac") and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def _by_length(data: bytes) -> bytes:
    """A byte stream's NAL units, each after its length in four bytes."""
    places = list(nal_units(data))
    ends = [*(start for start, _ in places[1:]), len(data)]
    units = [data[header:end] for (_, header), end in zip(places, ends, strict=True)]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def is_gap(packet: Packet[Any], codec: str) -> bool:
    """True for the empty samples with which MP4 fills the time between two subtitles: muxers make them anew."""
    return codec == "mov_text" and packet.size == 2 and bytes(packet) == b"\0\0"


def is_helper(stream: Any, original: av.container.InputContainer) -> str:
    """Says so of QuickTime's helper tracks, which the muxer writes from chapters and from the picture's timecode."""
    if stream.type != "data" or stream.codec_context is not None:
        return ""
    if "timecode" in stream.metadata:
        return "holds the timecode, which the master carries as timecode"
    if original.chapters() and name_of(stream) == "bin_data" and stream.discard == Discard.all:
        return "holds the chapters, which the master carries as chapters"
    return ""


def is_still(stream: Any) -> bool:
    """True for what is no track of time: attachments and cover art."""
    return stream.type == "attachment" or bool(stream.disposition & av.stream.Disposition.attached_pic)


def still_pictures(source: Source) -> dict[int, bytes]:
    """The bytes of a source's cover art, by stream."""
    with open_input(source) as container, source_errors(source, "reading its cover art"):
        stills: list[Any] = [s for s in container.streams.video if is_still(s)]
        found: dict[int, bytes] = {}
        for packet in container.demux(stills) if stills else ():
            if packet.size:
                found.setdefault(packet.stream_index, bytes(packet))
            if len(found) == len(stills):
                break
        return found


def carry(
    stream: Any,
    original: av.container.InputContainer,
    output: av.container.OutputContainer,
    stills: dict[int, bytes],
    without: Collection[str] = (),
) -> tuple[Any, Carried]:
    """Give a stream of the source its place in the output.

    Args:
        stills: from `still_pictures`.
        without: kinds of streams that are left out.

    Returns:
        The output's stream if packets are to be copied into it, or None; and the account of it.
    """
    codec = stream.codec_context.name if stream.codec_context is not None else (name_of(stream) or stream.type)
    helper = is_helper(stream, original)
    unwanted = LEFT_OUT if stream.type in without else ""
    reason = helper or unwanted or refusal(output.format.name, stream)
    account = Carried(-1, stream.type, codec, reason, is_still(stream))
    if reason and not (helper or unwanted) and (made := kept_as(output.format.name, stream)):
        if stream.type == "audio":
            target = add_sound(output.format.name, stream, output)
            account.transcoder = Transcoder(stream, target)
        else:
            target = output.add_mux_stream(made, time_base=stream.time_base)
        _label(target, output, stream)
        account.reason, account.made, account.index = "", made, target.index
        return target, account
    if reason:
        return None, account
    whole = _whole(output.format.name, stream, stills)
    target = _clone(output, stream, whole)
    account.index = target.index
    if whole is None:
        return target, account
    account.hash.update(whole)
    account.packets = 1
    return None, account


def _whole(muxer: str, stream: Any, stills: dict[int, bytes]) -> bytes | None:
    """The bytes of what a container keeps as a file: attachments, and in Matroska cover art too."""
    if stream.type == "attachment":
        return bytes(stream.data)
    return stills.get(stream.index) if muxer == "matroska" else None


def _clone(output: av.container.OutputContainer, stream: Any, whole: bytes | None) -> Any:
    tags = _track_tags(output, stream)
    if whole is not None:
        codec = stream.codec_context.name if stream.codec_context else ""
        kind = tags.get("mimetype") or getattr(stream, "mimetype", None) or _IMAGES.get(codec)
        name = tags.get("filename") or ("cover" if codec else f"attachment{stream.index}")
        target: Any = output.add_attachment(name, kind or "application/octet-stream", whole)
    else:
        target = output.add_stream_from_template(stream, opaque=True)
        target.disposition = stream.disposition
    target.metadata.update(tags)
    return target


def _label(target: Any, output: av.container.OutputContainer, stream: Any) -> None:
    target.disposition = stream.disposition
    target.metadata.update(_track_tags(output, stream))


def _track_tags(output: av.container.OutputContainer, stream: Any) -> dict[str, str]:
    tags = kept_tags(stream.metadata, {"duration"})
    if output.format.name in {"mp4", "mov"} and "name" in tags:
        tags.setdefault("title", tags["name"])  # what QuickTime calls a track's title when it is read
    return in_its_words(tags, output.format.name)


def in_its_words(tags: dict[str, str], muxer: str) -> dict[str, str]:
    """A track's tags with its language as the container says it, if it can."""
    language = code_in(muxer, tags["language"]) if "language" in tags else ""
    return tags | {"language": language} if language else tags


def kept_as(muxer: str, stream: Any) -> str:
    """The codec in which a muxer would take a stream's samples or words; empty if there is none."""
    if stream.type != "audio":
        known = stream.type == "subtitle" and stream.codec_context is not None  # teletext has none
        return words.kept_as(muxer, stream.codec_context.name) if known else ""
    try:
        with av.open(BytesIO(), "w", format=muxer) as trial:
            target = add_sound(muxer, stream, trial)
            trial.start_encoding()
            return str(target.codec_context.name)
    except (ValueError, av.error.FFmpegError):
        return ""


def refusal(muxer: str, stream: Any) -> str:
    """Why a muxer would not take a stream, found out by trying; empty if it would."""
    if stream.type == "audio" and stream.codec_context is not None and not stream.codec_context.channels:
        return "no sound was found in it where the file begins"
    if stream.type == "data" and muxer == "matroska":
        return "Matroska has no such track"  # the muxer would accept it and write nothing
    if stream.type == "video" and muxer == "mov" and is_still(stream):
        return "QuickTime has no cover art"  # likewise
    made = BytesIO()
    try:
        with av.open(made, "w", format=muxer) as trial:
            target = _clone(trial, stream, _whole(muxer, stream, {stream.index: b"any"} if is_still(stream) else {}))
            trial.start_encoding()
            if stream.type == "data":
                packet = av.Packet(b"any")
                packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = target, 0, 0, 1, _TICK
                trial.mux(packet)
    except (ValueError, av.error.FFmpegError) as error:
        return f"{muxer} cannot hold it ({getattr(error, 'strerror', error)})"
    if stream.type == "data" and muxer in {"mp4", "mov"} and not _is_there(made):
        return f"{muxer} takes it and writes no track that could be read"
    return ""


def _is_there(made: BytesIO) -> bool:
    """True if a file with a track for data has one."""
    made.seek(0)
    try:
        with av.open(made, "r") as found:
            return bool(found.streams.data)
    except av.error.FFmpegError:
        return False


def copy_packets(
    original: av.container.InputContainer,
    source: Source,
    targets: dict[int, Any],
    carried: dict[int, Carried],
    later: Fraction,
) -> Iterator[Packet[Any]]:
    """The packets of the streams in `targets`, each with its new stream and with decoding times that rise.

    Args:
        later: seconds to add to every time.

    Raises:
        SourceError: the source is damaged.
    """
    wanted = [s for s in original.streams if s.index in targets]
    if not wanted:
        return
    with source_errors(source, "copying its other streams"):
        for packet in original.demux(wanted):
            if packet.size == 0:
                continue  # the demuxer's end mark
            state, target = carried[packet.stream_index], targets[packet.stream_index]
            if state.transcoder is not None:
                yield from _counted(state, state.transcoder.take(packet), later)
                continue
            if is_gap(packet, state.codec):
                continue
            if state.made:
                packet = _reworded(packet, state)
            state.hash.update(payload(packet, state.codec))
            state.packets += 1
            if packet.dts is None:
                packet.dts = _decoded_at(packet, state)
            if not packet.duration and state.type != "subtitle":
                # QuickTime's edit list would end before a last sample that lasts no time.
                since = packet.dts - state.last_dts if state.last_dts is not None else 0
                packet.duration = since or state.last_duration or (1 if state.type == "data" else 0)
            state.last_dts, state.last_duration = packet.dts, packet.duration or 0
            if later:
                ticks = round(later / packet.time_base)
                packet.dts += ticks
                packet.pts = packet.pts + ticks if packet.pts is not None else None
            packet.stream = target
            yield packet
        for state in carried.values():
            if state.transcoder is not None:
                yield from _counted(state, state.transcoder.take(None), later)


def _reworded(packet: Packet[Any], state: Carried) -> Packet[Any]:
    made: Packet[Any] = av.Packet(words.rewritten(bytes(packet), state.codec, state.made))
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.is_keyframe = True
    return made


def _counted(state: Carried, packets: Iterator[Packet[Any]], later: Fraction) -> Iterator[Packet[Any]]:
    for packet in packets:
        state.hash.update(bytes(packet))
        state.packets += 1
        if later:
            assert packet.pts is not None
            packet.pts = packet.dts = packet.pts + round(later / packet.time_base)
        yield packet


def _decoded_at(packet: Packet[Any], state: Carried) -> int:
    """A decoding time, which Matroska does not store, and muxers need to rise."""
    if state.last_dts is not None:
        return max(packet.pts or 0, state.last_dts + 1) if state.type != "video" else state.last_dts + 1
    return (packet.pts or 0) - (_MOST_REORDERED if state.type == "video" else 0)


def kept_tags(tags: dict[str, str], dropped: set[str]) -> dict[str, str]:
    """Tags without those of these names, and without what Matroska's makers counted."""
    return {k: v for k, v in tags.items() if k.lower() not in dropped and not k.lower().startswith("_statistics")}
