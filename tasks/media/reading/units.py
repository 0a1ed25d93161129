"""The units that encoded pictures are made of: NAL units of H.264 and H.265, OBUs of AV1. Decodes nothing.

Formats: annex B of ITU-T H.264 and H.265 (byte streams), section 7.3 of both (emulation prevention), annex D (SEI);
sections 4.10.5 and 5.3 of the AV1 specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_START = re.compile(rb"\x00\x00\x01")
_LIKE_A_START = re.compile(rb"\x00\x00(?=[\x00-\x03])")


class Obu(NamedTuple):
    """One of AV1's units: its type, and where in the data it, its content and the next one begin."""

    kind: int
    start: int
    content: int
    stop: int


def nal_units(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each NAL unit's start code and its header begin in a byte stream."""
    for found in _START.finditer(data):
        yield found.start() - (found.start() > 0 and data[found.start() - 1] == 0), found.end()


def obus(data: bytes) -> Iterator[Obu]:
    """The OBUs of a temporal unit."""
    place = 0
    while place < len(data):
        header = data[place]
        content, stop = place + 1 + (header >> 2 & 1), len(data)
        if header & 2:
            size, content = leb128(data, content)
            stop = content + size
        yield Obu(header >> 3 & 0xF, place, content, stop)
        place = stop


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, least ones first, and where what follows it begins."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at


def in_leb128(value: int) -> bytes:
    """The same number written."""
    parts = []
    while True:
        value, part = value >> 7, value & 0x7F
        parts.append(part | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def sei_messages(unit: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each message of an SEI unit, which is given without its header."""
    content = unit.replace(b"\x00\x00\x03", b"\x00\x00").rstrip(b"\x00")[:-1]  # less the bit that ends it
    at = 0
    while at < len(content):
        kind, at = _counted(content, at)
        size, at = _counted(content, at)
        yield kind, content[at : at + size]
        at += size


def in_sei(kind: int, message: bytes) -> bytes:
    """A message as the one of an SEI unit, without that one's header."""
    content = b"".join(b"\xff" * (number // 255) + bytes([number % 255]) for number in (kind, len(message)))
    # Three bytes that would look like the beginning of a unit are kept apart.
    return _LIKE_A_START.sub(b"\x00\x00\x03", content + message + b"\x80")


def _counted(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    while at < len(content) and content[at] == 0xFF:
        value, at = value + 255, at + 1
    return value + (content[at] if at < len(content) else 0), at + 1
