"""How wide the pixels of a stream are to their height, as its container or its bitstream says.

MP4, QuickTime and Matroska say it of any codec, and players go by it; of VP8, VP9, AV1 and ProRes nothing else does.
FFmpeg's decoders know of the bitstream alone.
"""

from __future__ import annotations

from fractions import Fraction

import av.video.stream


def pixel_aspect(stream: av.video.stream.VideoStream) -> Fraction:
    """Width over height; 1 where nothing is said."""
    shown, coded = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
    if not shown or not coded:
        return shown or coded or Fraction(1)
    # Matroska tends to count in whole pixels of a display: the bitstream may mean the same, and say it exactly.
    rounded = coded != 1 and "matroska" in stream.container.format.name
    same = abs(shown - coded) * stream.codec_context.width <= Fraction(1, 2)
    return coded if rounded and same else shown


def shown_alike(one: Fraction, other: Fraction, width: int) -> bool:
    """True if a picture of so many columns is shown as wide to a hundredth of a pixel: codecs have short numbers."""
    return abs(one - other) * width < Fraction(1, 100)
