"""The frame table of a stretch of a title, found by seeking: what lies before and after it is never read.

Such a table proves nothing about the title; it is for looking at a part of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import UsageError
from tasks.media.picture.colour import Colour
from tasks.media.reading.changes import require_one_shape
from tasks.media.reading.decoding import decoded
from tasks.media.reading.rate import rate_of
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.media.reading.timeline import Collector, Timeline

# Seconds before the wanted place to seek to, if what was sought first is not there.
_FURTHER_BACK = (5.0, 60.0)


@dataclass(frozen=True)
class Stretch:
    """Some consecutive frames of a title.

    Attributes:
        timeline: their rows.
        seek: timestamp of a key frame at or before the first of them.
        seconds: when each is shown, counted from the beginning of the title.
    """

    timeline: Timeline
    seek: int
    seconds: tuple[float, ...]


def read_stretch(
    source: Source, stream_index: int, start: float, stop: float, before: int, hdr: Colour | None = None
) -> Stretch:
    """Decode the frames shown in [start, stop), in seconds from the title's beginning, and some that lead up to them.

    Args:
        source: of the title.
        stream_index: of its picture.
        start, stop: seconds.
        before: frames wanted before `start`; there are fewer where the title begins, and more up to a key frame.
        hdr: the title's colour, if it is HDR.

    Raises:
        UsageError: the title ends before `start`.
        SourceError, UnsupportedSource: as for `read_timeline`.
    """
    with open_input(source, only=stream_index) as container, source_errors(source, "decoding a part of it"):
        stream = video_stream(container, stream_index)
        wanted = start - before / float(rate_of(stream) or 1)
    for back in (0.0, *_FURTHER_BACK, None):
        place = None if back is None or wanted <= back else wanted - back
        found = _from(source, stream_index, place, start, stop, hdr)
        # A seek may land late; from the beginning there is nothing before.
        if found is not None and (back is None or wanted <= back or found.seconds[0] <= wanted):
            return found
    raise UsageError(f"{source.label}: shows nothing from {start:g} s on. Name an earlier moment.")


def _from(
    source: Source, stream_index: int, place: float | None, start: float, stop: float, hdr: Colour | None
) -> Stretch | None:
    """The frames up to `stop` that decode when one seeks to a place, or begins; None if none is after `start`."""
    with open_input(source, only=stream_index) as container, source_errors(source, "decoding a part of it"):
        stream = video_stream(container, stream_index)
        base, zero = stream.time_base, stream.start_time or 0
        assert base is not None
        if place is not None:
            container.seek(zero + int(place / base), stream=stream, backward=True)
        collector, seek = Collector(source, stream, hdr), None
        for frame in decoded(container, stream):  # past packets that lean on what was not read
            shown = float((frame.pts - zero) * base) if frame.pts is not None else start
            if shown >= stop:
                break
            seek = frame.pts if seek is None else seek
            if frame.is_corrupt and shown < start:
                collector = Collector(source, stream, hdr)  # leans on what lies before the place that was sought
            else:
                collector.add(frame)
        require_one_shape(source, container, stream, collector.pts, collector.changes)
        seconds = tuple(float((pts - zero) * base) for pts in collector.pts)
        if seek is None or not seconds or seconds[-1] < start:
            return None
        return Stretch(collector.finish(), seek, seconds)
