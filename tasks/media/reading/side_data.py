"""What a picture stream says of itself as a whole besides its colour: how it is turned, projected, lit and framed.

FFmpeg hands it over as side data of decoded frames. It stands from the first frame on, so that frame is enough to know
it. Writes none of it, and knows no container of masters.
"""

from __future__ import annotations

import ctypes
import gc
import struct
from dataclasses import dataclass, replace
from typing import Any

import av
import av.dictionary
import av.sidedata.sidedata

from tasks.media.reading.decoding import decoded
from tasks.media.reading.dolby import said_dolby_vision
from tasks.media.reading.source import Source, open_input, source_errors, video_stream

# By PyAV's names, what a person calls it.
NAMES = {
    "DISPLAYMATRIX": "rotation", "MASTERING_DISPLAY_METADATA": "mastering display",
    "CONTENT_LIGHT_LEVEL": "content light level", "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "STEREO3D": "stereo 3D", "SPHERICAL": "spherical", "ICC_PROFILE": "ICC profile", "AFD": "active format",
}  # fmt: skip
_DOLBY_VISION = ("DOVI_RPU_BUFFER", "DOVI_METADATA")
HDR10_PLUS = "DYNAMIC_HDR_PLUS"
_UPRIGHT = struct.pack("<9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _kind_without_a_name(kinds: Any, value: int) -> Any:
    """Side data that FFmpeg has and PyAV knows no name for, such as Exif: else no frame with it could be asked."""
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"NUMBER_{value}", value
    return kind


_Kinds: Any = av.sidedata.sidedata.Type
_Container: Any = av.sidedata.sidedata.SideDataContainer
_Kinds._missing_ = classmethod(_kind_without_a_name)


@dataclass(frozen=True)
class SideData:
    """What a frame carries besides its samples.

    Attributes:
        standing: of the whole stream, by PyAV's name.
        dolby_vision, hdr10_plus: whether there is any such dynamic metadata, in frames or by the container's word.
    """

    standing: dict[str, bytes]
    dolby_vision: bool
    hdr10_plus: bool


def attached(frame: av.VideoFrame) -> dict[str, Any]:
    """Whatever lies beside a frame's samples, as buffers, by PyAV's name; `frame.side_data` itself is not safe."""
    # The frame's own attribute would keep it in memory until Python looks for circles.
    held = _Container(frame)
    for item in held:
        for words in gc.get_referents(item):
            # PyAV frees the words on an item (PNG: the name of its colour profile) though they are the frame's, which
            # frees them again, and the process dies of it. An object that is never let go frees nothing.
            if isinstance(words, av.dictionary.Dictionary) and len(words):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(words))
    return {item.type.name: item for item in held}


def side_data_of(frame: av.VideoFrame) -> SideData:
    """What a decoded frame says."""
    kinds = attached(frame)
    if "DISPLAYMATRIX" in kinds and turns_alike(bytes(kinds["DISPLAYMATRIX"]), _UPRIGHT):
        del kinds["DISPLAYMATRIX"]  # image files say that they are not turned
    return SideData(
        standing={name: bytes(kinds[name]) for name in NAMES if name in kinds},
        dolby_vision=any(name in kinds for name in _DOLBY_VISION),
        hdr10_plus=HDR10_PLUS in kinds,
    )


def first_side_data(source: Source, picture: int) -> SideData:
    """What the first frame that can be decoded says; no more is decoded than that takes.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(source, only=picture) as container, source_errors(source, "reading its first frame"):
        stream = video_stream(container, picture)
        for frame in decoded(container, stream):
            said = side_data_of(frame)
            return replace(said, dolby_vision=said.dolby_vision or said_dolby_vision(stream) is not None)
    return SideData({}, False, False)


def turns_alike(one: bytes, other: bytes) -> bool:
    """True if two display matrices turn and mirror a picture alike, wherever they place it.

    Nine 32-bit integers, row by row; the seventh and eighth move the picture, in source pixels (QuickTime File Format,
    track header). Matroska has no word for those.
    """
    moved = slice(24, 32)
    return one[: moved.start] + one[moved.stop :] == other[: moved.start] + other[moved.stop :]
