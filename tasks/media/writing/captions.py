"""Closed captions that lie within the picture's own stream (A53, CEA-608 and 708): from the source to the master.

They are side data of decoded frames. Some encoders write what their frames carry; to the packets of others they are
added as messages (`bitstream`). A segment's frames carry none, so the source is decoded once more, if it has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
from av.video.reformatter import Interpolation

from tasks.media.picture.pixels import Layout, Planes, fill, to_planes
from tasks.media.reading.decoding import decoded
from tasks.media.reading.side_data import attached
from tasks.media.reading.source import Source, open_input, source_errors, video_stream

# Codecs whose encoders write them, and those whose packets are given them.
BY_ENCODER = frozenset({"h264", "h265"})
BY_MESSAGE = frozenset({"av1", "av1_nvenc", "h264_nvenc", "h265_nvenc"})
CAPTIONED = BY_ENCODER | BY_MESSAGE
# Bumped when the same captions would be other messages.
CAPTIONS_VERSION = 1
_A53 = "A53_CC"  # PyAV's name of side data
_TRIPLETS = 31  # of a message: five bits count them


def uncaptioned(codec: str) -> str:
    """Why a master of a codec has none, in words; empty if it has them."""
    holding = ", ".join(sorted(CAPTIONED))
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
    for frame, twin in zip(frames, _found(source, picture, twins, damaged), strict=True):
        yield _dressed(to_planes(frame, layout), layout, twin) if twin is not None else frame


def captions_of(
    source: Source, picture: int, twins: Iterable[int | None], damaged: bool = False
) -> Iterator[tuple[bytes, ...]]:
    """The captions of these frames of a source, each as messages; it is read as far as they are asked for.

    Args:
        source, picture, damaged: as of `with_captions`.
        twins: numbers of the frames, rising; None for one without captions.

    Raises:
        SourceError: the source cannot be read.
    """
    for twin in _found(source, picture, twins, damaged):
        held = attached(twin).get(_A53) if twin is not None else None
        yield tuple(_messages(bytes(held))) if held is not None else ()


def _found(
    source: Source, picture: int, numbers: Iterable[int | None], damaged: bool
) -> Iterator[av.VideoFrame | None]:
    """The frames of these numbers, or None where there is no number, or no such frame any more."""
    with open_input(source, only=picture) as container, source_errors(source, "reading its closed captions"):
        shown = enumerate(decoded(container, video_stream(container, picture, damaged)))
        for number in numbers:
            yield next((one for at, one in shown if at == number), None) if number is not None else None


def _messages(held: bytes) -> Iterator[bytes]:
    """Caption bytes, three by three, as messages of ITU-T T.35: ATSC A/53 part 4, section 6.2.3."""
    size = 3 * _TRIPLETS
    for part in (held[start : start + size] for start in range(0, len(held), size)):
        yield b"\xb5\x00\x31GA94\x03" + bytes([0xC0 | len(part) // 3, 0xFF]) + part + b"\xff"


def _dressed(planes: Planes, layout: Layout, twin: av.VideoFrame) -> av.VideoFrame:
    """A frame with these samples and all that `twin` carries besides its own."""
    height, width = planes[0].shape
    # No frame can be given side data; but one that is made from another keeps the other's.
    made = twin.reformat(width=width, height=height, format=layout.pix_fmt, interpolation=Interpolation.POINT)
    fill(made, planes, layout)
    return made
