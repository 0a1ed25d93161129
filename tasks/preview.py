"""Before/after pictures of a title. For people; judges nothing."""

from __future__ import annotations

import torch

from tasks.media.cadence.read import read_pictures, window
from tasks.media.picture.bars import Bars, cut_off
from tasks.media.picture.hdr import seen_rgb
from tasks.media.picture.preview import side_by_side
from tasks.media.writing.segment import read_segment_frame
from tasks.plan import Plan
from tasks.records import Record
from tasks.sources import open_source
from tasks.store import Store


def preview_title(plan: Plan, records: list[Record], store: Store, frame: int | None = None) -> bytes:
    """Source and master of one frame side by side, as JPEG bytes.

    Args:
        plan: of the title.
        records: one a shard, in order.
        store: where their segments are.
        frame: number of the picture; None: in the middle of the middle shard.
    """
    probe = plan.title.probe
    assert probe is not None
    middle = plan.shards[len(plan.shards) // 2]
    frame = (middle.start + middle.stop) // 2 if frame is None else frame
    shard = next(shard for shard in plan.shards if shard.start <= frame < shard.stop)
    device = torch.device("cpu")
    with open_source(plan.title.uri, plan.title.name) as source:
        pictures = plan.reading.pictures
        wanted = window(plan.timeline, *pictures.frames(frame, frame + 1, len(plan.timeline)))
        recipe = pictures.recipe(frame, frame + 1)
        whole = read_pictures(source, probe.stream, probe.layout, wanted, recipe)
        left_out = Bars() if plan.restored else plan.bars
        before = [cut_off(planes, probe.layout, left_out) for planes in whole]
    with open_source(store.uri(records[shard.index].segment), f"segment of {shard.name}") as source:
        after = read_segment_frame(source, plan.layout, frame)
    return side_by_side(
        seen_rgb(before, probe.layout, probe.colour, device)[0], seen_rgb([after], plan.layout, plan.colour, device)[0]
    )
