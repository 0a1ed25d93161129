"""Making pictures of frames by a recipe: taken as they are, woven of two frames' fields, or deinterlaced.

Deinterlacing is FFmpeg's `bwdif`: a picture of frame n depends on frames n - 1, n and n + 1 and on nothing else. Knows
nothing of titles and shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av.filter
import numpy as np

from tasks.media.cadence.recipe import FIRST_OF_BOTTOM, FIRST_OF_TOP, SECOND_OF_BOTTOM, SECOND_OF_TOP, WOVEN, Recipe
from tasks.media.picture.graph import pulled
from tasks.media.picture.pixels import Layout, Planes, to_frame, to_planes

_OF_TOP = {FIRST_OF_TOP: 0, SECOND_OF_TOP: 1}
_OF_BOTTOM = {FIRST_OF_BOTTOM: 0, SECOND_OF_BOTTOM: 1}


def pictures(frames: Iterator[Planes], first: int, layout: Layout, recipe: Recipe) -> Iterator[Planes]:
    """The pictures of a recipe, in order.

    Args:
        frames: all that the recipe needs, without a gap.
        first: number of the first one.
        layout: of frames and pictures.
        recipe: empty if each frame is a picture.
    """
    if not recipe:
        yield from frames
        return
    filters = [
        _Deinterlacer(layout, parity, first, {(top, places[how]) for top, _, how in recipe if how in places})
        for parity, places in (("tff", _OF_TOP), ("bff", _OF_BOTTOM))
        if any(how in places for _, _, how in recipe)
    ]
    made = {places: each for each in filters for places in [each.parity]}
    wanted = deque(recipe)
    held: dict[int, Planes] = {}
    for number, planes in enumerate(frames, first):
        held[number] = planes
        for each in filters:
            each.push(planes)
        yield from _ready(wanted, held, made)
    for each in filters:
        each.finish()
    yield from _ready(wanted, held, made)


def _ready(
    wanted: deque[tuple[int, int, int]], held: dict[int, Planes], made: dict[str, _Deinterlacer]
) -> Iterator[Planes]:
    """Those of the next pictures that can be made by now; what none will need any more is let go."""
    while wanted:
        top, bottom, how = wanted[0]
        if how == WOVEN:
            if top not in held or bottom not in held:
                break
            planes = held[top] if top == bottom else _woven(held[top], held[bottom])
        else:
            parity, places = ("tff", _OF_TOP) if how in _OF_TOP else ("bff", _OF_BOTTOM)
            found = made[parity].take(top, places[how])
            if found is None:
                break
            planes = found
        wanted.popleft()
        yield planes
    # A later picture never needs a frame before the one that the last but one of a weave does.
    needed = min(wanted[0][:2]) - 1 if wanted else None
    for number in [n for n in held if needed is None or n < needed]:
        del held[number]


def _woven(top: Planes, bottom: Planes) -> Planes:
    planes = []
    for first, second in zip(top, bottom, strict=True):
        plane = first.copy()
        plane[1::2] = second[1::2]
        planes.append(plane)
    return tuple(planes)


class _Deinterlacer:
    """Both fields of each frame as pictures; those that are not wanted are let go."""

    def __init__(self, layout: Layout, parity: str, first: int, wanted: set[tuple[int, int]]) -> None:
        self.parity = parity
        self._layout, self._wanted = layout, wanted
        # `bwdif` has no such formats, and the graph would turn them into others: the same codes, in more bits.
        odd = layout.family == "rgb" and layout.alpha and layout.depth > 8
        self._coded = replace(layout, depth=16) if odd else layout
        self._both = any(second for _, second in wanted)
        self._pushed, self._pulled = first, 2 * first
        self._graph: av.filter.Graph | None = None
        self._made: dict[tuple[int, int], Planes] = {}

    def push(self, planes: Planes) -> None:
        """The next frame."""
        frame = to_frame(planes, self._coded)
        frame.pts, frame.time_base = self._pushed, Fraction(1, 25)
        self._pushed += 1
        if self._graph is None:
            self._graph = self._set_up(frame)
        self._graph.push(frame)
        self._pull()

    def finish(self) -> None:
        """There are no more frames."""
        if self._graph is not None:
            self._graph.push(None)
            self._pull()

    def take(self, frame: int, second: int) -> Planes | None:
        """A picture, once, if it is made by now."""
        return self._made.pop((frame, second), None)

    def _set_up(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        mode = "send_field" if self._both else "send_frame"
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            graph.add("bwdif", f"mode={mode}:parity={self.parity}:deint=all"),
            graph.add("format", frame.format.name),
            graph.add("buffersink"),
        )
        graph.configure()
        return graph

    def _pull(self) -> None:
        assert self._graph is not None
        for made in pulled(self._graph):
            place = (self._pulled // 2, self._pulled % 2)
            self._pulled += 1 if self._both else 2
            if place in self._wanted:
                planes = to_planes(made, self._coded)
                if self._coded != self._layout:
                    planes = tuple(np.minimum(plane, (1 << self._layout.depth) - 1) for plane in planes)
                self._made[place] = planes
