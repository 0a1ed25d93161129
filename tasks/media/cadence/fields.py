"""What the fields of a title's frames say: how combed each frame is, and how combed it would be with another's field.

Numbers only, for frames that something makes one suspect; what they mean is said in `cadence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.media.picture.pixels import Layout, Plane, Planes

# Bumped when a table made by older code must not be reused.
FIELDS_VERSION = 1
# A sample is a tooth of a comb if it is, of 256 codes, so much brighter or so much darker than both its neighbours.
_TOOTH = 10
# Columns that are looked at, about: combs are wide.
_COLUMNS = 480
# Two pictures are the same if no block of this many rows and columns differs by more than coding noise.
_BLOCK, _NOISE = 8, 1.0


@dataclass(frozen=True)
class Fields:
    """One row a frame of a title; all arrays have the same length.

    Attributes:
        own: float32, share of samples that look combed in the frame as it is.
        top: the same in its top field woven with the bottom field of the frame before.
        bottom: the same in its bottom field woven with the top field of the frame before. Both are those of the frame
            itself in the first one.
        repeats: bool, shows what the last frame that does not repeat shows, but for coding noise.
    """

    own: npt.NDArray[np.float32]
    top: npt.NDArray[np.float32]
    bottom: npt.NDArray[np.float32]
    repeats: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.own)


def measure(frames: Iterator[Planes], layout: Layout) -> Fields:
    """The table of these frames, which are a whole title."""
    rows: list[tuple[float, float, float]] = []
    repeats: list[bool] = []
    before: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None
    last: Planes | None = None
    for planes in frames:
        top, bottom = _fields_of(planes[0], layout)
        own = _combed(top, bottom)
        rows.append((own, _combed(top, before[1]), _combed(before[0], bottom)) if before else (own, own, own))
        before = top, bottom
        repeats.append(last is not None and _same(planes, last, layout))
        if not repeats[-1]:
            last = planes
    table = np.array(rows, np.float32).reshape(-1, 3)
    return Fields(own=table[:, 0], top=table[:, 1], bottom=table[:, 2], repeats=np.array(repeats, np.bool_))


def _fields_of(plane: Plane, layout: Layout) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Top and bottom field of a plane in 8 bits, as many rows each, fewer columns."""
    step = max(1, plane.shape[1] // _COLUMNS)
    thin = plane[: plane.shape[0] // 2 * 2, ::step].astype(np.int32) >> max(0, layout.depth - 8)
    return thin[::2], thin[1::2]


def _combed(top: npt.NDArray[np.int32], bottom: npt.NDArray[np.int32]) -> float:
    """Share of the bottom field's samples that stick out from the top field's above and below on the same side."""
    if len(top) < 2:
        return 0.0
    between = bottom[:-1]
    teeth = (between - top[:-1]) * (between - top[1:]) > _TOOTH**2
    return float(np.count_nonzero(teeth)) / teeth.size


def _same(planes: Planes, others: Planes, layout: Layout) -> bool:
    limit = _NOISE * (1 << (layout.depth - 8) if layout.depth > 8 else 1)
    return all(_furthest(one, other) <= limit for one, other in zip(planes, others, strict=True))


def _furthest(one: Plane, other: Plane) -> float:
    """Mean difference within the block that differs most."""
    apart = np.abs(one.astype(np.int32) - other)
    sums = np.add.reduceat(
        np.add.reduceat(apart, range(0, apart.shape[0], _BLOCK), 0), range(0, apart.shape[1], _BLOCK), 1
    )
    rows = np.diff([*range(0, apart.shape[0], _BLOCK), apart.shape[0]])
    columns = np.diff([*range(0, apart.shape[1], _BLOCK), apart.shape[1]])
    return float((sums / np.outer(rows, columns)).max())
