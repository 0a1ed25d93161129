"""What a master will weigh and how long it takes to write: its encoder tried on stretches of the finished picture.

Writes no master, and does not know how many frames there are in all.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av

from tasks.media.picture.colour import Colour
from tasks.media.picture.pixels import Layout
from tasks.media.reading.checksums import frame_checksums
from tasks.media.reading.source import Source, open_input, source_errors
from tasks.media.writing.codecs import MUXER, Container, EncodeSettings
from tasks.media.writing.encode import add_picture

_INTRA = av.video.frame.PictureType.I
_COPIED_SECONDS = 60.0
# Frames after which encoders that were told nothing else make a frame stand by itself.
_LONGEST_PERIOD = 250


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        key_bytes: mean of the frames that stand by themselves; `other_bytes`: of those that lean on others.
        period: frames from one that stands by itself to the next within a shot.
        seconds: a frame, from the segment it is in to its checksum in the master.
    """

    key_bytes: float
    other_bytes: float
    period: int
    seconds: float

    def bytes(self, shots: Sequence[int]) -> float:
        """Of the picture of a master of shots of so many frames, each of which begins with one that stands alone."""
        keys = sum(-(-frames // self.period) for frames in shots)
        return keys * self.key_bytes + (sum(shots) - keys) * self.other_bytes


def try_encoder(
    path: str,
    container: Container,
    settings: EncodeSettings,
    height: int,
    width: int,
    layout: Layout,
    colour: Colour,
    frame_rate: Fraction,
    stretches: Iterable[Iterable[av.VideoFrame]],
) -> Trial:
    """Encode stretches of finished frames, each as the beginning of a shot.

    Args:
        path: a local file to create.
        container: of the master.
        settings: of its encoder.
        height, width, layout, colour: of its frames.
        frame_rate: frames a second, 0 when unknown.
        stretches: finished frames in the order shown; at least one in all.
    """
    rate = frame_rate or Fraction(25)
    sizes: dict[int, int] = {}
    keys: set[int] = set()
    firsts: list[int] = []
    began = time.perf_counter()
    with av.open(f"file:{path}", "w", format=MUXER[container]) as output:
        tick = 1 / rate
        _, encoder = add_picture(output, settings, height, width, layout, colour, tick, rate, Fraction(1))

        def mux(packets: list[av.Packet[av.VideoStream]]) -> None:
            for packet in packets:
                assert packet.pts is not None
                sizes[packet.pts] = packet.size
                if packet.is_keyframe:
                    keys.add(packet.pts)
                output.mux(packet)

        number = 0
        for stretch in stretches:
            firsts.append(number)
            for planar in stretch:
                frame = planar if planar.format.name == encoder.pix_fmt else planar.reformat(format=encoder.pix_fmt)
                frame.pts, frame.time_base = number, tick
                frame.pict_type = _INTRA if number == firsts[-1] else av.video.frame.PictureType.NONE
                mux(encoder.encode(frame))
                number += 1
        mux(encoder.encode(None))
    frame_checksums(Source(path, "trial of an encoder"), 0)
    seconds = time.perf_counter() - began
    # A muxer may take the times into another base; here they are still the numbers that were given.
    alone = keys | set(firsts)
    others = [size for pts, size in sizes.items() if pts not in alone]
    within = sorted(keys - set(firsts))
    return Trial(
        key_bytes=sum(sizes[pts] for pts in alone) / len(alone),
        other_bytes=sum(others) / len(others) if others else 0.0,
        period=min((b - max(a for a in alone if a < b) for b in within), default=_LONGEST_PERIOD),
        seconds=seconds / number,
    )


def copied_bytes_a_second(source: Source, picture: int, without: Collection[str] = ()) -> float:
    """Bytes a second of all that is copied into a master beside its picture, from the first minute of the source.

    `without`: kinds of streams that are not.

    Raises:
        SourceError: it cannot be read.
    """
    copied, first, last = 0, None, 0.0
    with open_input(source) as container, source_errors(source, "reading its other streams"):
        for packet in container.demux():
            if packet.dts is None:
                continue
            last = float(packet.dts * packet.time_base)
            first = last if first is None else first
            if last - first > _COPIED_SECONDS:
                break
            if packet.stream.index != picture and packet.stream.type not in without:
                copied += packet.size
    return copied / (last - first) if first is not None and last > first else 0.0
