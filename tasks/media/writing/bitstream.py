"""What a picture says of itself, as units of an encoded stream: added to its key frames, before the picture.

PyAV hands none of it to encoders. Knows how bitstreams say it; values are not judged.

Formats: SEI payloads 4 (active format as in ETSI TS 101 154, annex B.4), 137, 144 and 148 of ITU-T H.265 and H.264
(annex D); metadata OBUs 1 and 2 of the AV1 specification (section 5.8).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from av.packet import Packet

from tasks.media.reading.mastering import Mastering, MasteringDisplay
from tasks.media.reading.projection import Projection

# In what parts of one SEI and AV1 count chromaticities, light, and the dimmest light.
_SEI_UNITS = (50_000, 10_000, 10_000)
_AV1_UNITS = (1 << 16, 1 << 8, 1 << 14)
_SEI_OF = {"h264": "h264", "h264_nvenc": "h264", "h265": "h265", "h265_nvenc": "h265"}
_AV1 = ("av1", "av1_nvenc")
# Codecs whose streams say all of it; AV1 says some.
SAYING_ALL = frozenset(_SEI_OF)
_START = re.compile(rb"\x00\x00\x01")
# Country and provider, whose message it is, and that a format follows.
_AFD = b"\xb5\x00\x31DTG1\x41"


def unsaid(said: Mastering | None, hdr10_plus: bool, codec: str) -> Iterator[str]:
    """What of it a master of this codec will not say, each in words."""
    if hdr10_plus:
        yield "HDR10+'s metadata is dropped: it describes single frames of the source"
    if said and said.ambient and codec not in SAYING_ALL:
        yield f"the light of the surroundings that it was graded in is dropped: {codec} has no place for it"


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
    """Adds it to the packets of a stream, in its key frames."""

    def __init__(self, said: Said, codec: str) -> None:
        """`codec` is a master's; of one that says nothing of it the packets stay as they are."""
        self._codec = codec
        units: Iterable[bytes] = ()
        if codec in _AV1 and said.mastering:
            units = _obus(said.mastering)
        elif codec in _SEI_OF:
            units = _nal_units(said, _SEI_OF[codec])
        self._units = b"".join(units)

    def said(self, packet: Packet[Any]) -> Packet[Any]:
        """The packet with the units before its picture, if it is a key frame."""
        if not packet.is_keyframe or not self._units:
            return packet
        data = bytes(packet)
        at = _after_sequence_header(data) if self._codec in _AV1 else _before_picture(data, _SEI_OF[self._codec])
        made: Packet[Any] = Packet(data[:at] + self._units + data[at:])
        made.pts, made.dts, made.time_base, made.duration = packet.pts, packet.dts, packet.time_base, packet.duration
        made.is_keyframe, made.stream = True, packet.stream
        return made


def _nal_units(said: Said, kind: str) -> Iterator[bytes]:
    header = b"\x06" if kind == "h264" else b"\x4e\x01"
    for payload_type, payload in _sei_payloads(said):
        message = bytes([payload_type, len(payload)]) + payload + b"\x80"
        # Three bytes that would look like the beginning of a unit are kept apart.
        yield b"\x00\x00\x00\x01" + header + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)


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
    # Type 5 with a size; all of it is shorter than 128 bytes.
    return bytes([0x2A, len(payload) + 2, kind]) + payload + b"\x80"


def _pairs(display: MasteringDisplay, parts: int) -> Iterator[tuple[int, int]]:
    values = [round(value * parts) for value in display.primaries]
    yield from zip(values[::2], values[1::2], strict=True)


def _before_picture(data: bytes, kind: str) -> int:
    """Where in an access unit (H.264 and H.265, annex B) the first unit of its picture begins."""
    for found in _START.finditer(data):
        header = data[found.end()]
        is_picture = 1 <= header & 0x1F <= 5 if kind == "h264" else header >> 1 & 0x3F < 32
        if is_picture:
            return found.start() - (found.start() > 0 and data[found.start() - 1] == 0)
    return 0


def _after_sequence_header(data: bytes) -> int:
    """Where in a temporal unit (AV1, section 7.5) its metadata belong."""
    place = after = 0
    while place < len(data):
        kind, header = data[place] >> 3 & 0xF, 1 + (data[place] >> 2 & 1)
        size = shift = 0
        at = place + header
        while True:  # leb128
            size |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not data[at - 1] & 0x80:
                break
        place = at + size
        if kind not in {1, 2}:  # sequence header, temporal delimiter
            break
        after = place
    return after
