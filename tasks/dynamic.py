"""What the frames of a title's master say beside their picture, as their source's did: HDR10+ and closed captions.

Writes nothing. Captions that an encoder writes by itself are not its business.

HDR10+ describes a frame's light, and how to show it on a display that is less bright. The light of an HDR master is its
source's, so what was said of the whole of a frame stays true of the enlarged one. What was said of parts of it names
them by their place in samples, and does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple

from tasks.media.picture.hdr import is_hdr
from tasks.media.reading.hdr10_plus import is_of_the_whole, messages
from tasks.media.reading.source import Source
from tasks.media.writing.bitstream import SAYING_HDR10_PLUS
from tasks.media.writing.captions import BY_MESSAGE, captions_of
from tasks.plan import Plan
from tasks.sources import open_source

# Bumped when the same source gives a master that says otherwise.
DYNAMIC_VERSION = 1


def carries_hdr10_plus(plan: Plan, codec: str) -> bool:
    """True if a title's master is to say what the frames of its source do."""
    probe = plan.title.probe
    return bool(probe and probe.hdr10_plus and codec in SAYING_HDR10_PLUS and is_hdr(plan.colour))


def carries_captions(plan: Plan, codec: str) -> bool:
    """True if a title's master is to be given its source's closed captions as messages."""
    return bool(plan.timeline.captions.any()) and codec in BY_MESSAGE


def captioned(plan: Plan) -> list[int | None]:
    """For each picture the number of the frame whose closed captions it carries, if any."""
    base = plan.reading.pictures.base.tolist()
    return [number if captioned else None for number, captioned in zip(base, plan.shown.captions.tolist(), strict=True)]


def messages_of(plan: Plan, codec: str, opened: ExitStack) -> Iterator[tuple[bytes, ...]] | None:
    """The messages (ITU-T T.35) of each frame of a title's master; None if it has none.

    Args:
        plan: of the title.
        codec: of the master.
        opened: closes the source, which is read as messages are taken.

    Raises:
        SourceError: the source cannot be read; as they are taken, too.
    """
    title = plan.title
    graded, spoken = carries_hdr10_plus(plan, codec), carries_captions(plan, codec)
    if title.probe is None or not (graded or spoken):
        return None
    # Opened once more: a remote file has one position, and its other streams are read meanwhile.
    source = opened.enter_context(open_source(title.uri, title.name))
    found: list[Iterable[tuple[bytes, ...]]] = []
    if graded:
        found.append([(message,) if message else () for message in hdr10_plus_of(plan, source).messages])
    if spoken:
        damaged = not plan.timeline.is_plain
        found.append(captions_of(source, title.probe.stream, captioned(plan), damaged))
    return (tuple(chain(*of_frame)) for of_frame in zip(*found, strict=True))


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
