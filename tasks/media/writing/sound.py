"""Sound that no container has a place for as it is: decoded and kept sample for sample, as FLAC, ALAC or floats.

Samples of up to 16 bits stay what they are. So do floats in Matroska, which may go beyond full scale. Elsewhere they
are kept in 24 bits, as are 32 bits anywhere: QuickTime's floats know no pauses, and players of MP4 no floats.
Nothing is resampled, and no sample is left out or made up; where a track pauses, so does the new one, to the packet.
Only what changes its layout or rate in mid-stream, as broadcasts do, is brought into those that it begins with.
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
import numpy as np
import numpy.typing as npt
from av.packet import Packet

from tasks.media.reading.decoding import UNDECODABLE
from tasks.media.reading.source import Source, open_input, source_errors

_FLOATS = ("pcm_f32le", "flt")
# By muxer: codec and layout for samples of up to 16 bits, for others, and for floats.
_KEPT_AS = {
    "mp4": (("flac", "s16"), ("flac", "s32"), ("flac", "s32")),
    "matroska": (("flac", "s16"), ("flac", "s32"), _FLOATS),
    "mov": (("alac", "s16p"), ("alac", "s32p"), ("alac", "s32p")),
}
_IN_16_BITS, _IN_24_BITS, _IN_FLOATS = range(3)
_SMALL, _FLOAT = ("u8", "u8p", "s16", "s16p"), ("flt", "fltp", "dbl", "dblp")
_FULL_SCALE = 1 << 23  # of 24 bits
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# Bumped when the same track would become another one.
SOUND_VERSION = 2
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
    codec, layout = _KEPT_AS[muxer][_depth(stream)]
    target: Any = output.add_stream(codec, rate=stream.rate, layout=_layout(stream))
    target.format = layout
    target.time_base = target.codec_context.time_base = Fraction(1, stream.rate)
    return target


def cuts_off(muxer: str, stream: Any) -> bool:
    """True if the samples of such a track may go beyond full scale, and are cut off there by what they become."""
    return _depth(stream) == _IN_FLOATS and _KEPT_AS[muxer][_IN_FLOATS] != _FLOATS


def _depth(stream: Any) -> int:
    """Which of what a muxer takes the samples of a track become."""
    context = stream.codec_context
    name = context.format.name if context is not None and context.format is not None else ""
    return _IN_16_BITS if name in _SMALL else _IN_FLOATS if name in _FLOAT else _IN_24_BITS


def _layout(stream: Any) -> str:
    """Where the channels belong; where nobody says, as so many usually do."""
    name, count = str(stream.layout.name), int(stream.codec_context.channels)
    return _LAYOUTS.get(count, name) if name.endswith(" channels") else name


class Alike:
    """Brings the frames of a track that changes its layout, rate or format in mid-stream into those of its first."""

    def __init__(self) -> None:
        self._first: tuple[str, str, int] | None = None
        self._now: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def take(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """The frames that are ready with the next one."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        self._first = self._first or shape
        ready: list[av.AudioFrame] = []
        if shape != self._now:
            ready, self._now = self.end(), shape
            self._resampler = av.AudioResampler(*self._first) if shape != self._first else None
        return [*ready, *(self._resampler.resample(frame) if self._resampler else [frame])]

    def end(self) -> list[av.AudioFrame]:
        """What is left when there are no more of a kind."""
        return self._resampler.resample(None) if self._resampler else []


class Transcoder:
    """Takes the packets of a track of sound, gives those of its track in the master."""

    def __init__(self, stream: Any, target: Any) -> None:
        self._stream, self._target, self._rate = stream, target, stream.rate
        size = target.codec_context.frame_size
        self._resampler = av.AudioResampler(target.codec_context.format.name, target.layout.name, self._rate, size)
        self._alike = Alike()
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
            yield from self._resampled(self._alike.take(frame))
        if packet is None and self._taken:
            yield from self._resampled(self._alike.end())
            yield from self._encoded(self._resampler.resample(None))
            yield from self._timed(self._target.encode(None))

    def _resampled(self, frames: list[av.AudioFrame]) -> Iterator[Packet[Any]]:
        for frame in frames:
            frame.pts, frame.time_base = self._taken, Fraction(1, self._rate)
            self._taken += frame.samples
            yield from self._encoded(self._resampler.resample(frame))

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
    """A track of sound as it is heard.

    Attributes:
        begins: seconds.
        sha256: over all its samples.
        beyond: how many of them are beyond full scale.
    """

    begins: Fraction
    sha256: str
    beyond: int = 0


def hear(source: Source, index: int, master: Source, other: int) -> tuple[Heard, Heard]:
    """Decode a track of a source and one of its master, which is to hold its samples, in the depth that it has there.

    Of floats 24 bits are compared, but beyond full scale too: the last bits are another thing on each processor.

    Raises:
        SourceError: one of them cannot be read.
    """
    depths = []
    for place, at in ((source, index), (master, other)):
        with open_input(place) as container:
            depths.append(_depth(container.streams[at]))
    depth = max(depths[1], _IN_24_BITS) if depths[0] == _IN_FLOATS else depths[0]
    return _heard(source, index, depth), _heard(master, other, depth)


def _heard(source: Source, index: int, depth: int) -> Heard:
    digest, alike = hashlib.sha256(), Alike()
    begins: Fraction | None = None
    beyond = 0

    def take(frames: list[av.AudioFrame]) -> None:
        nonlocal beyond
        for frame in frames:
            frame.pts = None
            if frame.format.name in _FLOAT:
                beyond += int((np.abs(frame.to_ndarray()) > 1.0).sum())
            for ready in resampler.resample(frame):
                digest.update(_codes(ready.to_ndarray(), depth).tobytes())  # of all channels, interleaved

    with open_input(source) as container, source_errors(source, "decoding its sound"):
        stream: Any = container.streams[index]
        resampler = av.AudioResampler(("s16", "s32", "flt")[depth], _layout(stream), stream.rate)
        for packet in container.demux(stream):
            frames: list[Any] = []
            with suppress(*UNDECODABLE):
                frames = packet.decode()
            for frame in frames:
                if begins is None and frame.pts is not None:
                    begins = frame.pts * frame.time_base
                take(alike.take(frame))
        take(alike.end())
    return Heard(begins or Fraction(0), digest.hexdigest(), beyond)


def _codes(samples: npt.NDArray[Any], depth: int) -> npt.NDArray[Any]:
    if depth == _IN_FLOATS:
        return np.rint(samples.astype(np.float64) * _FULL_SCALE).astype(np.int64)
    return samples >> 8 if depth == _IN_24_BITS else samples
