"""Pictures of a title for its report: one of each shot from afar, and of some shots source and master close by.

For people; judges nothing. Few frames are decoded: of a shot the key frame of the source that is nearest to its
middle, and of the segments, whose frames all are key frames, that one alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch

from tasks.media.cadence.read import read_pictures, window
from tasks.media.picture.bars import Bars, cut_off
from tasks.media.picture.colour import Colour
from tasks.media.picture.hdr import seen_rgb
from tasks.media.picture.pixels import Layout, Plane, Planes
from tasks.media.picture.preview import jpeg_within
from tasks.media.writing.segment import read_segment_frame
from tasks.pages import data_uri
from tasks.plan import Plan
from tasks.records import Record
from tasks.sources import open_source
from tasks.store import Store
from vsr_model.classical import resize

PAIRS, SHEET = 8, 48
# A title of few shots is shown at so many moments all the same, if they are so many pictures apart.
_MOMENTS, _APART = 4, 24
_PART = (720, 1280)  # rows and columns of a master that are shown close by
_PAIR_BYTES, _THUMBNAIL_BYTES = 220_000, 9_000
_THUMBNAIL = 224  # columns
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Moment:
    """Where a still is taken: a picture of the title, and its shot, counted from 1."""

    picture: int
    shot: int


@dataclass(frozen=True)
class Still:
    """One moment as a page shows it.

    Attributes:
        picture: its number in the title.
        seconds: when it is shown, from the title's beginning.
        shot: counted from 1.
        thumbnail: the whole picture of the master, small, as a data URI.
        before, after: the middle of source, enlarged by bicubic interpolation, and of master, as data URIs of one size;
            empty where it is shown from afar only.
    """

    picture: int
    seconds: float
    shot: int
    thumbnail: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Stills:
    """All of a title.

    Attributes:
        shown: in order of time.
        shots: of the title; fewer may be shown.
        shape: width of a picture to its height, as players show it; `close`: the same of a pair, which may be the
            middle of one.
        columns: of a pair.
        whole: False if pairs are the middle only.
    """

    shown: tuple[Still, ...] = ()
    shots: int = 0
    shape: float = 16 / 9
    close: float = 16 / 9
    columns: int = 0
    whole: bool = True


def make_stills(plan: Plan, records: Sequence[Record], store: Store) -> Stills:
    """Take them.

    Args:
        plan: of the title.
        records: of its shards, those that are made.
        store: where their segments are.

    Raises:
        SourceError, SourceChanged: source or a segment cannot be read.
    """
    assert plan.title.probe is not None
    made = {record.key: record for record in records}
    segments = [made.get(shard.key) for shard in plan.shards]
    starts = np.array([shard.start for shard in plan.shards])
    moments = [
        (moment, record)
        for moment in choose(plan)
        if (record := segments[int(np.searchsorted(starts, moment.picture, "right")) - 1]) is not None
    ]
    height, width = plan.segment_size
    rows, columns = plan.enlargement.bars(_around(plan), *plan.shown_size).within(height, width)
    aspect = float(plan.title.probe.sample_aspect or 1)
    close = _longest_shots(plan, [moment for moment, _ in moments])
    stills = tuple(_still(plan, moment, record, store, moment in close) for moment, record in moments)
    return Stills(
        shown=stills,
        shots=len(plan.cuts) + 1,
        shape=width * aspect / height,
        close=columns * aspect / rows,
        columns=columns,
        whole=(rows, columns) == (height, width),
    )


def choose(plan: Plan) -> list[Moment]:
    """The moments to show: one a shot; more of a title of few shots, and fewer of one of many."""
    parts = [(start, stop, shot) for shot, (start, stop) in enumerate(_shots(plan), 1)]
    while len(parts) < _MOMENTS:
        longest = max(parts, key=lambda part: part[1] - part[0])
        start, stop, shot = longest
        if stop - start < 2 * _APART:
            break
        at = parts.index(longest)
        parts[at : at + 1] = [(start, (start + stop) // 2, shot), ((start + stop) // 2, stop, shot)]
    if len(parts) > SHEET:
        long = sorted(parts, key=lambda part: part[0] - part[1])[:PAIRS]
        others = [part for part in parts if part not in long]
        spread = np.linspace(0, len(others) - 1, SHEET - PAIRS).round().astype(int)
        parts = sorted([*long, *(others[each] for each in spread.tolist())])
    keys = np.flatnonzero(plan.shown.key)
    return [Moment(_near_middle(keys, start, stop), shot) for start, stop, shot in parts]


def _shots(plan: Plan) -> Iterator[tuple[int, int]]:
    return pairwise((0, *plan.cuts, len(plan.shown)))


def _near_middle(keys: np.typing.NDArray[np.int64], start: int, stop: int) -> int:
    """The key frame nearest to the middle of [start, stop), or the middle: others take more decoding."""
    middle = (start + stop) // 2
    inside = keys[(keys > start) & (keys < stop)]
    return int(inside[np.abs(inside - middle).argmin()]) if len(inside) else middle


def _longest_shots(plan: Plan, moments: Sequence[Moment]) -> set[Moment]:
    length = [stop - start for start, stop in _shots(plan)]
    return set(sorted(moments, key=lambda moment: -length[moment.shot - 1])[:PAIRS])


def _still(plan: Plan, moment: Moment, record: Record, store: Store, close: bool) -> Still:
    number = moment.picture
    with open_source(store.uri(record.segment), f"segment of {plan.title.name}") as segment:
        after = read_segment_frame(segment, plan.layout, number)
    times = plan.shown.pts[[0, number]].tolist()
    still = Still(
        picture=number,
        seconds=float((times[1] - times[0]) * plan.reading.pictures.time_base),
        shot=moment.shot,
        thumbnail=data_uri(jpeg_within([_thumbnail(after, plan.layout, plan.colour)], _THUMBNAIL_BYTES)[0]),
    )
    if not close:
        return still
    pair = jpeg_within(_pair(_source_picture(plan, number), after, plan), _PAIR_BYTES)
    return Still(**vars(still) | {"before": data_uri(pair[0]), "after": data_uri(pair[1])})


def _source_picture(plan: Plan, number: int) -> Planes:
    probe, pictures = plan.title.probe, plan.reading.pictures
    assert probe is not None
    frames = window(plan.timeline, *pictures.frames(number, number + 1, len(plan.timeline)))
    left_out = Bars() if plan.restored else plan.bars
    with open_source(plan.title.uri, plan.title.name) as source:
        (planes,) = read_pictures(source, probe.stream, probe.layout, frames, pictures.recipe(number, number + 1))
    return cut_off(planes, probe.layout, left_out)


def _pair(before: Planes, after: Planes, plan: Plan) -> list[torch.Tensor]:
    """[3, H, W] of the same middle part of both, as large as the master's."""
    probe = plan.title.probe
    assert probe is not None
    part = _around(plan)
    small = seen_rgb([cut_off(before, probe.layout, part)], probe.layout, probe.colour, _CPU)
    enlarged = plan.enlargement.bars(part, *plan.shown_size)
    large = seen_rgb([cut_off(after, plan.layout, enlarged)], plan.layout, plan.colour, _CPU)
    return [resize(small, large.shape[-2], large.shape[-1], "bicubic")[0], large[0]]


def _around(plan: Plan) -> Bars:
    """What to leave out of the source so that about `_PART` of its master is left: whole steps of any chroma."""
    scale = Fraction(plan.enlargement.scale)
    down, across = (
        max(0, side - most) // 2 // (4 * scale) * 4 for side, most in zip(plan.segment_size, _PART, strict=True)
    )
    return Bars(down, down, across, across)


def _thumbnail(planes: Planes, layout: Layout, colour: Colour) -> torch.Tensor:
    """[3, H, W] of the whole picture, each pixel the mean of a square."""
    rows, columns = planes[0].shape
    factor = min(columns // _THUMBNAIL, rows // 8)
    if factor > 1:
        whole = factor * max(1 << layout.chroma_x, 1 << layout.chroma_y)
        even = cut_off(planes, layout, Bars(bottom=rows % whole, right=columns % whole))
        planes = tuple(_reduced(plane, factor) for plane in even)
    return seen_rgb([planes], layout, colour, _CPU)[0]


def _reduced(plane: Plane, factor: int) -> Plane:
    rows, columns = (side // factor for side in plane.shape)
    squares = plane[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    reduced: Plane = squares.mean(axis=(1, 3), dtype=np.float32).round().astype(plane.dtype)
    return reduced
