"""A picture that changes its size or pixel format in mid-stream, as broadcasts do: where, and whether there is a cut.

Knows nothing of who cuts (`tasks.media.writing.part`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import av
import av.container
import av.video.stream

from tasks.errors import SizeChanges, UnsupportedSource
from tasks.media.reading.source import Source

Shape = tuple[int, int, str]  # width, height, pixel format
# Containers that say anew at every key frame what their picture is, so that a copy may begin at any.
_CUT_ANYWHERE = frozenset({"mpeg", "mpegts"})
_MOST_PARTS = 20  # what changes more often is damaged


@dataclass(frozen=True)
class Change:
    """The first frame of another shape than the one before it."""

    frame: int
    pts: int | None
    key: bool
    before: Shape
    after: Shape


def shape_of(frame: av.VideoFrame) -> Shape:
    """What has to be the same of all frames of a title."""
    return frame.width, frame.height, frame.format.name


def require_one_shape(
    source: Source,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    times: Sequence[int],
    changes: Sequence[Change],
) -> None:
    """Refuse a picture that changes.

    Args:
        source, container, stream: where it is.
        times: when its frames before the first change are shown, in the stream's time base.
        changes: in the order of frames.

    Raises:
        SizeChanges: it can be cut where it does: in such a container, at key frames that say when they are shown.
        UnsupportedSource: it cannot.
    """
    if not changes:
        return
    first, *others = changes
    since = float(((first.pts or 0) - times[0]) * (stream.time_base or 0))  # its key frame is the first not before
    command = f"ffmpeg -i IN -map 0 -c copy -f segment -segment_times {since - 0.001:.3f} OUT%d{source.suffix}"
    more = f", and {len(others)} times more" if others else ""
    message = (
        f"{source.label}: changes from {first.before} to {first.after} at frame {first.frame}{more}; split the file"
        f" there (`{command}`) and remaster the parts."
    )
    at = tuple(change.pts for change in changes if change.pts is not None and change.key)
    in_order = len(at) == len(changes) and all(a < b for a, b in pairwise((max(times), *at)))
    if container.format.name in _CUT_ANYWHERE and in_order and len(at) < _MOST_PARTS:
        raise SizeChanges(message, at)
    raise UnsupportedSource(message)
