"""What HDR10+ says of each frame of a picture stream (SMPTE ST 2094-40), as the bytes that lie before it.

A message begins with the country code of ITU-T T.35, as CTA-861-H has it (annex S). FFmpeg hands over its numbers and
not its bytes, so packets are looked into; those of H.265 and AV1, no others. What containers say beside them is not
seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from av.bitstream import BitStreamFilterContext

from tasks.media.reading.decoding import UNDECODABLE
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.media.reading.units import leb128, nal_units, obus, sei_messages

# Country, provider (SMPTE), its number for this, and the one application that HDR10+ is.
_BEGINS = b"\xb5\x00\x3c\x00\x01\x04"
_SEI_PREFIX, _REGISTERED = 39, 4  # H.265: type of the unit, type of the message
_METADATA, _ITU_T_T35 = 5, 4  # AV1: type of the OBU, type of what it holds


def messages(source: Source, picture: int) -> Iterator[tuple[int, bytes]]:
    """For each packet of a picture stream, in the order of decoding: when it is shown, and its message or nothing.

    Packets that do not say when they are shown are passed over; one that is damaged has no message.

    Args:
        source: the file.
        picture: index of the stream, whose ticks the times count.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(source) as container, source_errors(source, "reading its HDR10+ metadata"):
        stream = video_stream(container, picture)
        codec = stream.codec_context.codec.canonical_name
        as_stream = BitStreamFilterContext("hevc_mp4toannexb", stream) if codec == "hevc" else None
        for packet in container.demux(stream):
            if packet.pts is None or packet.is_discard:
                continue
            when, message = packet.pts, b""
            with suppress(*UNDECODABLE, IndexError):
                if as_stream:
                    message = next(_in_h265(b"".join(map(bytes, as_stream.filter(packet)))), b"")
                elif codec == "av1":
                    message = next(_in_av1(bytes(packet)), b"")
            yield when, message


def of_frames(source: Source, picture: int) -> list[bytes]:
    """The messages of all packets in the order shown, empty where there is none.

    Raises:
        SourceError: the file cannot be read.
    """
    return [message for _, message in sorted(messages(source, picture))]


def first_message(source: Source, picture: int) -> bytes:
    """That of the first packet; empty if it has none.

    Raises:
        SourceError: the file cannot be read.
    """
    return next((message for _, message in messages(source, picture)), b"")


def is_of_the_whole(message: bytes) -> bool:
    """True if it goes for the whole picture; else it names parts of it by their place in the source's samples."""
    return len(message) > 7 and message[7] >> 6 == 1


def _in_h265(data: bytes) -> Iterator[bytes]:
    places = list(_before_the_picture(data))
    for (_, header), (stop, _) in zip(places, [*places[1:], (len(data), 0)], strict=True):
        if data[header] >> 1 & 0x3F == _SEI_PREFIX:
            for kind, message in sei_messages(data[header + 2 : stop]):
                if kind == _REGISTERED and message.startswith(_BEGINS):
                    yield message


def _before_the_picture(data: bytes) -> Iterator[tuple[int, int]]:
    for start, header in nal_units(data):
        yield start, header
        if data[header] >> 1 & 0x3F < 32:
            return


def _in_av1(data: bytes) -> Iterator[bytes]:
    for unit in obus(data):
        if unit.kind == _METADATA:
            kind, at = leb128(data, unit.content)
            message = data[at : unit.stop].rstrip(b"\x00")[:-1]  # less the bit that ends it
            if kind == _ITU_T_T35 and message.startswith(_BEGINS):
                yield message
