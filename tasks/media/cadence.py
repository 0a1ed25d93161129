"""Cadence: whether a title's frames are pictures or pairs of fields, and making pictures of fields.

The evidence is each frame's flag and what FFmpeg's `idet` sees in it (both in the frame table). Deinterlacing is
FFmpeg's `bwdif`, one frame out for each frame in: frame n depends on frames n - 1, n and n + 1 and on nothing else, so
parts of a title that are read with `CONTEXT` more frames at either end come out as the whole title would.

Knows nothing of shards; inverse telecine is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import av.error
import av.filter
import numpy as np

from tasks.media.pixels import Layout, Planes, to_frame, to_planes
from tasks.media.timeline import BOTTOM_FIRST, PROGRESSIVE, TOP_FIRST, Timeline

Cadence = Literal["progressive", "top", "bottom"]  # or which field comes first

CONTEXT = 1
# Bumped when the same fields would become other pictures.
CADENCE_VERSION = 1
# Rows below which no interlaced format exists: in tiny pictures the detector sees combs that are none.
_LOWEST_INTERLACED = 240
# FFmpeg's AVFieldOrder: top (bottom) field coded and shown first, then coded one way and shown the other.
_TOP_ORDERS, _BOTTOM_ORDERS = {2, 5}, {3, 4}


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against fields.

    Attributes:
        frames: of the title.
        flagged: coded as interlaced.
        combed, clean: look it, do not.
        top_first: which field comes first, by what the frames look like or else by what the file says.
    """

    frames: int
    flagged: int
    combed: int
    clean: int
    top_first: bool

    def interlaced(self, height: int) -> bool:
        """The verdict for pictures of `height` rows."""
        # Fine patterns moving up or down look combed too: without the flag it takes a clear majority.
        looks = self.combed > 3 * self.clean and self.combed >= self.frames / 4 and height >= _LOWEST_INTERLACED
        return (self.flagged > self.frames // 2 and self.clean <= self.combed) or looks

    def words(self) -> str:
        """For a person."""
        order = "top" if self.top_first else "bottom"
        return f"{order} field first; {self.combed} of {self.frames} frames look combed, {self.flagged} are flagged"


def gather(timeline: Timeline, field_order: int) -> Evidence:
    """The evidence of a title; `field_order` is FFmpeg's number of what its stream says."""
    looks = np.bincount(timeline.fields, minlength=4)
    top, bottom = int(looks[TOP_FIRST]), int(looks[BOTTOM_FIRST])
    said_top = field_order in _TOP_ORDERS or field_order not in _BOTTOM_ORDERS
    # The odd frame is misread; only where they are nearly even does the file's word count.
    top_first = said_top if max(top, bottom) < 3 * min(top, bottom) or top == bottom else top > bottom
    return Evidence(
        frames=len(timeline),
        flagged=int(timeline.flagged.sum()),
        combed=top + bottom,
        clean=int(looks[PROGRESSIVE]),
        top_first=top_first,
    )


def pictures(frames: Iterator[Planes], layout: Layout, cadence: Cadence) -> Iterator[Planes]:
    """Frames in, as many pictures out; the first and the last are made without a neighbour."""
    if cadence == "progressive":
        yield from frames
        return
    graph: av.filter.Graph | None = None
    for number, planes in enumerate(frames):
        frame = to_frame(planes, layout)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        if graph is None:
            graph = _deinterlacer(frame, cadence)
        graph.push(frame)
        yield from _pulled(graph, layout)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, layout)


def _deinterlacer(frame: av.VideoFrame, cadence: Cadence) -> av.filter.Graph:
    graph = av.filter.Graph()
    parity = "tff" if cadence == "top" else "bff"
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("bwdif", f"mode=send_frame:parity={parity}:deint=all"),
        graph.add("format", frame.format.name),
        graph.add("buffersink"),
    )
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph, layout: Layout) -> Iterator[Planes]:
    while True:
        try:
            made = graph.pull()
        except (BlockingIOError, av.error.EOFError):
            return
        assert isinstance(made, av.VideoFrame)
        yield to_planes(made, layout)
