"""How many pictures a second a stream shows, and by which rate its timecode counts. Reads headers only."""

from __future__ import annotations

from fractions import Fraction

import av.video.stream

from tasks.media.reading.timecode import said_timecode


def rate_of(stream: av.video.stream.VideoStream) -> Fraction:
    """Frames a second on average, 0 if unknown; of a stream with gaps and a timecode, as many as that counts."""
    average, nominal = stream.average_rate or Fraction(0), stream.guessed_rate or Fraction(0)
    # The demuxer of raw DV gives its clock for the average.
    if average * (stream.time_base or 0) == 1 and 0 < nominal < average:
        return nominal
    # Half as many would be a rate of fields, or of a clock.
    has_gaps = average < nominal < 2 * average and round(average) != round(nominal)
    return nominal if has_gaps and said_timecode(stream.container) else average
