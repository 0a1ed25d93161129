"""HDR10+: what the frames of a title's master say of themselves, as their source's did. Writes nothing.

HDR10+ describes a frame's light, and how to show it on a display that is less bright. The light of an HDR master is its
source's, so what was said of the whole of a frame stays true of the enlarged one. What was said of parts of it names
them by their place in samples, and does not.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.media.picture.hdr import is_hdr
from tasks.media.reading.hdr10_plus import is_of_the_whole, messages
from tasks.media.reading.source import Source
from tasks.media.writing.bitstream import SAYING_HDR10_PLUS
from tasks.plan import Plan

# Bumped when the same source gives a master that says otherwise.
DYNAMIC_VERSION = 1


def carries_hdr10_plus(plan: Plan, codec: str) -> bool:
    """True if a title's master is to say what the frames of its source do."""
    probe = plan.title.probe
    return bool(probe and probe.hdr10_plus and codec in SAYING_HDR10_PLUS and is_hdr(plan.colour))


class OfFrames(NamedTuple):
    """What the frames of a master say.

    Attributes:
        messages: of each frame, empty where it has none.
        dropped: how many of the source's are not among them: of parts of a picture, or of no frame that is known.
    """

    messages: list[bytes]
    dropped: int


def hdr10_plus_of(plan: Plan, source: Source) -> OfFrames:
    """What the frames of a title's master are to say.

    Frames and packets are brought together by the times that the source gives them, whatever is made of those. Where
    it gives two packets one time, neither's frame is known.

    Raises:
        SourceError: the source cannot be read.
    """
    assert plan.title.probe is not None
    said: dict[int, bytes] = {}
    there = 0
    for when, message in messages(source, plan.title.probe.stream):
        there += bool(message)
        said[when] = message if when not in said and is_of_the_whole(message) else b""
    times = plan.timeline.said[plan.reading.pictures.base].tolist()
    carried = [said.get(when, b"") for when in times]
    return OfFrames(carried, there - len({when for when in times if said.get(when)}))
