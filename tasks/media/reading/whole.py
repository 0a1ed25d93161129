"""Whether a file is all there, told from the lengths that its own structure names. Decodes nothing.

Demuxers make the best of a torn file: they stop early or skip to where they find their way again, and say nothing of
the frames in between. Here every length is followed to its end instead:

    MP4, MOV   the boxes of the file
    Matroska   the elements of the file and of each of its clusters, which hold the frames
    AVI        the chunks of the file, down to those that hold the frames

Streams made for broadcast (transport and program streams, raw bitstreams) name no lengths: nothing can be said of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_BOXES = _FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"ssix", b"uuid", b"meta", b"udta", b"emsg", b"prft", b"PICT"}
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
# Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock, Void, CRC-32.
_IN_CLUSTER = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF}


def what_is_missing(place: str | BinaryIO) -> str:
    """What is torn, as a clause; empty for a whole file, for one of another kind, and where there is no file.

    Args:
        place: a local path, or a seekable binary file.
    """
    if not isinstance(place, str):
        return _examine(place)
    try:
        with Path(place).open("rb") as file:
            return _examine(file)
    except OSError:
        return ""  # whoever opens it to decode it can say more


def _examine(file: BinaryIO) -> str:
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _FIRST_BOXES:
        return _boxes(file, size)
    if head[:4] == _EBML.to_bytes(4, "big"):
        return _elements(file, size)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return _chunks(file, size)
    return ""


def _boxes(file: BinaryIO, size: int) -> str:
    position, fragmented = 0, False
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            return ""  # the last box, which goes on to the end
        if length < 8 or kind not in _BOXES:
            # Behind a movie cameras leave all kinds of things. Behind a fragment belongs the next one.
            return _torn(position) if fragmented else ""
        fragmented |= kind == b"moof"
        position += length
    return _missing(position - size) if position > size else ""


def _chunks(file: BinaryIO, size: int) -> str:
    position, riff_end = 0, 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        end = position + 8 + length + length % 2
        if position >= riff_end:
            if kind != b"RIFF" or not length:
                return ""  # padding; or a recording that was never closed, which says nothing of its length
            riff_end = end
            if end > size + 1:  # the last byte may be left out if it is padding
                return _missing(position + 8 + length - size)
        elif not kind.isascii() or not kind.decode().isprintable() or end > riff_end + 1:
            return _torn(position)
        position += 12 if kind in {b"RIFF", b"LIST"} else end - position
    return ""


def _elements(file: BinaryIO, size: int) -> str:
    position, cluster_end, in_segment, live = 0, 0, False, False
    segment_end = size
    while position < segment_end:
        kind, length, body = element(file, position)
        end = size if length is None else body + length
        if kind == _SEGMENT and not in_segment:
            if end > size:
                return _missing(end - size)
            # A live recording does not know its length, nor need its clusters.
            in_segment, live, segment_end, position = True, length is None, end, body
            continue
        in_cluster = position < cluster_end
        if not kind or end > (cluster_end if in_cluster else size) or (in_cluster and kind not in _IN_CLUSTER):
            return _missing(end - size) if live and end > size else _torn(position)
        if kind == _CLUSTER and length is not None:
            cluster_end = end
        # The elements of a cluster without a length are followed like those around it.
        position = body if kind == _CLUSTER or length is None else end
    return ""


def element(file: BinaryIO, position: int) -> tuple[int, int | None, int]:
    """ID (0: none there), length (None: unknown) and where the content starts."""
    file.seek(position)
    head = file.read(12)
    id_bytes = 9 - head[0].bit_length()
    if id_bytes > 4 or len(head) <= id_bytes:
        return 0, 0, position
    length_bytes = 9 - head[id_bytes].bit_length()
    field = head[id_bytes : id_bytes + length_bytes]
    if length_bytes > 8 or len(field) < length_bytes:
        return 0, 0, position
    ones = (1 << 7 * length_bytes) - 1
    length = int.from_bytes(field, "big") & ones
    body = position + id_bytes + length_bytes
    return int.from_bytes(head[:id_bytes], "big"), None if length == ones else length, body


def _missing(count: int) -> str:
    return f"the file ends {count} bytes before its contents do"


def _torn(position: int) -> str:
    return f"its structure breaks off at byte {position}"
