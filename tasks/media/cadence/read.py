"""Frame-exact reading of a range of a source: seek near, decode, drop, and prove that the frames are the planned ones.

A seek may land late, or on a frame whose references are gone (open groups of pictures, broken indexes, broadcast
streams). Every frame is therefore held against the timestamp and checksum of the title's frame table; on a mismatch
the reader starts again from further back, in the end from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av.error
import numpy as np

from tasks.errors import SourceChanged
from tasks.media.cadence.recipe import Recipe
from tasks.media.cadence.weave import pictures
from tasks.media.picture.pixels import Layout, Planes, checksum, to_planes
from tasks.media.reading.decoding import decoded
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.media.reading.stamps import NEVER
from tasks.media.reading.timeline import Timeline

# How many key frames further back to try before decoding from the beginning.
_SEEK_ATTEMPTS = 3


@dataclass(frozen=True)
class Window:
    """Consecutive frames of a title, and how to find and recognise them.

    Attributes:
        start: frame number of the first one.
        pts, checksum: of each frame, from the frame table; timestamps as the decoder gives them, `NEVER` for none.
        seeks: timestamps of key frames at or before the first one, nearest first.
        plain: all of the title is whole, and its timestamps rise. If not, it is decoded as its table was, in one
            thread, and from the beginning frames are counted.
    """

    start: int
    pts: tuple[int, ...]
    checksum: tuple[int, ...]
    seeks: tuple[int, ...]
    plain: bool = True


def window(timeline: Timeline, start: int, stop: int) -> Window:
    """The window of frames [start, stop) of a title."""
    keys = np.flatnonzero(timeline.key[: start + 1])[::-1][:_SEEK_ATTEMPTS]
    findable = timeline.said[start] != NEVER
    return Window(
        start=start,
        pts=tuple(timeline.said[start:stop].tolist()),
        checksum=tuple(timeline.checksum[start:stop].tolist()),
        # Frame 0 is where the file begins: no seek needed.
        seeks=tuple(int(timeline.said[k]) for k in keys if k > 0 and findable and timeline.said[k] != NEVER),
        plain=timeline.is_plain,
    )


def read_pictures(
    source: Source, stream_index: int, layout: Layout, wanted: Window, recipe: Recipe
) -> Iterator[Planes]:
    """The pictures that a recipe makes of the frames of a window; all of them if it is empty.

    Raises:
        SourceError, SourceChanged: see `read_window`.
    """
    # The window is read to its end, which proves the source is still the same.
    yield from pictures(read_window(source, stream_index, layout, wanted), wanted.start, layout, recipe)


def read_window(source: Source, stream_index: int, layout: Layout, wanted: Window) -> Iterator[Planes]:
    """Decode exactly the frames of a window, in order.

    Raises:
        SourceError: damaged, or unreadable.
        SourceChanged: decoding from the very beginning does not give the planned frames either.
    """
    done = 0
    for seek in (*wanted.seeks, None):
        for planes in _from(source, stream_index, layout, wanted, seek, done):
            done += 1
            yield planes
        if done == len(wanted.pts):
            return
    raise SourceChanged(
        f"{source.label}: frame {wanted.start + done} is not the frame that was planned: the file changed, is damaged"
        " so that no two decodes are alike, or another version of FFmpeg decodes it differently. Run again to plan it"
        " afresh; if that does not help, fetch a good copy, or use the same version of `av` on every node."
    )


def _from(
    source: Source, stream_index: int, layout: Layout, wanted: Window, seek: int | None, done: int
) -> Iterator[Planes]:
    """The wanted frames from number `done` on, as far as they are right when decoding starts at `seek`."""
    with open_input(source, only=stream_index) as container, source_errors(source, "decoding it"):
        stream = video_stream(container, stream_index, damaged=not wanted.plain)
        if seek is not None:
            try:
                container.seek(seek, stream=stream, backward=True)
            except av.error.FFmpegError:
                return
        met = False
        for number, frame in enumerate(decoded(container, stream)):  # what is damaged shows in the checksums
            said = NEVER if frame.pts is None else frame.pts
            if not met and _is_before(wanted, done, said, number if seek is None else None):
                continue
            met = True
            planes = to_planes(frame, layout)
            if not wanted.plain:
                # Views would keep the frame, and what a decoder makes up depends on which of its frames are free again.
                planes = tuple(plane.copy() for plane in planes)
            if said != wanted.pts[done] or checksum(planes) != wanted.checksum[done]:
                return
            done += 1
            yield planes
            if done == len(wanted.pts):
                return


def _is_before(wanted: Window, done: int, said: int, number: int | None) -> bool:
    """True for a frame before number `done` of those that are wanted; its own number is known from the beginning on."""
    if wanted.plain:
        return said < wanted.pts[done]
    return number < wanted.start + done if number is not None else said != wanted.pts[done]
