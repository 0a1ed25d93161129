"""Drawn tiles: hard-edged shapes, stripes, lattices and glyph-like marks, which photographs show too few of.

Every tile is drawn three times too large and reduced by averaging, so its edges are as sharp as pixels allow without
jagging. Tile n depends on the seed and n alone. Knows nothing of files.

Shape suffixes: 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

OVERSAMPLING = 3


def drawn_tile(seed: int, number: int, side: int = 512) -> npt.NDArray[np.uint8]:
    """Draw one tile: uint8 RGB [3, side, side]."""
    rng = np.random.default_rng((seed, number))
    large = side * OVERSAMPLING
    ramp = np.linspace(0.0, 1.0, large, dtype=np.float32)
    first, last = rng.uniform(0, 255, (2, 3, 1, 1)).astype(np.float32)
    canvas_3HW = np.broadcast_to(first + (last - first) * ramp[None, :, None], (3, large, large)).copy()
    largest = float(np.exp(rng.uniform(math.log(0.05), math.log(0.4)))) * large
    for _ in range(int(rng.integers(40, 160))):
        _draw_shape(canvas_3HW, rng, largest)
    small_3HW = canvas_3HW.reshape(3, side, OVERSAMPLING, side, OVERSAMPLING).mean(axis=(2, 4))
    tile: npt.NDArray[np.uint8] = small_3HW.round().clip(0, 255).astype(np.uint8)
    return tile


def _draw_shape(canvas_3HW: npt.NDArray[np.float32], rng: np.random.Generator, largest: float) -> None:
    """Draw one turned box or ellipse, filled plainly or with a lattice of random cells (stripes, checks, glyphs)."""
    large = canvas_3HW.shape[-1]
    half_u, half_v = np.exp(rng.uniform(math.log(4.0), math.log(largest), 2)) / 2
    centre_y, centre_x = rng.uniform(0, large, 2)
    reach = math.hypot(half_u, half_v)
    top, left = (max(0, int(c - reach)) for c in (centre_y, centre_x))
    bottom, right = (min(large, int(c + reach) + 1) for c in (centre_y, centre_x))
    angle = rng.uniform(0, math.pi) if rng.random() < 0.5 else 0.0
    y_H1, x_1W = np.arange(top, bottom)[:, None] - centre_y, np.arange(left, right)[None, :] - centre_x
    u_HW = (x_1W * math.cos(angle) + y_H1 * math.sin(angle)) / half_u
    v_HW = (y_H1 * math.cos(angle) - x_1W * math.sin(angle)) / half_v
    mask_HW = (np.abs(u_HW) < 1) & (np.abs(v_HW) < 1) if rng.random() < 0.7 else u_HW**2 + v_HW**2 < 1
    if rng.random() < 0.5:
        rows, columns = rng.integers(1, 24, 2)
        cells = rng.integers(0, 2, (rows, columns)).astype(bool)
        if rng.random() < 0.5:  # stripes or checks
            cells = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 0
        row_HW = ((v_HW + 1) * 0.5 * rows).astype(int).clip(0, rows - 1)
        column_HW = ((u_HW + 1) * 0.5 * columns).astype(int).clip(0, columns - 1)
        mask_HW &= cells[row_HW, column_HW]
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.6 else np.full(3, rng.choice([0.0, 255.0, rng.uniform(0, 255)]))
    canvas_3HW[:, top:bottom, left:right][:, mask_HW] = colour[:, None]
