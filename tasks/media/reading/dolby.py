"""Dolby Vision, as a container says it of a stream: `dvcC` and `dvvC` boxes, or what others have for it.

Decoders of HEVC and AV1 say it of frames besides; that of H.264 does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import av.video.stream

from tasks.media.reading.header import TRACK, elements, header_of

# Matroska's block addition mapping, what type it is of, and what is added.
_MAPPING, _TYPE, _CONFIGURATION = 0x41E4, 0x41E7, 0x41ED
_TYPES = (b"dvcC", b"dvvC", b"dvwC")
# Profiles whose picture is in a colour space of Dolby's own; that of AV1 where it is compatible with nothing.
_OWN_COLOURS, _AV1 = (5, 20), 10


@dataclass(frozen=True)
class DolbyVision:
    """The decoder configuration record (Dolby Vision Streams Within the ISO Base Media File Format, section 3.2).

    Attributes:
        profile: 4 to 20.
        compatible: what the picture is without the metadata: 0 nothing, 1 HDR10, 2 SDR, 4 HLG, 6 HDR10 of discs.
    """

    profile: int
    compatible: int

    @property
    def stands_alone(self) -> bool:
        """False if the picture is none without the metadata."""
        return self.profile not in _OWN_COLOURS and (self.profile, self.compatible) != (_AV1, 0)


def said_dolby_vision(stream: av.video.stream.VideoStream) -> DolbyVision | None:
    """What the container says; None if it says nothing."""
    for kind, content in elements(header_of(stream), *TRACK):
        said = dict(elements(content)) if kind == _MAPPING else {}
        if said.get(_TYPE) in _TYPES:
            record = said[_CONFIGURATION]
            return DolbyVision(profile=record[2] >> 1, compatible=record[4] >> 4)
    return None
