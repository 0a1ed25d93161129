"""A picture encoded by several encoders at once, each a range of its frames, and their packets joined to one stream.

Each encoder begins with a key frame and sees no frame of another's: no range leans on its neighbour. Packets wait in
files until all ranges are done, so that memory holds what the encoders hold and no more.

Knows neither how frames become packets nor containers. Which frames no other leans on, a hint that encoders give and
some containers keep, is lost: PyAV cannot say it of a packet that it makes.
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from tasks.errors import UnsupportedSource

# Before each packet of a file: its time, whether it is a key frame, and its length in bytes.
_HEAD = struct.Struct(">q?Q")


@dataclass(frozen=True)
class Range:
    """Consecutive frames of a picture, for one encoder.

    Attributes:
        start, stop: their numbers.
        frames: they themselves, in order; taken by a thread of its own where a picture has several ranges.
    """

    start: int
    stop: int
    frames: Iterable[av.VideoFrame]


# Gives a range's encoder, and what comes out of it.
Encode = Callable[[Range], "tuple[Any, Iterator[Packet[Any]]]"]


@dataclass(frozen=True)
class _Part:
    """An encoded range: the file of its packets, in the order of decoding, and what goes for all of them.

    `late` is by how many frames the latest packet comes after its place in the order of showing.
    """

    path: Path
    extradata: bytes
    time_base: Fraction
    late: int


def encode_ranges(
    encode: Encode, ranges: Sequence[Range], times: list[int], path: str, label: str
) -> Iterator[Packet[Any]]:
    """Encode ranges, two at once or one for every two cores, and give their packets as those of one encoder.

    No packet is decoded later than it is shown, and decoding times rise.

    Args:
        encode: called in the range's thread.
        ranges: all of the picture, in order.
        times: of its frames, in the encoders' time base; rising.
        path: what the names of the files begin with that packets wait in; those that are left after an error are the
            caller's to remove.
        label: of the title, for errors.

    Raises:
        UnsupportedSource: the encoders gave streams that do not go together.
        OSError: the disk is full or not writable.
    """
    parts = _encoded(encode, ranges, times, path)
    if any(part.extradata != parts[0].extradata for part in parts):
        raise UnsupportedSource(
            f"{label}: the encoders of its {len(parts)} ranges gave different headers (extradata), so that their"
            " packets do not make one stream. Set master.ranges = 1."
        )
    late = max(part.late for part in parts)
    before = times[late] - times[0]
    for number, packet in enumerate(packet for part in parts for packet in _waiting(part)):
        packet.dts = times[number - late] if number >= late else times[number] - before
        yield packet


def _encoded(encode: Encode, ranges: Sequence[Range], times: list[int], path: str) -> list[_Part]:
    stop = threading.Event()
    # One encoder has work for several cores, and holds dozens of frames.
    at_once = max(2, (os.cpu_count() or 1) // 2)
    with ThreadPoolExecutor(at_once, "encode") as threads:
        work = [
            threads.submit(_encode_one, encode, one, times, Path(f"{path}.{number}"), stop)
            for number, one in enumerate(ranges)
        ]
        try:
            for ended in as_completed(work):
                ended.result()
        except BaseException:
            stop.set()
            threads.shutdown(cancel_futures=True)
            raise
    return [each.result() for each in work]


def _encode_one(encode: Encode, one: Range, times: list[int], path: Path, stop: threading.Event) -> _Part:
    late = 0
    encoder, packets = encode(replace(one, frames=_until(stop, one.frames)))
    with path.open("xb") as file:
        for number, packet in enumerate(packets, one.start):
            assert packet.pts is not None
            late = max(late, number - bisect_left(times, packet.pts))
            file.write(_HEAD.pack(packet.pts, packet.is_keyframe, packet.size))
            file.write(packet)
    return _Part(path, bytes(encoder.extradata or b""), encoder.time_base, late)


def _until(stop: threading.Event, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for frame in frames:
        if stop.is_set():
            raise CancelledError
        yield frame


def _waiting(part: _Part) -> Iterator[Packet[Any]]:
    """The packets of a range, whose file is then removed."""
    with part.path.open("rb") as file:
        while head := file.read(_HEAD.size):
            pts, is_key, size = _HEAD.unpack(head)
            packet: Packet[Any] = Packet(file.read(size))
            packet.pts, packet.time_base, packet.is_keyframe = pts, part.time_base, is_key
            yield packet
    part.path.unlink()
