"""A Matroska film without pictures, whose header says what an encoder cannot: how an HDR picture was graded, where its
chroma sits, and how it is to be looked at.

FFmpeg's muxers write what the stream says that a stream of theirs was made from. Element numbers are those of RFC 9559
(section 5.1 and, for colour, 5.1.4.1.28.16 and after).
"""

from __future__ import annotations

import io
import struct

import av
import av.container

from tasks.media.picture.colour import Siting
from tasks.media.reading.mastering import Mastering
from tasks.media.reading.projection import Projection
from tasks.media.reading.siting import ACROSS, DOWN, SITINGS

# Codecs as Matroska calls them: DNxHR by the name that it has in AVI.
_AVI = b"V_MS/VFW/FOURCC"
_KINDS = {
    "h264": b"V_MPEG4/ISO/AVC", "h265": b"V_MPEGH/ISO/HEVC", "av1": b"V_AV1", "vp9": b"V_VP9",
    "ffv1": b"V_FFV1", "prores": b"V_PRORES", "dnxhr": _AVI,
}  # fmt: skip
# Those whose streams do not say themselves how they were graded.
TEMPLATED = frozenset({"ffv1", "prores", "dnxhr"})
_DNXHR = struct.pack("<IiiHH4sIiiII", 40, 16, 16, 1, 24, b"AVdh", 0, 0, 0, 0, 0)
_PRIMARIES = ("55d1", "55d2", "55d3", "55d4", "55d5", "55d6", "55d7", "55d8")


def film_that_says(
    said: Mastering, siting: Siting | None, projection: Projection | None, codec: str
) -> av.container.InputContainer:
    """The film; `codec` is a master's, `siting` None where chroma is of full resolution."""
    colour = b""
    if siting:
        across, down = SITINGS[siting]
        colour += _whole(f"{ACROSS:x}", across) + _whole(f"{DOWN:x}", down)
    if said.light:
        colour += _whole("55bc", said.light[0]) + _whole("55bd", said.light[1])
    if said.display:
        values = zip(_PRIMARIES, said.display.primaries, strict=True)
        display = b"".join(_float(name, float(value)) for name, value in values)
        display += _float("55d9", float(said.display.brightest)) + _float("55da", float(said.display.dimmest))
        colour += _element("55d0", display)
    size = _whole("b0", 16) + _whole("ba", 16)
    picture = _element("e0", size + _element("55b0", colour) + (_looked_at(projection) if projection else b""))
    name = _KINDS[codec.removesuffix("_nvenc")]
    kind = _element("86", name) + (_element("63a2", _DNXHR) if name == _AVI else b"")
    track = _element("ae", _whole("d7", 1) + _whole("73c5", 1) + _whole("83", 1) + kind + picture)
    no_picture = _element("1f43b675", _whole("e7", 0) + _element("a3", b"\x81\x00\x00\x80\x00"))
    head = _element("1a45dfa3", _element("4282", b"matroska"))
    body = _element("1549a966", _whole("2ad7b1", 1_000_000)) + _element("1654ae6b", track) + no_picture
    return av.open(io.BytesIO(head + _element("18538067", body)), "r")


def _looked_at(said: Projection) -> bytes:
    stereo = _whole("53b8", said.stereo) if said.stereo else b""
    if not said.around:
        return stereo
    kind, private, pose = said.as_matroska()
    angles = b"".join(_float(name, angle) for name, angle in zip(("7673", "7674", "7675"), pose, strict=True))
    return stereo + _element("7670", _whole("7671", kind) + _element("7672", private) + angles)


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + struct.pack(">Q", len(content) | 1 << 56) + content


def _whole(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(4, "big"))


def _float(name: str, value: float) -> bytes:
    return _element(name, struct.pack(">d", value))
