"""What a picture says of itself, as units of an encoded stream: added before the picture, where it stands for the whole
in key frames, where it is of one frame in that one.

PyAV hands none of it to encoders. Knows how bitstreams say it; values are not judged.

Formats: SEI payloads 4 (active format as in ETSI TS 101 154, annex B.4; HDR10+; closed captions), 137, 144 and 148 of
ITU-T H.265 and H.264 (annex D); metadata OBUs 1, 2 and 4 of the AV1 specification (section 5.8).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from av.packet import Packet

from tasks.media.reading.hdr10_plus import is_of_the_whole
from tasks.media.reading.mastering import Mastering, MasteringDisplay
from tasks.media.reading.projection import Projection
from tasks.media.reading.units import in_leb128, in_sei, nal_units, obus

# In what parts of one SEI and AV1 count chromaticities, light, and the dimmest light.
_SEI_UNITS = (50_000, 10_000, 10_000)
_AV1_UNITS = (1 << 16, 1 << 8, 1 << 14)
_SEI_OF = {"h264": "h264", "h264_nvenc": "h264", "h265": "h265", "h265_nvenc": "h265"}
_AV1 = ("av1", "av1_nvenc")
# Codecs whose streams say all of it; AV1 says some.
SAYING_ALL = frozenset(_SEI_OF)
# Those whose streams say HDR10+, so that players read it there.
SAYING_HDR10_PLUS = frozenset({"h265", "h265_nvenc", *_AV1})
OfFrame = Callable[[int], Sequence[bytes] | None]
# Country and provider, whose message it is, and that a format follows.
_AFD = b"\xb5\x00\x31DTG1\x41"


def unsaid(said: Mastering | None, codec: str) -> Iterator[str]:
    """What of it a master of this codec will not say, each in words."""
    if said and said.ambient and codec not in SAYING_ALL:
        yield f"the light of the surroundings that it was graded in is dropped: {codec} has no place for it"


def hdr10_plus_dropped(message: bytes, codec: str) -> str:
    """Why a master of this codec will not say what HDR10+ does of its source's frames; empty if it will.

    Args:
        message: of the source's first frame; empty if none was found within the stream.
        codec: the master's.
    """
    if codec not in SAYING_HDR10_PLUS:
        return f"{codec} has no place for it, h265 and av1 have"
    if not message:
        return "it is not within the picture's own stream, as H.265 and AV1 have it, or packets there have no times"
    return "" if is_of_the_whole(message) else "it names parts of the source's picture by their place"


@dataclass(frozen=True)
class Said:
    """What is said; None is not.

    Attributes:
        mastering: of the display and the light that an HDR picture was graded for.
        active_format: what part of the picture is meant to be seen, as a code (AFD).
        projection: how it is to be looked at; no stream of ours says it, containers do.
    """

    mastering: Mastering | None = None
    active_format: int | None = None
    projection: Projection | None = None


class Sayer:
    """Adds it to the packets of a stream."""

    def __init__(self, said: Said, codec: str, of_frame: OfFrame | None = None) -> None:
        """Say it in key frames, and of frames that have any their own messages.

        Args:
            said: of the whole.
            codec: a master's; of one that says nothing of it the packets stay as they are.
            of_frame: gives the messages (ITU-T T.35, country and provider first) of a frame, by its time.
        """
        self._codec = codec
        self._of_frame: OfFrame = of_frame if of_frame and codec in {*_AV1, *_SEI_OF} else lambda time: ()
        units: Iterable[bytes] = ()
        if codec in _AV1 and said.mastering:
            units = _obus(said.mastering)
        elif codec in _SEI_OF:
            units = _nal_units(said, _SEI_OF[codec])
        self._units = b"".join(units)

    def said(self, packet: Packet[Any]) -> Packet[Any]:
        """The packet with all that is to be said before its picture."""
        assert packet.pts is not None
        units, messages = self._units if packet.is_keyframe else b"", self._of_frame(packet.pts) or ()
        if not units and not messages:
            return packet
        data = bytes(packet)
        if self._codec in _AV1:
            own = b"".join(_metadata_obu(4, message) for message in messages)
            first, shown = _places(data)
            data = data[:first] + units + data[first:shown] + own + data[shown:]
        else:
            at = _before_picture(data, _SEI_OF[self._codec])
            units += b"".join(_sei_unit(_SEI_OF[self._codec], 4, message) for message in messages)
            data = data[:at] + units + data[at:]
        made: Packet[Any] = Packet(data)
        made.pts, made.dts, made.time_base, made.duration = packet.pts, packet.dts, packet.time_base, packet.duration
        made.is_keyframe, made.stream = packet.is_keyframe, packet.stream
        return made


def _nal_units(said: Said, kind: str) -> Iterator[bytes]:
    for payload_type, payload in _sei_payloads(said):
        yield _sei_unit(kind, payload_type, payload)


def _sei_unit(kind: str, payload_type: int, payload: bytes) -> bytes:
    return b"\x00\x00\x00\x01" + (b"\x06" if kind == "h264" else b"\x4e\x01") + in_sei(payload_type, payload)


def _sei_payloads(said: Said) -> Iterator[tuple[int, bytes]]:
    if said.active_format is not None:
        yield 4, _AFD + bytes([0xF0 | said.active_format])
    colour, bright, dim = _SEI_UNITS
    graded = said.mastering or Mastering()
    if graded.display:
        red, green, blue, white = _pairs(graded.display, colour)
        light = round(graded.display.brightest * bright), round(graded.display.dimmest * dim)
        yield 137, struct.pack(">8H2I", *green, *blue, *red, *white, *light)
    if graded.light:
        yield 144, struct.pack(">2H", *graded.light)
    if graded.ambient:
        lux, x, y = graded.ambient
        yield 148, struct.pack(">I2H", round(lux * bright), round(x * colour), round(y * colour))


def _obus(said: Mastering) -> Iterator[bytes]:
    colour, bright, dim = _AV1_UNITS
    if said.light:
        yield _metadata_obu(1, struct.pack(">2H", *said.light))
    if said.display:
        light = round(said.display.brightest * bright), round(said.display.dimmest * dim)
        colours = (value for pair in _pairs(said.display, colour) for value in pair)
        yield _metadata_obu(2, struct.pack(">8H2I", *colours, *light))


def _metadata_obu(kind: int, payload: bytes) -> bytes:
    return b"\x2a" + in_leb128(len(payload) + 2) + bytes([kind]) + payload + b"\x80"  # type 5, with a size


def _pairs(display: MasteringDisplay, parts: int) -> Iterator[tuple[int, int]]:
    values = [round(value * parts) for value in display.primaries]
    yield from zip(values[::2], values[1::2], strict=True)


def _before_picture(data: bytes, kind: str) -> int:
    """Where in an access unit (H.264 and H.265, annex B) the first unit of its picture begins."""
    for start, header in nal_units(data):
        is_picture = 1 <= data[header] & 0x1F <= 5 if kind == "h264" else data[header] >> 1 & 0x3F < 32
        if is_picture:
            return start
    return 0


def _places(data: bytes) -> tuple[int, int]:
    """Where in a temporal unit (AV1, section 7.5) metadata of the whole belongs, and that of the frame it shows."""
    first = shown = 0
    for unit in obus(data):
        if unit.kind in {1, 2}:  # sequence header, temporal delimiter
            first = shown = unit.stop
        elif unit.kind in {3, 6}:  # a frame's header, with or without its tiles; of several the last one is shown
            shown = unit.start
    return first, shown
