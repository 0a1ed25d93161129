"""Where a title is cut into shards: at shot changes where they are in reach, by length where it must be.

Knows numbers of pictures and what a network is fed besides its own; nothing of files or pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.media.reading.timeline import Timeline
from tasks.profile import ShardSettings
from vsr_model.contract import ModelInfo

_LONGEST = 240  # frames of a shard, unless the network wants more
_MOST = 1440  # that it may want: what one failure costs


@dataclass(frozen=True)
class Span:
    """A shard to be: frames [start, stop), its warm-up and look-ahead, and why it starts there."""

    start: int
    stop: int
    warm_up: int
    look_ahead: int
    cut: Literal["start", "shot", "length"]


def shot_cuts(timeline: Timeline, score: float) -> tuple[int, ...]:
    """Frames at which a shot begins, except the first frame."""
    return tuple(i for i in np.flatnonzero(timeline.scene > score).tolist() if i > 0)


def longest_shard(settings: ShardSettings, info: ModelInfo) -> int:
    """Frames; left to the network, so many that what it is given besides its own is an eighteenth of them, or most."""
    return settings.frames or min(_MOST, max(_LONGEST, 18 * (info.warm_up + info.look_ahead)))


def cut_spans(frames: int, cuts: tuple[int, ...], settings: ShardSettings, info: ModelInfo) -> Iterator[Span]:
    """Cut `frames` frames into shards.

    The last shot change within reach ends a shard; a shot longer than a shard is cut in equal parts.

    Args:
        frames: of the title, at least 1.
        cuts: frames at which shots begin.
        settings: longest and shortest shard.
        info: of the network: its warm-up, made longer where it then starts on the network's grid, never reaches back
            over a shot change, its look-ahead never over the next one.
    """
    start, reason = 0, "start"
    longest = longest_shard(settings, info)
    shortest = min(settings.shortest, longest)
    while start < frames:
        limit = start + longest
        if limit >= frames:
            stop, next_reason = frames, "end"
        else:
            reachable = [c for c in cuts if start + shortest <= c <= limit and frames - c >= shortest]
            if reachable:
                stop, next_reason = reachable[-1], "shot"
            else:
                end = min((c for c in cuts if c > limit and frames - c >= shortest), default=frames)
                parts = -(-(end - start) // longest)
                stop, next_reason = start + -(-(end - start) // parts), "length"
        shot = max((c for c in cuts if c <= start), default=0)
        shot_end = min((c for c in cuts if c >= stop), default=frames)
        first = shot + max(0, start - info.warm_up - shot) // info.chunk * info.chunk
        yield Span(start, stop, start - first, min(info.look_ahead, shot_end - stop), reason)  # type: ignore[arg-type]
        start, reason = stop, next_reason
