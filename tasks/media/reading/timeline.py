"""The frame table of a title, from one full decode: when each frame is shown, and how to know it again.

Everything later leans on this table: shards are ranges of its rows, a worker proves with its checksums that it decoded
exactly those frames, masters take their timestamps from it. Frames that are damaged are marked, and timestamps that
cannot be true repaired (`tasks.media.reading.stamps`). Says nothing of how shards are cut, nor of how much damage is
too much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import av.container
import av.filter
import av.packet
import av.video.stream
import numpy as np
import numpy.typing as npt

from tasks.errors import SourceError
from tasks.media.picture.alpha import require_opaque
from tasks.media.picture.bars import black_lines
from tasks.media.picture.colour import Colour
from tasks.media.picture.graph import pulled
from tasks.media.picture.hdr import brightest_code
from tasks.media.picture.pixels import Layout, checksum, layout_of, to_planes
from tasks.media.reading.changes import Change, Shape, require_one_shape, shape_of
from tasks.media.reading.damage import AFTER_LOSS, CONCEALED
from tasks.media.reading.decoding import UNDECODABLE, Damaged, alpha_decoder, decoder
from tasks.media.reading.limits import Limits
from tasks.media.reading.side_data import attached
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.media.reading.stamps import NEVER, DoubtfulTimes, Ticks, times_of
from tasks.media.reading.stills import holds_its_chunks, require_as_shown
from tasks.media.reading.whole import what_is_missing

# Bumped when a table made by older code must not be reused.
TIMELINE_VERSION = 4

_LIMITS = Limits()
PROGRESSIVE, TOP_FIRST, BOTTOM_FIRST, UNDETERMINED = range(4)
_FIELD_CODES = {"progressive": PROGRESSIVE, "tff": TOP_FIRST, "bff": BOTTOM_FIRST, "undetermined": UNDETERMINED}
# A title shorter than its header by more than this share (and more than a second) was cut off.
_TRUNCATED_SHARE = 0.02
# Decoders of pictures that need no other: every packet gives one.
_STANDING_ALONE = frozenset({"dpx", "exr", "mjpeg", "png", "tiff"})


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
        said: int64, the timestamp that the source gives the frame, `stamps.NEVER` for none; else than `pts` if that was
            repaired.
        damage: uint8, bits of `tasks.media.reading.damage`; 0 for a whole frame.
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
    said: npt.NDArray[np.int64]
    damage: npt.NDArray[np.uint8]

    @property
    def is_plain(self) -> bool:
        """True if every frame is whole, and is shown when the source says."""
        return not self.damage.any() and bool((self.pts == self.said).all())

    def __len__(self) -> int:
        return len(self.pts)


def read_timeline(source: Source, stream_index: int, limits: Limits = _LIMITS, hdr: Colour | None = None) -> Timeline:
    """Decode a title once; twice, if it turns out to be damaged.

    Where no frame has a timestamp and the stream does not know its rate, all durations are 0 and times mean nothing.

    Args:
        source, stream_index: of the picture.
        limits: what a title may be at most.
        hdr: its colour, if it is HDR.

    Raises:
        SourceError: torn, truncated, or its timestamps do not say when its frames are shown.
        SizeChanges: the picture changes size or format in mid-stream, and the source can be cut there.
        UnsupportedSource: it cannot; or there are more frames than the `limits` allow, whatever the header said.
    """
    missing = what_is_missing(source.place)
    if missing:
        raise SourceError(
            f"{source.label}: is truncated or damaged: {missing}. Fetch a whole copy; or, to do without what is lost,"
            f" copy what is there (`ffmpeg -i IN -map 0 -c copy OUT{source.suffix}`)."
        )
    try:
        return _read(source, stream_index, limits, hdr, damaged=False)
    except Damaged:
        return _read(source, stream_index, limits, hdr, damaged=True)


def _read(source: Source, stream_index: int, limits: Limits, hdr: Colour | None, damaged: bool) -> Timeline:
    with open_input(source) as container:
        stream = video_stream(container, stream_index, damaged)
        collector = Collector(source, stream, hdr, damaged)
        end_seconds, packets = 0.0, 0
        stands_alone = stream.codec_context.name in _STANDING_ALONE
        decode, hidden_keys = decoder(stream), bool(alpha_decoder(stream))
        with source_errors(source, "decoding it"):
            for packet in container.demux():
                end_seconds = max(end_seconds, _end_of(packet))
                if packet.stream.index == stream_index:  # the flushing packet has no index of its own
                    packets += packet.size > 0
                    if hidden_keys and packet.is_keyframe and packet.pts is not None:
                        collector.keys.add(packet.pts)
                    limits.require(source.label, frames=packets)
                    if stream.codec_context.name == "exr" and packet.size:
                        _require_all_of_it(source, packet)
                    for frame in _decoded(packet, decode, collector, stands_alone):
                        collector.add(frame)
                    if collector.is_damaged and not damaged:
                        raise Damaged
        # Decoders that work ahead swallow what is wrong with the last file.
        if stands_alone and len(collector.pts) < packets and not damaged:
            raise Damaged
        require_one_shape(source, container, stream, collector.pts, collector.changes)
        timeline = collector.finish()
        _require_whole(source, container, stream, packets, end_seconds)
    return timeline


def _decoded(
    packet: av.packet.Packet[Any],
    decode: Callable[[av.packet.Packet[Any]], list[av.VideoFrame]],
    collector: Collector,
    stands_alone: bool,
) -> list[av.VideoFrame]:
    # A capture may start in mid-GOP: nothing decodes before its first key frame. Numbered images all are key frames.
    if packet.is_corrupt and collector.pts:
        collector.torn(packet)
    try:
        return decode(packet)
    except UNDECODABLE:
        if collector.pts or stands_alone:
            collector.lost(packet)
        return []


def _require_all_of_it(source: Source, packet: av.packet.Packet[Any]) -> None:
    """Refuse an EXR file of which FFmpeg would decode a part, and say nothing."""
    data, seconds = bytes(packet), float((packet.pts or 0) * packet.time_base)
    if not holds_its_chunks(data):
        raise SourceError(f"{source.label}: is damaged at {seconds:.2f} s (an EXR file is cut off). Fetch a good copy.")
    require_as_shown(data, f"{source.label}, at {seconds:.2f} s")


def decoding_command(source: Source, decoder: str = "") -> str:
    """What makes a whole file of the frames of a source that can be decoded, with everything else it holds.

    Args:
        source: the file.
        decoder: of its picture, where FFmpeg's own would leave something out.
    """
    by = f"-c:v {decoder} " if decoder else ""
    return f"ffmpeg {by}-i IN -map 0 -c copy -c:v ffv1 OUT{_ffv1_suffix(source)}"


def _ffv1_suffix(source: Source) -> str:
    """The ending for a file with FFV1 in it that holds every other stream of the source."""
    suffix = source.suffix.lower()
    return {".mp4": ".mp4", ".m4v": ".mp4", ".mov": ".mp4"}.get(suffix, ".mkv")


class Collector:
    """Gathers the rows of a table, frame by frame; scene and field detection run in one filter graph beside it."""

    def __init__(
        self, source: Source, stream: av.video.stream.VideoStream, hdr: Colour | None, damaged: bool = False
    ) -> None:
        """Begin.

        Args:
            source: for words.
            stream: its picture.
            hdr: its colour, if it is HDR.
            damaged: it is known to be: no frame is kept longer than by whoever reads it later, as what a decoder makes
                up depends on which of its frames are free again.
        """
        self._source = source
        self._stream = stream
        self._hdr = hdr
        self._damaged = damaged
        self._layout: Layout | None = None
        self._shape: Shape | None = None
        self.changes: list[Change] = []
        self.keys: set[int] = set()  # times of key frames whose decoder does not say that they are
        self._graph: av.filter.Graph | None = None
        self._scores: dict[int, tuple[float, int]] = {}
        self.pts: list[int] = []
        self._rows: list[tuple[int, int, bool, bool, bool]] = []
        self._black: list[tuple[int, int, int, int]] = []
        self._peak: list[float] = []
        self._concealed: list[int] = []
        self._torn: set[int] = set()
        self._lost: list[int] = []

    @property
    def is_damaged(self) -> bool:
        """True if anything was found that is."""
        return bool(self._concealed or self._torn or self._lost)

    def torn(self, packet: av.packet.Packet[Any]) -> None:
        """Take note that part of a packet is missing, so that its frame is none that can be trusted."""
        self._torn.add(self._when(packet))

    def lost(self, packet: av.packet.Packet[Any]) -> None:
        """Take note of a packet that gives no frame."""
        self._lost.append(self._when(packet))

    def _when(self, packet: av.packet.Packet[Any]) -> int:
        stamp = packet.pts if packet.pts is not None else packet.dts
        return stamp if stamp is not None else max(self.pts)

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next frame in."""
        shape = shape_of(frame)
        if self._shape is None:
            self._layout = layout_of(frame.format.name, self._source.label)
            self._graph = self._detectors(frame)
        elif shape != self._shape:
            self.changes.append(Change(len(self.pts), frame.pts, frame.key_frame, self._shape, shape))
        self._shape = shape
        if self.changes:
            return  # what is wanted is where the others are
        assert self._layout is not None and self._graph is not None
        require_opaque(frame, self._source.label)
        number = len(self.pts)
        if frame.is_corrupt:
            self._concealed.append(number)
        self.pts.append(NEVER if frame.pts is None else frame.pts)
        planes = to_planes(frame, self._layout)
        captions = "A53_CC" in attached(frame)
        key = frame.key_frame or frame.pts in self.keys
        row = (frame.duration or 0, checksum(planes), key, frame.interlaced_frame, captions)
        self._rows.append(row)
        full_range = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
        self._black.append(black_lines(planes, self._layout, full_range))
        self._peak.append(brightest_code(planes, self._layout, self._hdr) if self._hdr else 0.0)
        watched = _copy(frame) if self._damaged else frame
        watched.pts = number
        self._graph.push(watched)
        self._pull()

    def finish(self) -> Timeline:
        """The table of all frames taken in."""
        if self._graph is None:
            raise SourceError(f"{self._source.label}: holds no decodable picture; fetch a good copy of the file.")
        self._graph.push(None)
        self._pull()
        detected = [self._scores.get(number, (0.0, UNDETERMINED)) for number in range(len(self.pts))]
        said = np.array(self.pts, np.int64)
        duration, sums, key, flagged, captions = zip(*self._rows, strict=True)
        pts, lengths = self._times(said, np.array(duration, np.int64))
        return Timeline(
            pts=pts,
            duration=lengths,
            checksum=np.array(sums, np.uint32),
            key=np.array(key, np.bool_),
            scene=np.array([score for score, _ in detected], np.float32),
            flagged=np.array(flagged, np.bool_),
            fields=np.array([fields for _, fields in detected], np.uint8),
            captions=np.array(captions, np.bool_),
            black=np.array(self._black, np.int32),
            peak=np.array(self._peak, np.float32),
            said=said,
            damage=self._marks(pts, said),
        )

    def _times(self, said: Ticks, lengths: Ticks) -> tuple[Ticks, Ticks]:
        """When frames are shown, and for how long."""
        assert self._stream.time_base is not None
        try:
            times = times_of(said, self._stream.codec_context.framerate, self._stream.time_base)
            if times is None:
                return np.arange(len(said), dtype=np.int64), np.zeros_like(said)
            return times, lengths
        except DoubtfulTimes as doubt:
            number = doubt.frame
            raise SourceError(
                f"{self._source.label}: timestamps are missing or go back from frame {number} on"
                f" ({_words(said[max(0, number - 1)])} then {_words(said[number])}), and when it is shown is in doubt."
                f" Decode it to give it new ones (`{decoding_command(self._source, alpha_decoder(self._stream))}`)."
            ) from doubt

    def _marks(self, pts: Ticks, said: Ticks) -> npt.NDArray[np.uint8]:
        marks = np.zeros(len(pts), np.uint8)
        marks[self._concealed] |= CONCEALED
        marks[np.isin(said, list(self._torn))] |= CONCEALED
        gone = [*self._lost, *(self._torn - set(said.tolist()))]
        if gone:
            marks[np.minimum(np.searchsorted(pts, gone), len(pts) - 1)] |= AFTER_LOSS
        return marks

    def _detectors(self, like: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=self._stream, format=like.format),
            graph.add("metadata", "mode=delete"),  # damaged headers hold what is no text, which PyAV does not read
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


def _words(stamp: int) -> str:
    return "none" if stamp == NEVER else str(stamp)


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame with the same samples, in memory of its own."""
    made = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for old, new in zip(frame.planes, made.planes, strict=True):
        rows = np.frombuffer(memoryview(old), np.uint8).reshape(-1, old.line_size)
        into = np.frombuffer(memoryview(new), np.uint8).reshape(-1, new.line_size)
        width = min(old.line_size, new.line_size)
        into[: old.height, :width] = rows[: old.height, :width]
    return made


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
