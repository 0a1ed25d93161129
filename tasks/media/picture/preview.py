"""A picture for people: source and master side by side, as a JPEG. Decides nothing about quality."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import torch

from vsr_model.classical import resize

_SIDE = (480, 360)  # columns and rows of each half
_GAP = 4
_QUALITIES = (3, 5, 8, 13, 20, 31)


def side_by_side(source_3HW: torch.Tensor, master_3HW: torch.Tensor) -> bytes:
    """The middle of a source frame, enlarged by bicubic interpolation, beside the same part of its master.

    Args:
        source_3HW: R'G'B' 0..1.
        master_3HW: R'G'B' 0..1, at least as large.

    Returns:
        JPEG bytes.
    """
    height, width = master_3HW.shape[1:]
    before = resize(source_3HW.unsqueeze(0), height, width, "bicubic")[0]
    rows, columns = min(height, _SIDE[1]), min(width, _SIDE[0])
    top, left = (height - rows) // 2, (width - columns) // 2
    gap = torch.ones(3, rows, _GAP)
    parts = [p[:, top : top + rows, left : left + columns].cpu().float() for p in (before, master_3HW)]
    return jpeg(torch.cat([parts[0], gap, parts[1]], dim=2))


def jpeg_within(pictures_3HW: Sequence[torch.Tensor], most_bytes: int) -> list[bytes]:
    """JPEGs of R'G'B' 0..1, all of the best quality at which none is larger than `most_bytes`, or of the coarsest."""
    for quality in _QUALITIES:
        coded = [jpeg(picture_3HW, quality) for picture_3HW in pictures_3HW]
        if max(map(len, coded), default=0) <= most_bytes:
            break
    return coded


def jpeg(picture_3HW: torch.Tensor, quality: int = 3) -> bytes:
    """Encode R'G'B' 0..1 as JPEG; `quality` 2..31, lower is better."""
    codes = (picture_3HW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    height, width = codes.shape[0] & ~1, codes.shape[1] & ~1
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(codes[:height, :width]), format="rgb24")
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width, context.pix_fmt = height, width, "yuvj444p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"q:v": str(quality), "qmin": str(quality - 1), "qmax": str(quality)}
    coded = frame.reformat(format="yuvj444p", dst_colorspace=5, dst_color_range=2)
    packets = [*context.encode(coded), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
