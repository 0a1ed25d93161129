"""Sound that no container has a place for as it is: decoded and kept sample for sample, as FLAC or ALAC.

Samples of up to 16 bits stay what they are. What a decoder gives in floats or in 32 bits is kept in 24. Nothing is
resampled, and no sample is left out or made up; where a track pauses, so does the new one, to the packet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.container
from av.packet import Packet

from tasks.media.reading.decoding import UNDECODABLE
from tasks.media.reading.source import Source, open_input, source_errors

# By muxer: what it takes, and how that wants samples of up to 16 bits, and others, laid out.
_KEPT_AS = {"mp4": ("flac", "s16", "s32"), "matroska": ("flac", "s16", "s32"), "mov": ("alac", "s16p", "s32p")}
_SMALL = ("u8", "u8p", "s16", "s16p")
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# Bumped when the same track would become another one.
SOUND_VERSION = 1
# In the remark on a track that is kept so.
BY_SAMPLES = "sample for sample"
# Timestamps of some containers are rounded by less than this; more is a pause.
_PAUSE = Fraction(1, 20)


def add_sound(muxer: str, stream: Any, output: av.container.OutputContainer) -> Any:
    """A track in `output` for the samples of a track of another codec.

    Raises:
        ValueError, FFmpegError: it cannot be decoded, or the container does not take that many channels, say.
    """
    context = stream.codec_context
    if context is None or context.format is None or muxer not in _KEPT_AS or not stream.rate:
        raise ValueError("it cannot be decoded")
    codec, small, large = _KEPT_AS[muxer]
    target: Any = output.add_stream(codec, rate=stream.rate, layout=_layout(stream))
    target.format = small if context.format.name in _SMALL else large
    target.time_base = target.codec_context.time_base = Fraction(1, stream.rate)
    return target


def _layout(stream: Any) -> str:
    """Where the channels belong; where nobody says, as so many usually do."""
    name, count = str(stream.layout.name), int(stream.codec_context.channels)
    return _LAYOUTS.get(count, name) if name.endswith(" channels") else name


class Transcoder:
    """Takes the packets of a track of sound, gives those of its track in the master."""

    def __init__(self, stream: Any, target: Any) -> None:
        self._stream, self._target, self._rate = stream, target, stream.rate
        size = target.codec_context.frame_size
        self._resampler = av.AudioResampler(target.codec_context.format.name, target.layout.name, self._rate, size)
        self._taken = 0
        # From which sample on, counted without pauses, how many samples later each is heard.
        self._later: list[tuple[int, int]] = []

    def take(self, packet: Packet[Any] | None) -> Iterator[Packet[Any]]:
        """The packets that are ready with the next one of the source's; None for the end."""
        frames: list[Any] = []
        with suppress(*UNDECODABLE):  # what is damaged is a pause
            frames = packet.decode() if packet is not None else self._stream.codec_context.decode(None)
        for frame in frames:
            if frame.pts is not None:
                late = round(frame.pts * frame.time_base * self._rate) - self._taken
                if not self._later or late - self._later[-1][1] > _PAUSE * self._rate:
                    self._later.append((self._taken, late))
            frame.pts, frame.time_base = self._taken, Fraction(1, self._rate)
            self._taken += frame.samples
            yield from self._encoded(self._resampler.resample(frame))
        if packet is None and self._taken:
            yield from self._encoded(self._resampler.resample(None))
            yield from self._timed(self._target.encode(None))

    def _encoded(self, frames: list[av.AudioFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            yield from self._timed(self._target.encode(frame))

    def _timed(self, packets: list[Packet[Any]]) -> Iterator[Packet[Any]]:
        for packet in packets:
            assert packet.pts is not None
            late = [late for start, late in self._later if start <= packet.pts] or [late for _, late in self._later[:1]]
            packet.pts = packet.dts = packet.pts + (late[-1] if late else 0)
            yield packet


@dataclass(frozen=True)
class Heard:
    """A track of sound as it is heard: when it begins, in seconds, and a hash of all its samples."""

    begins: Fraction
    sha256: str


def hear(source: Source, index: int, master: Source, other: int) -> tuple[Heard, Heard]:
    """Decode a track of a source and one of its master, which is to hold its samples, in 24 bits at most.

    Raises:
        SourceError: one of them cannot be read.
    """
    with open_input(source) as container:
        context: Any = container.streams[index].codec_context
        small = context.format is not None and context.format.name in _SMALL
    return _heard(source, index, small), _heard(master, other, small)


def _heard(source: Source, index: int, small: bool) -> Heard:
    digest = hashlib.sha256()
    begins: Fraction | None = None
    with open_input(source) as container, source_errors(source, "decoding its sound"):
        stream: Any = container.streams[index]
        resampler = av.AudioResampler("s16" if small else "s32", _layout(stream), stream.rate)
        for packet in container.demux(stream):
            frames: list[Any] = []
            with suppress(*UNDECODABLE):
                frames = packet.decode()
            for frame in frames:
                if begins is None and frame.pts is not None:
                    begins = frame.pts * frame.time_base
                frame.pts = None
                for ready in resampler.resample(frame):
                    samples: Any = ready.to_ndarray()  # of all channels, interleaved
                    digest.update((samples if small else samples >> 8).tobytes())
    return Heard(begins or Fraction(0), digest.hexdigest())
