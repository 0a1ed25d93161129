"""Transparency that the format of decoded frames does not show: in a palette, or beside the picture in WebM."""

from __future__ import annotations

from collections.abc import Mapping

import av
import numpy as np

from tasks.errors import UnsupportedSource

_OPAQUE = 255


def require_opaque(frame: av.VideoFrame, label: str, tags: Mapping[str, str] | None = None) -> None:
    """Refuse a picture that can be seen through, as those are whose format has an alpha channel.

    Args:
        frame: of the picture.
        label: what a person calls the source.
        tags: of its stream; `alpha_mode` is Matroska's word for transparency that is coded beside the picture.

    Raises:
        UnsupportedSource: it can.
    """
    where = ""
    if tags and tags.get("alpha_mode", "0") != "0":
        where = "beside the picture, alpha_mode"
    elif frame.format.name == "pal8" and _is_seen_through(frame):
        where = "in the palette"
    if where:
        raise UnsupportedSource(
            f"{label}: is transparent ({where}), which is not handled yet and would be lost; export it without alpha,"
            " or key and fill as two files."
        )


def _is_seen_through(frame: av.VideoFrame) -> bool:
    indices, palette = frame.planes
    alpha = np.frombuffer(memoryview(palette), np.uint8)[3:1024:4]
    if not alpha.any():
        return False  # a decoder that never set it
    rows = np.frombuffer(memoryview(indices), np.uint8).reshape(-1, indices.line_size)[: frame.height, : frame.width]
    return bool((alpha[np.unique(rows)] < _OPAQUE).any())
