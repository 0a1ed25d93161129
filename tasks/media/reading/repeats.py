"""Repeat flags of MPEG-2: which pictures are to be shown for a field more. Nothing is decoded."""

from __future__ import annotations

from tasks.media.reading.source import Source, open_input, packets_of, source_errors, video_stream

_EXTENSION = b"\x00\x00\x01\xb5"
_PICTURE_CODING = 8  # its identifier, in the first four bits
_PLACE, _BIT = 3, 0x02  # of repeat_first_field, behind the start code


def count_repeat_flags(source: Source, stream_index: int) -> int:
    """How many pictures of an MPEG-2 stream are flagged to show their first field again.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(source, only=stream_index) as container, source_errors(source, "reading its repeat flags"):
        stream = video_stream(container, stream_index)
        return sum(repeats(bytes(packet)) for packet in packets_of(container, stream))


def repeats(packet: bytes) -> bool:
    """Whether the picture of a packet has the flag."""
    place = packet.find(_EXTENSION)
    while place >= 0:
        body = packet[place + len(_EXTENSION) : place + len(_EXTENSION) + _PLACE + 1]
        if len(body) > _PLACE and body[0] >> 4 == _PICTURE_CODING:
            return bool(body[_PLACE] & _BIT)
        place = packet.find(_EXTENSION, place + len(_EXTENSION))
    return False
