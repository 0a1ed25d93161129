"""Where the chroma samples of a stream sit, as its bitstream or its container says; and what a master can say of it.

PyAV has no word for it; a Matroska header made from the stream says it (RFC 9559, section 5.1.4.1.28.16 and after).
What H.264, H.265 and MPEG leave unsaid FFmpeg says as these standards infer it.
"""

from __future__ import annotations

import av.video.stream

from tasks.media.picture.colour import Colour, Siting, sited_alike, usual_siting
from tasks.media.picture.pixels import Layout
from tasks.media.reading.header import TRACK, elements, header_of

# Picture, colour.
_TO_COLOUR = (*TRACK, 0xE0, 0x55B0)
ACROSS, DOWN = 0x55B7, 0x55B8
# 1: on the first of the luma samples that it belongs to, 2: between them.
SITINGS: dict[Siting, tuple[int, int]] = {"left": (1, 2), "centre": (2, 2), "topleft": (1, 1), "top": (2, 1)}


def said_siting(stream: av.video.stream.VideoStream) -> Siting | None:
    """Where they sit; None if nothing is said, or a place at the lower luma samples, which Matroska has no word for."""
    # Of codecs that Matroska has no place for none says it.
    said = {kind: int.from_bytes(content, "big") for kind, content in elements(header_of(stream), *_TO_COLOUR)}
    place = said.get(ACROSS), said.get(DOWN)
    return next((siting for siting, numbers in SITINGS.items() if numbers == place), None)


def siting_kept(source: Colour, layout: Layout, codec: str) -> Siting:
    """Where the chroma of a master with this layout and codec sits: as in the source, if a master can say so."""
    if codec in {"h264_nvenc", "h265_nvenc"}:
        return "left"  # NVENC does not say it, and H.264 and H.265 mean this by it
    usual = usual_siting(source.matrix)
    # Of anything but 4:2:0 most say nothing, whatever they are told.
    told = layout.chroma_y or sited_alike(source.siting, usual, layout)
    return source.siting if told else usual


def unsaid_siting(container: str, codec: str, layout: Layout, colour: Colour) -> bool:
    """True if masters of this container and codec do not say where chroma of 4:2:0 sits, and it is no usual place."""
    if container not in {"mp4", "mov"} or not layout.chroma_y:
        return False
    saying = {"h264", "h265", "h264_nvenc", "h265_nvenc"} | ({"av1"} if colour.siting in {"left", "topleft"} else set())
    return codec not in saying and colour.siting != usual_siting(colour.matrix)


def option_for(siting: Siting, layout: Layout) -> dict[str, str]:
    """The option by which FFmpeg's encoders and muxers learn of it, if chroma is of less resolution than luma."""
    if not (layout.chroma_x or layout.chroma_y):
        return {}
    return {"chroma_sample_location": "center" if siting == "centre" else siting}
