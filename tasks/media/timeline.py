"""The frame table of a title, from one full decode: when each frame is shown, and how to know it again.

Everything later leans on this table: shards are ranges of its rows, a worker proves with its checksums that it decoded
exactly those frames, masters take their timestamps from it. Says nothing of how shards are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import av
import av.container
import av.error
import av.filter
import av.packet
import av.video.stream
import numpy as np
import numpy.typing as npt

from tasks.errors import SourceError, UnsupportedSource
from tasks.media.bars import black_lines
from tasks.media.colour import Colour
from tasks.media.graph import pulled
from tasks.media.hdr import brightest_code
from tasks.media.limits import Limits
from tasks.media.pixels import Layout, checksum, layout_of, to_planes
from tasks.media.side_data import attached
from tasks.media.source import Source, open_input, source_errors, video_stream
from tasks.media.stills import holds_its_chunks
from tasks.media.whole import what_is_missing

# Bumped when a table made by older code must not be reused.
TIMELINE_VERSION = 3

_LIMITS = Limits()
PROGRESSIVE, TOP_FIRST, BOTTOM_FIRST, UNDETERMINED = range(4)
_FIELD_CODES = {"progressive": PROGRESSIVE, "tff": TOP_FIRST, "bff": BOTTOM_FIRST, "undetermined": UNDETERMINED}
# A title shorter than its header by more than this share (and more than a second) was cut off.
_TRUNCATED_SHARE = 0.02


@dataclass(frozen=True)
class Timeline:
    """One row a frame, in the order shown; all arrays have the same length.

    Attributes:
        pts: int64, presentation time in the stream's time base, strictly increasing.
        duration: int64, in the same units, 0 when unknown.
        checksum: uint32, of the decoded picture (`pixels.checksum`).
        key: bool, the decoder can start here.
        scene: float32, FFmpeg's scene-change score 0..100 of this frame against the one before.
        flagged: bool, coded as interlaced.
        fields: uint8, what the picture itself looks like (PROGRESSIVE, TOP_FIRST, BOTTOM_FIRST, UNDETERMINED).
        captions: bool, carries closed captions (A53).
        black: int32 [N, 4], black lines at the top, bottom, left and right (`bars.black_lines`).
        peak: float32, the brightest channel's code (`hdr.brightest_code`); 0 of what is not HDR.
    """

    pts: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    checksum: npt.NDArray[np.uint32]
    key: npt.NDArray[np.bool_]
    scene: npt.NDArray[np.float32]
    flagged: npt.NDArray[np.bool_]
    fields: npt.NDArray[np.uint8]
    captions: npt.NDArray[np.bool_]
    black: npt.NDArray[np.int32]
    peak: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pts)


def read_timeline(source: Source, stream_index: int, limits: Limits = _LIMITS, hdr: Colour | None = None) -> Timeline:
    """Decode a title once.

    Args:
        source, stream_index: of the picture.
        limits: what a title may be at most.
        hdr: its colour, if it is HDR.

    Raises:
        SourceError: damaged, truncated, or without usable timestamps.
        UnsupportedSource: the picture changes size or format in mid-stream, or there are more frames than the `limits`
            allow, whatever the header said.
    """
    missing = what_is_missing(source.place)
    if missing:
        raise SourceError(
            f"{source.label}: is truncated or damaged: {missing}. Fetch a whole copy; or, to do without what is lost,"
            f" copy what is there (`ffmpeg -i IN -map 0 -c copy OUT{_suffix(source)}`)."
        )
    with open_input(source) as container:
        stream = video_stream(container, stream_index)
        collector = Collector(source, stream, hdr)
        end_seconds, packets = 0.0, 0
        torn: Fraction | None = None
        with source_errors(source, "decoding it"):
            for packet in container.demux():
                end_seconds = max(end_seconds, _end_of(packet))
                if packet.stream.index == stream_index:  # the flushing packet has no index of its own
                    packets += packet.size > 0
                    limits.require(source.label, frames=packets)
                    if packet.is_corrupt and collector.pts and torn is None:
                        torn = (packet.pts or 0) * packet.time_base
                    if stream.codec_context.name == "exr" and packet.size and not holds_its_chunks(bytes(packet)):
                        raise _damaged(source, (packet.pts or 0) * packet.time_base, "an EXR file is cut off")
                    for frame in _decode(packet, collector, source):
                        collector.add(frame)
        timeline = collector.finish()
        _require_whole(source, container, stream, packets, end_seconds)
    if torn is not None:
        # Told last: where broadcasts were joined something is missing too, and what else changes there says more.
        raise _damaged(source, torn, "part of the stream is missing there, or two recordings were joined")
    return timeline


def _decode(packet: av.packet.Packet[Any], collector: Collector, source: Source) -> list[av.VideoFrame]:
    try:
        return list(packet.decode())
    except av.error.InvalidDataError as error:
        if not collector.pts:
            return []  # a capture that starts in mid-GOP: nothing decodes before its first key frame
        raise _damaged(source, (packet.pts or 0) * packet.time_base, "a frame cannot be decoded") from error


def _damaged(source: Source, seconds: Fraction, what: str) -> SourceError:
    return SourceError(
        f"{source.label}: is damaged at {float(seconds):.2f} s ({what}). Fetch a good copy; or, to have the picture as"
        f" a player would show it, decode it first (`ffmpeg -i IN -map 0 -c copy -c:v ffv1 OUT{_ffv1_suffix(source)}`)."
    )


def _suffix(source: Source) -> str:
    return PurePosixPath(source.label).suffix


def _ffv1_suffix(source: Source) -> str:
    """The ending for a file with FFV1 in it that holds every other stream of the source."""
    suffix = _suffix(source).lower()
    return {".mp4": ".mp4", ".m4v": ".mp4", ".mov": ".mp4"}.get(suffix, ".mkv")


class Collector:
    """Gathers the rows of a table, frame by frame; scene and field detection run in one filter graph beside it."""

    def __init__(self, source: Source, stream: av.video.stream.VideoStream, hdr: Colour | None) -> None:
        self._source = source
        self._stream = stream
        self._hdr = hdr
        assert stream.time_base is not None
        self._time_base = stream.time_base
        self._layout: Layout | None = None
        self._first: tuple[int, int, str] | None = None
        self._graph: av.filter.Graph | None = None
        self._scores: dict[int, tuple[float, int]] = {}
        self.pts: list[int] = []
        self._rows: list[tuple[int, int, bool, bool, bool]] = []
        self._black: list[tuple[int, int, int, int]] = []
        self._peak: list[float] = []

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame in."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._first is None:
            self._first = shape
            self._layout = layout_of(frame.format.name, self._source.label)
            self._graph = self._detectors()
        if shape != self._first:
            raise UnsupportedSource(
                f"{self._source.label}: changes from {self._first} to {shape} at frame {len(self.pts)}; split the file"
                " there and remaster the parts."
            )
        if frame.pts is None:
            raise SourceError(
                f"{self._source.label}: frame {len(self.pts)} has no timestamp. Give it some, with its frame rate for"
                f" RATE (`ffmpeg -r RATE -i IN -map 0 -c copy -c:v ffv1 OUT{_ffv1_suffix(self._source)}`)."
            )
        if self.pts and frame.pts <= self.pts[-1]:
            raise SourceError(
                f"{self._source.label}: timestamps go back at frame {len(self.pts)} ({self.pts[-1]} then {frame.pts})."
                " Decode it to give it new ones"
                f" (`ffmpeg -i IN -map 0 -c copy -c:v ffv1 OUT{_ffv1_suffix(self._source)}`)."
            )
        if frame.is_corrupt:
            raise _damaged(self._source, frame.pts * self._time_base, "the decoder had to make up part of a frame")
        assert self._layout is not None and self._graph is not None
        self.pts.append(frame.pts)
        planes = to_planes(frame, self._layout)
        captions = "A53_CC" in attached(frame)
        row = (frame.duration or 0, checksum(planes), frame.key_frame, frame.interlaced_frame, captions)
        self._rows.append(row)
        full_range = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
        self._black.append(black_lines(planes, self._layout, full_range))
        self._peak.append(brightest_code(planes, self._layout, self._hdr) if self._hdr else 0.0)
        self._graph.push(frame)
        self._pull()

    def finish(self) -> Timeline:
        """The table of all frames taken in."""
        if self._graph is None:
            raise SourceError(f"{self._source.label}: holds no decodable picture; fetch a good copy of the file.")
        self._graph.push(None)
        self._pull()
        detected = [self._scores.get(pts, (0.0, UNDETERMINED)) for pts in self.pts]
        duration, sums, key, flagged, captions = zip(*self._rows, strict=True)
        return Timeline(
            pts=np.array(self.pts, np.int64),
            duration=np.array(duration, np.int64),
            checksum=np.array(sums, np.uint32),
            key=np.array(key, np.bool_),
            scene=np.array([score for score, _ in detected], np.float32),
            flagged=np.array(flagged, np.bool_),
            fields=np.array([fields for _, fields in detected], np.uint8),
            captions=np.array(captions, np.bool_),
            black=np.array(self._black, np.int32),
            peak=np.array(self._peak, np.float32),
        )

    def _detectors(self) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=self._stream),
            graph.add("idet"),
            graph.add("scdet", "threshold=100"),  # only the score is wanted, not FFmpeg's own verdict
            graph.add("buffersink"),
        )
        graph.configure()
        return graph

    def _pull(self) -> None:
        assert self._graph is not None
        for seen in pulled(self._graph):
            assert seen.pts is not None
            notes = seen.metadata
            score = float(notes.get("lavfi.scd.score", 0.0))
            fields = _FIELD_CODES.get(notes.get("lavfi.idet.multiple.current_frame", ""), UNDETERMINED)
            self._scores[seen.pts] = (score, fields)


def _end_of(packet: av.packet.Packet[Any]) -> float:
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _require_whole(
    source: Source,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    packets: int,
    end_seconds: float,
) -> None:
    """Refuse a file that ends before its own header says it should."""
    # AVI counts frames that are only held longer, and have no packet; QuickTime those that an edit list leaves out.
    promised_frames = min(stream.frames, len(stream.index_entries))
    if packets < promised_frames and "mov" in container.format.name:
        raise SourceError(
            f"{source.label}: truncated: it holds {packets} of the {promised_frames} frames its header promises."
            " Fetch a whole copy, then run again."
        )
    promised = (container.duration or 0) / 1e6
    # Some muxers count from zero, some from the first frame; a title that starts late must not look cut off.
    short = promised - end_seconds
    if promised and short > max(1.0, _TRUNCATED_SHARE * promised) and "matroska" in container.format.name:
        raise SourceError(
            f"{source.label}: truncated: it ends {short:.1f} s before the {promised:.1f} s its header promises. Fetch a"
            " whole copy, then run again."
        )
