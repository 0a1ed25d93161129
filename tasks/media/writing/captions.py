"""Closed captions that lie within the picture's own stream (A53, CEA-608 and 708): from the source to the master.

They are side data of decoded frames, and encoders write what their frames carry. A segment's frames carry none, so the
source is decoded once more beside them, if it has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
from av.video.reformatter import Interpolation

from tasks.media.picture.pixels import Layout, Planes, fill, to_planes
from tasks.media.reading.decoding import decoded
from tasks.media.reading.source import Source, open_input, source_errors, video_stream

# Codecs whose encoders write them.
CAPTIONED = frozenset({"h264", "h265"})


def uncaptioned(codec: str) -> str:
    """Why a master of a codec has none, in words; empty if it has them."""
    holding = " and ".join(sorted(CAPTIONED))
    return "" if codec in CAPTIONED else f"{codec} masters are written without; those of {holding} hold them"


def with_captions(
    frames: Iterator[av.VideoFrame],
    layout: Layout,
    source: Source,
    picture: int,
    twins: Iterable[int | None],
    damaged: bool = False,
) -> Iterator[av.VideoFrame]:
    """The same frames, with the captions of the source's.

    Args:
        frames: all of one size.
        layout: of their planes.
        source, picture: the file and the index of its picture stream.
        twins: for each frame the number, in the source, of the one whose captions it gets, rising; None for none.
        damaged: the source is known to be, and is decoded as its frame table was, in one thread.

    Raises:
        SourceError: the source cannot be read.
    """
    with open_input(source) as container, source_errors(source, "reading its closed captions"):
        shown = enumerate(decoded(container, video_stream(container, picture, damaged)))
        for frame, number in zip(frames, twins, strict=True):
            twin = next((one for at, one in shown if at == number), None) if number is not None else None
            yield _dressed(to_planes(frame, layout), layout, twin) if twin is not None else frame


def _dressed(planes: Planes, layout: Layout, twin: av.VideoFrame) -> av.VideoFrame:
    """A frame with these samples and all that `twin` carries besides its own."""
    height, width = planes[0].shape
    # No frame can be given side data; but one that is made from another keeps the other's.
    made = twin.reformat(width=width, height=height, format=layout.pix_fmt, interpolation=Interpolation.POINT)
    fill(made, planes, layout)
    return made
