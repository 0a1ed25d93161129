"""Copying a video packet by packet with one thing done otherwise: what tests of the media contract are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

_FORMATS = {".mkv": "matroska", ".ts": "mpegts", ".m4v": "mp4", ".vob": "vob"}


@dataclass
class Change:
    """What a copy does otherwise than its source.

    Attributes:
        streams: which streams are copied.
        packet: told of each packet and its number in its stream; may alter it; says whether it is copied.
        after: told of the output once its streams are there, and before anything is written.
        late: packets of streams that `after` added, to be written first.
        chapters: whether they are copied.
        options: of the muxer.
    """

    streams: Callable[[Any], bool] = lambda stream: True
    packet: Callable[[Any, int], bool] = lambda packet, number: True
    after: Callable[[Any], None] = lambda output: None
    late: Callable[[Any], list[Any]] = lambda output: []
    chapters: bool = True
    options: dict[str, str] = field(default_factory=dict)


def remux(source: Path, target: Path, change: Change) -> Path:
    """A packet-by-packet copy with one change; the container follows the target's ending."""
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = _FORMATS.get(target.suffix)
    with av.open(f"file:{source}") as original, av.open(f"file:{target}", "w", kind, change.options) as output:
        targets: dict[int, Any] = {}
        stream: Any
        for stream in original.streams:
            if not change.streams(stream):
                continue
            if stream.type == "attachment":
                made: Any = output.add_attachment(stream.name or "font.ttf", stream.mimetype, stream.data)
            else:
                made = output.add_stream_from_template(stream, opaque=True)
                targets[stream.index] = made
            made.metadata.update(stream.metadata)
            made.disposition = stream.disposition
        output.metadata.update(original.metadata)
        if change.chapters and original.chapters():
            output.set_chapters(original.chapters())
        change.after(output)
        for packet in change.late(output):
            output.mux(packet)
        counts: dict[int, int] = {}
        for packet in original.demux():
            number = counts[packet.stream_index] = counts.get(packet.stream_index, -1) + 1
            if not packet.size or packet.stream_index not in targets or not change.packet(packet, number):
                continue
            packet.stream = targets[packet.stream_index]
            output.mux(packet)
    return target
