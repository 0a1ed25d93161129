"""A title's finished frames: those of its segments, with square pixels if that is asked."""

from __future__ import annotations

from collections.abc import Iterator

import av

from tasks.media.picture.pixels import planes_of_frame, to_frame
from tasks.media.picture.square import square
from tasks.plan import Plan


def as_finished(frames: Iterator[av.VideoFrame], plan: Plan) -> Iterator[av.VideoFrame]:
    """The frames of a master, made of those of its segments.

    Args:
        frames: in `plan.layout`, of `plan.segment_size`.
        plan: of the title.

    Returns:
        They themselves, unless the title's pixels become square; of `plan.master_size`.
    """
    if not plan.squared:
        return frames
    bars, enlarged = (way.bars(plan.restored, *plan.shown_size) for way in (plan.enlargement, plan.finished))
    return (
        to_frame(
            square(planes_of_frame(frame, plan.layout), plan.layout, plan.colour, plan.master_size, bars, enlarged),
            plan.layout,
        )
        for frame in frames
    )
