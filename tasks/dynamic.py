"""HDR10+: what the frames of a title's master say of themselves, as their source's did. Writes nothing.

HDR10+ describes a frame's light, and how to show it on a display that is less bright. The light of an HDR master is its
source's, so what was said of the whole of a frame stays true of the enlarged one. What was said of parts of it names
them by their place in samples, and does not.
"""

from __future__ import annotations

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


def hdr10_plus_of(plan: Plan, source: Source) -> list[bytes]:
    """The message of every frame of a master, empty where it has none.

    Raises:
        SourceError: the source cannot be read.
    """
    assert plan.title.probe is not None
    said = {when: one for when, one in messages(source, plan.title.probe.stream) if is_of_the_whole(one)}
    return [said.get(when, b"") for when in plan.source_pts.tolist()]
