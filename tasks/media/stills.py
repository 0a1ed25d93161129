"""Image files of one picture each: what their headers say of time."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import av.error

from tasks.media.movie import exact_rate


def rate_in_header(data: bytes) -> Fraction | None:
    """Pictures a second that a DPX or EXR file says it is one of; None if it does not, or is damaged."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.video[0]
            next(container.decode(stream))
            said = stream.codec_context.framerate
        return exact_rate(said) if said else None
    except (av.error.FFmpegError, IndexError, StopIteration, ValueError):
        return None
