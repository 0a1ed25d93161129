"""What a person would say of a master's shards, by libvmaf: VMAF-NEG against the source, and banding (CAMBI).

The master is reduced to the source's size, so that detail that was added is neither praised nor blamed. Measured once
and kept in the store under the master's hash, as it takes one more decode of both.

Shape suffixes: H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tasks.media.cadence.read import read_pictures, window
from tasks.media.contract.looks import in_squares, reduced_luma
from tasks.media.picture.bars import Bars, cut_off
from tasks.media.picture.colour import Colour
from tasks.media.picture.hdr import as_sdr
from tasks.media.picture.pixels import Layout, Planes, layout_of, to_planes
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.plan import Plan
from tasks.quality.libvmaf import Grade, Luma, grade
from tasks.records import MasterRecord, content_key, from_sealed, to_sealed
from tasks.sources import open_source
from tasks.store import Store

# Of libvmaf's smallest scale.
_SMALLEST = 64


@dataclass(frozen=True)
class Grades:
    """Of each shard in order; empty where the picture is too small to be graded.

    Attributes:
        sha256: of the master.
        shards: see `libvmaf.Grade`.
    """

    sha256: str
    shards: tuple[Grade, ...]


def grades_of(master: MasterRecord, plan: Plan, store: Store) -> Grades:
    """What is kept of a master, or measured afresh.

    Raises:
        SourceError, SourceChanged: master or source cannot be decoded to the end, or is not what was planned any more.
    """
    spans, scale = [(shard.start, shard.stop) for shard in plan.shards], plan.enlargement.scale
    place = f"grades/{master.sha256[:2]}/{content_key({'of': master.sha256, 'spans': spans, 'scale': scale})}.json"
    try:
        return from_sealed(Grades, store.read(place))
    except (FileNotFoundError, ValueError):
        found = _measured(master, plan)
    store.write(place, to_sealed(found))
    return found


def _measured(master: MasterRecord, plan: Plan) -> Grades:
    probe = plan.title.probe
    assert probe is not None
    height, width = plan.shown_size
    if min(height, width) < _SMALLEST:
        return Grades(master.sha256, ())
    with (
        open_source(plan.title.uri, plan.title.name) as source,
        open_source(master.uri, f"master of {plan.title.name}") as made,
    ):
        before = _source_lumas(source, plan)
        after = _master_lumas(made, master.picture, plan.colour, height, width)
        shards = tuple(
            grade(islice(before, shard.stop - shard.start), islice(after, shard.stop - shard.start), height, width, 8)
            for shard in plan.shards
        )
    return Grades(master.sha256, shards)


def _source_lumas(source: Source, plan: Plan) -> Iterator[Luma]:
    probe, pictures = plan.title.probe, plan.reading.pictures
    assert probe is not None
    left_out = Bars() if plan.restored else plan.bars
    frames = window(plan.timeline, *pictures.frames(0, len(pictures), len(plan.timeline)))
    whole = read_pictures(source, probe.stream, probe.layout, frames, pictures.recipe(0, len(pictures)))
    shown = (cut_off(planes, probe.layout, left_out) for planes in whole)
    seen, layout, colour = as_sdr(shown, probe.layout, probe.colour, plan.hdr.tone if plan.hdr else None)
    for planes in seen:
        yield _luma(planes, layout, 1, colour)


def _master_lumas(made: Source, picture: int, colour: Colour, height: int, width: int) -> Iterator[Luma]:
    with open_input(made) as container, source_errors(made, "reading its picture back"):
        for frame in container.decode(video_stream(container, picture)):
            layout = layout_of(frame.format.name, "master")
            full = replace(colour, full_range=layout.family == "rgb" or colour.full_range)
            yield _luma(*in_squares(to_planes(frame, layout), layout, height, width), full)


def _luma(planes: Planes, layout: Layout, factor: int, colour: Colour) -> Luma:
    """[H, W] of 8 bits in limited range, as what VMAF was taught with."""
    luma_HW = reduced_luma(planes, layout, colour, factor)
    code_HW: Luma = np.clip(np.rint(16.0 + luma_HW * (219.0 / 255.0)), 0, 255).astype(np.uint8)
    return code_HW
