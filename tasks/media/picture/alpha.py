"""Alpha beside a picture's colours: enlarged by Lanczos, as networks know none, and held against the source's.

Transparency that the format of decoded frames does not show, as in a palette, is refused.
Whether colours are multiplied by their alpha is not known here.

Shape suffixes: T frames, 1 channel, H rows, W columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import av
import numpy as np
import torch

from tasks.errors import UnsupportedSource
from tasks.media.picture.halves import halves, places_of_values, values_of
from tasks.media.picture.pixels import Layout, Plane, Planes
from vsr_model.classical import resize

# Bumped when the same alpha would be enlarged to another.
ALPHA_VERSION = 1
_OPAQUE = 255
_LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG


class AlphaPath:
    """The way of a shard's alpha past the network: kept while colours are made, enlarged when they are done."""

    def __init__(self, layout: Layout, target: Layout, size: tuple[int, int], device: torch.device) -> None:
        """Begin; `layout` is the source's and `target` the segment's, `size` rows and columns of what is made."""
        self._light = layout.family == "light"
        self._gain, self._top, self._eight = _top(target) / _top(layout), _top(target), target.depth == 8
        self._size, self._device = size, device
        self._waiting: deque[tuple[int, Plane]] = deque()

    def remember(self, batch: list[Planes], first: int) -> None:
        """Keep the alpha of pictures from number `first` on."""
        self._waiting.extend((number, planes[3]) for number, planes in enumerate(batch, first))

    def codes(self, first: int, count: int) -> torch.Tensor:
        """That of pictures [first, first + count), enlarged: [T, H, W] as `to_codes` has it, without dither.

        All before them are let go.
        """
        while self._waiting[0][0] < first:
            self._waiting.popleft()
        planes = np.stack([self._waiting.popleft()[1] for _ in range(count)])
        alpha_T1HW = torch.from_numpy(planes.astype(np.int32)).unsqueeze(1).to(self._device)
        if self._light:
            return places_of_values(enlarged_light(values_of(alpha_T1HW), *self._size).squeeze(1))
        large_THW = resize(alpha_T1HW.float(), *self._size, "lanczos").squeeze(1)
        codes = large_THW.mul_(self._gain).round_().clamp_(0.0, self._top).to(torch.int32)
        return codes.to(torch.uint8 if self._eight else torch.int16)


def enlarged_light(alpha_T1HW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Alpha that is no code, but a number that knows no bounds: each picture's stays within what it has."""
    lowest, highest = alpha_T1HW.amin(dim=(1, 2, 3), keepdim=True), alpha_T1HW.amax(dim=(1, 2, 3), keepdim=True)
    return resize(alpha_T1HW, height, width, "lanczos").clamp(lowest, highest)


def quarters(planes: Planes, layout: Layout) -> tuple[float, ...]:
    """Mean alpha, 0..1, of the four quarters of a picture: as much of it as a change of size leaves as it is."""
    is_light = layout.family == "light"
    alpha = halves(planes[3].astype(np.uint16)).astype(np.float64) if is_light else planes[3] / _top(layout)
    rows, columns = max(1, alpha.shape[0] // 2), max(1, alpha.shape[1] // 2)
    parts = (alpha[:rows, :columns], alpha[:rows, -columns:], alpha[-rows:, :columns], alpha[-rows:, -columns:])
    return tuple(float(part.mean()) for part in parts)


def _top(layout: Layout) -> float:
    return float((1 << layout.depth) - 1)


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
    has_alpha = any(component.is_alpha for component in frame.format.components)
    if tags and tags.get("alpha_mode", "0") != "0" and not has_alpha:
        where = "beside the picture, alpha_mode"
    elif frame.format.name == "pal8" and _is_seen_through(frame):
        where = "in the palette"
    elif frame.format.name.startswith("ya") and frame.color_range == _LIMITED:
        where = "beside gray of limited range"
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
