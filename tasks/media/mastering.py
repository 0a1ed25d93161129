"""What an HDR picture says of the display and the light it was graded for, and how bitstreams say it.

Mastering display (SMPTE ST 2086), content light level (CTA-861.3) and ambient viewing environment (H.274): read from
a decoded frame, and written into the key frames of an encoded stream as units of its own, since encoders do not take
them from PyAV. Values are not judged.

Formats: SEI payloads 137, 144 and 148 of ITU-T H.265 and H.264 (annex D), metadata OBUs 1 and 2 of the AV1
specification (section 5.8); FFmpeg's structures as in libavutil's `mastering_display_metadata.h` and
`ambient_viewing_environment.h`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.packet import Packet

# In what parts of one SEI and AV1 count chromaticities, light, and the dimmest light.
_SEI_UNITS = (50_000, 10_000, 10_000)
_AV1_UNITS = (1 << 16, 1 << 8, 1 << 14)
_SEI_OF = {"h264": "h264", "h264_nvenc": "h264", "h265": "h265", "h265_nvenc": "h265"}
_AV1 = ("av1", "av1_nvenc")
_COARSE = Fraction(1, 10_000)
# By PyAV's names.
OF_HDR = frozenset({"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "AMBIENT_VIEWING_ENVIRONMENT"})
# Codecs whose streams say it.
SAYING = frozenset({*_SEI_OF, *_AV1})
_START = re.compile(rb"\x00\x00\x01")


@dataclass(frozen=True)
class MasteringDisplay:
    """The display it was graded on.

    Attributes:
        primaries: x and y of red, green, blue and white.
        dimmest, brightest: nits.
    """

    primaries: tuple[Fraction, ...]
    dimmest: Fraction
    brightest: Fraction


@dataclass(frozen=True)
class Mastering:
    """What is said; None is not said.

    Attributes:
        display: the display.
        light: MaxCLL and MaxFALL in nits.
        ambient: light of the surroundings in lux, and x and y of its colour.
    """

    display: MasteringDisplay | None = None
    light: tuple[int, int] | None = None
    ambient: tuple[Fraction, ...] | None = None


def read_mastering(side: Mapping[str, bytes]) -> Mastering | None:
    """What a decoded frame says in its side data, by PyAV's names (`side_data`); None if it says nothing of it."""
    display, light = side.get("MASTERING_DISPLAY_METADATA"), side.get("CONTENT_LIGHT_LEVEL")
    ambient = side.get("AMBIENT_VIEWING_ENVIRONMENT")
    said = Mastering(
        display=_display(display) if display else None,
        light=struct.unpack("=II", light[:8]) if light else None,
        ambient=_rationals(ambient, 3) if ambient else None,
    )
    return said if said != Mastering() else None


def said_alike(one: bytes, other: bytes, name: str) -> bool:
    """True if two pieces of side data of this name say the same, but for the units that bitstreams count in."""
    if name == "CONTENT_LIGHT_LEVEL":
        return one == other
    values = [_rationals(side_data, 10 if name == "MASTERING_DISPLAY_METADATA" else 3) for side_data in (one, other)]
    return all(abs(a - b) <= max(_COARSE, abs(a) * _COARSE / 2) for a, b in zip(*values, strict=True))


def _display(side_data: bytes) -> MasteringDisplay:
    # Whether FFmpeg believes the values, it says in two numbers more; they are carried all the same.
    *values, dimmest, brightest = _rationals(side_data, 10)
    return MasteringDisplay(tuple(values), dimmest, brightest)


def _rationals(data: bytes, count: int) -> tuple[Fraction, ...]:
    values = struct.unpack_from(f"={2 * count}i", data)
    return tuple(Fraction(a, b or 1) for a, b in zip(values[::2], values[1::2], strict=True))


def unsaid(said: Mastering | None, hdr10_plus: bool, codec: str) -> Iterator[str]:
    """What of it a master of this codec will not say, each in words."""
    if hdr10_plus:
        yield "HDR10+'s metadata is dropped: it describes single frames of the source"
    if said and said.ambient and codec not in _SEI_OF:
        yield f"the light of the surroundings that it was graded in is dropped: {codec} has no place for it"


class Sayer:
    """Adds it to the packets of a stream, in its key frames."""

    def __init__(self, said: Mastering, codec: str) -> None:
        """`codec` is a master's, one of `SAYING`."""
        self._codec = codec
        self._units = b"".join(_obus(said)) if codec in _AV1 else b"".join(_nal_units(said, _SEI_OF[codec]))

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


def _nal_units(said: Mastering, kind: str) -> Iterator[bytes]:
    header = b"\x06" if kind == "h264" else b"\x4e\x01"
    for payload_type, payload in _sei_payloads(said):
        message = bytes([payload_type, len(payload)]) + payload + b"\x80"
        # Three bytes that would look like the beginning of a unit are kept apart.
        yield b"\x00\x00\x00\x01" + header + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)


def _sei_payloads(said: Mastering) -> Iterator[tuple[int, bytes]]:
    colour, bright, dim = _SEI_UNITS
    if said.display:
        red, green, blue, white = _pairs(said.display, colour)
        light = round(said.display.brightest * bright), round(said.display.dimmest * dim)
        yield 137, struct.pack(">8H2I", *green, *blue, *red, *white, *light)
    if said.light:
        yield 144, struct.pack(">2H", *said.light)
    if said.ambient:
        lux, x, y = said.ambient
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
