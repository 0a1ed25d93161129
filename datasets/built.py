"""Drawn tiles of what people build: grids, facades, blinds, bricks, railings and wires, straight and in perspective.

Photographs of nature teach how leaves and stone look enlarged, not that a line goes on straight. Every tile is some
planes seen at an angle, each covered with one regular pattern and a grain, with wires and bars in front; drawn three
times too large and reduced by averaging. Tile n depends on the seed and n alone. Knows nothing of files.

Shape suffixes: 3 channels (R, G, B), H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

OVERSAMPLING = 3
FINEST = 2.5  # pixels of the tile: the period of the finest pattern at its centre

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def built_tile(seed: int, number: int, side: int = 512) -> npt.NDArray[np.uint8]:
    """Draw one tile: uint8 RGB [3, side, side]."""
    rng = np.random.default_rng((seed, number, 1))
    large = side * OVERSAMPLING
    y_HW, x_HW = np.meshgrid(*(np.linspace(-0.5, 0.5, large, dtype=np.float32),) * 2, indexing="ij")
    canvas_3HW = np.broadcast_to(_colour(rng), (3, large, large)).astype(np.float32)
    for layer in range(int(rng.integers(1, 5))):
        where_HW = _half_planes(rng, x_HW, y_HW, 0 if layer == 0 else int(rng.integers(1, 5)))
        _cover(canvas_3HW, where_HW, rng, x_HW, y_HW, side)
    for _ in range(int(rng.integers(0, 25))):
        _wire(canvas_3HW, rng, x_HW, y_HW, side)
    small_3HW = canvas_3HW.reshape(3, side, OVERSAMPLING, side, OVERSAMPLING).mean(axis=(2, 4))
    tile: npt.NDArray[np.uint8] = small_3HW.round().clip(0, 255).astype(np.uint8)
    return tile


def _colour(rng: np.random.Generator) -> Floats:
    """A colour, often grey, often near black or white: [3, 1, 1]."""
    grey = rng.choice([rng.uniform(0, 30), rng.uniform(225, 255), rng.uniform(0, 255)])
    tint = rng.uniform(-60, 60, 3) * (rng.random() < 0.6)
    colour: Floats = np.clip(grey + tint, 0, 255).astype(np.float32).reshape(3, 1, 1)
    return colour


def _half_planes(rng: np.random.Generator, x_HW: Floats, y_HW: Floats, edges: int) -> Mask:
    """What lies on one side of each of some random lines."""
    where_HW = np.ones(x_HW.shape, dtype=bool)
    for _ in range(edges):
        angle, offset = rng.choice([0.0, 90.0, rng.uniform(0, 180)]) * math.pi / 180, rng.uniform(-0.4, 0.4)
        sign = rng.choice([-1.0, 1.0])
        where_HW &= sign * (x_HW * math.cos(angle) + y_HW * math.sin(angle) - offset) > 0
    return where_HW


def _cover(canvas_3HW: Floats, where_HW: Mask, rng: np.random.Generator, x_HW: Floats, y_HW: Floats, side: int) -> None:
    """Cover a part with a plane that bears a pattern in two or three colours, shaded and grained."""
    u_HW, v_HW = _plane(rng, x_HW, y_HW, side)
    ground, figure = _colour(rng), _colour(rng)
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    level_HW = pattern(rng, u_HW, v_HW)
    shade_HW = 1.0 + rng.normal(0, 0.25) * x_HW + rng.normal(0, 0.25) * y_HW
    grain_HW = _grain(rng, x_HW.shape[0]) * rng.choice([0.0, rng.uniform(2, 30)])
    covered_3HW = (ground + (figure - ground) * level_HW) * shade_HW + grain_HW
    np.copyto(canvas_3HW, np.clip(covered_3HW, 0, 255), where=where_HW)


def _plane(rng: np.random.Generator, x_HW: Floats, y_HW: Floats, side: int) -> tuple[Floats, Floats]:
    """Coordinates on a plane seen at some angle, in periods of its pattern."""
    turn = rng.choice([0.0, rng.normal(0, 0.1), rng.uniform(0, math.pi)])
    period = np.exp(rng.uniform(math.log(FINEST), math.log(side / 3), 2)) / side
    if rng.random() < 0.6:
        period[1] = period[0] * rng.uniform(0.6, 1.6)
    slant_x, slant_y = rng.uniform(-0.7, 0.7, 2) * (rng.random() < 0.6)
    depth_HW = 1.0 + slant_x * x_HW + slant_y * y_HW
    bend = rng.uniform(-0.15, 0.15) * (rng.random() < 0.2)
    u_HW = (x_HW * math.cos(turn) + y_HW * math.sin(turn) + bend * y_HW**2) / depth_HW / period[0] + rng.uniform(0, 9)
    v_HW = (y_HW * math.cos(turn) - x_HW * math.sin(turn)) / depth_HW / period[1] + rng.uniform(0, 9)
    return u_HW.astype(np.float32), v_HW.astype(np.float32)


def _part(x_HW: Floats) -> Floats:
    part: Floats = x_HW - np.floor(x_HW)
    return part


def _of_cell(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """One random number in 0..1 for each cell of the pattern."""
    table = rng.random((61, 61)).astype(np.float32)
    number: Floats = table[np.floor(v_HW).astype(int) % 61, np.floor(u_HW).astype(int) % 61]
    return number


def _lines(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """A grid of lines."""
    width = np.exp(rng.uniform(math.log(0.04), math.log(0.4), 2))
    grid: Floats = ((_part(u_HW) < width[0]) | (_part(v_HW) < width[1])).astype(np.float32)
    return grid


def _stripes(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """Parallel bars: blinds, siding, railings, cables."""
    bars: Floats = (_part(u_HW) < rng.uniform(0.08, 0.6)).astype(np.float32)
    return bars


def _checks(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """Cells of two, or of many, shades."""
    if rng.random() < 0.5:
        return _of_cell(rng, u_HW, v_HW)
    checks: Floats = ((np.floor(u_HW) + np.floor(v_HW)) % 2).astype(np.float32)
    return checks


def _bricks(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """Rows of cells, every second row moved by half, with joints."""
    shifted_HW = (u_HW * 0.5 + 0.5 * (np.floor(v_HW) % 2)).astype(np.float32)
    joint = rng.uniform(0.05, 0.2)
    inside_HW = (_part(shifted_HW) > joint / 2) & (_part(v_HW) > joint)
    bricks: Floats = inside_HW * (1.0 - rng.uniform(0, 0.6) * _of_cell(rng, shifted_HW, v_HW))
    return bricks


def _windows(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """A facade: in each cell a pane of its own shade, a frame around it and bars across."""
    left, top = rng.uniform(0.08, 0.3, 2)
    frame = rng.uniform(0.02, 0.08)
    a_HW, b_HW = (_part(u_HW) - left) / (1 - 2 * left), (_part(v_HW) - top) / (1 - 2 * top)
    pane_HW = (np.abs(a_HW - 0.5) < 0.5) & (np.abs(b_HW - 0.5) < 0.5)
    columns, rows = rng.integers(1, 4, 2)
    bars_HW = (_part(a_HW * columns + frame) < 2 * frame * columns) | (_part(b_HW * rows + frame) < 2 * frame * rows)
    shade_HW = 0.5 + 0.5 * _of_cell(rng, u_HW, v_HW)
    return np.where(pane_HW, np.where(bars_HW, np.float32(rng.uniform(0, 0.4)), shade_HW), np.float32(0.0))


def _dots(rng: np.random.Generator, u_HW: Floats, v_HW: Floats) -> Floats:
    """A disc in each cell."""
    return ((_part(u_HW) - 0.5) ** 2 + (_part(v_HW) - 0.5) ** 2 < rng.uniform(0.15, 0.5) ** 2).astype(np.float32)


_PATTERNS: tuple[Callable[[np.random.Generator, Floats, Floats], Floats], ...] = (
    _lines, _lines, _stripes, _stripes, _checks, _bricks, _windows, _windows, _dots,
)  # fmt: skip


def _grain(rng: np.random.Generator, size: int) -> Floats:
    """Smooth noise of several sizes, of unit spread."""
    total_HW = np.zeros((size, size), np.float32)
    for cell in (2, 4, 8, 16):
        noise = rng.normal(0, 1, (size // cell + 1, size // cell + 1)).astype(np.float32)
        total_HW += np.kron(noise, np.ones((cell, cell), np.float32))[:size, :size]
    return total_HW / 2.0


def _wire(canvas_3HW: Floats, rng: np.random.Generator, x_HW: Floats, y_HW: Floats, side: int) -> None:
    """One long line, straight or sagging, of a width between half a pixel and a dozen."""
    angle = rng.uniform(0, math.pi)
    along_HW = x_HW * math.cos(angle) + y_HW * math.sin(angle)
    across_HW = y_HW * math.cos(angle) - x_HW * math.sin(angle) - rng.uniform(-0.5, 0.5)
    across_HW = across_HW - rng.uniform(-0.4, 0.4) * (rng.random() < 0.4) * along_HW**2
    width = np.exp(rng.uniform(math.log(0.6), math.log(12.0))) / side
    where_HW = np.abs(across_HW) < width / 2
    if rng.random() < 0.5:  # it ends somewhere
        where_HW &= along_HW > rng.uniform(-0.5, 0.3)
    canvas_3HW[:, where_HW] = _colour(rng)[:, :, 0]
