"""Draw a training curve as a PNG with nothing but numpy and zlib: loss (log, grey) and PSNR-Y over bicubic (blue, red).

Knows nothing of what was trained. Shape suffixes: H rows, W columns, 3 colours.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH, MARGIN = 400, 900, 20
GREY, BLUE, RED, RULE = (150, 150, 150), (31, 119, 180), (214, 39, 40), (225, 225, 225)


def draw_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw `rows`; every key is optional but "step". Rules lie 0.5 dB apart, the lowest at 0 dB over bicubic."""
    image_HW3 = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    gains = [_series(rows, f"psnr{s}", f"bicubic{s}") for s in (4, 2)]
    top = max([y for gain in gains for _, y in gain] + [1.0])
    low = min([y for gain in gains for _, y in gain] + [0.0])
    end = max([row["step"] for row in rows] + [1.0])
    for half_db in range(0, int(top * 2) + 1):
        _line(image_HW3, [(0.0, half_db / 2), (end, half_db / 2)], (0.0, end), (low, top), RULE)
    loss = [(x, float(np.log(max(y, 1e-9)))) for x, y in _series(rows, "loss")]
    if loss:
        _line(image_HW3, loss, (0.0, end), (min(y for _, y in loss), max(y for _, y in loss)), GREY)
    for gain, colour in zip(gains, (BLUE, RED), strict=True):
        _line(image_HW3, gain, (0.0, end), (low, top), colour)
    path.write_bytes(_png(image_HW3))


def _series(rows: list[dict[str, float]], key: str, minus: str = "") -> list[tuple[float, float]]:
    return [(row["step"], row[key] - row.get(minus, 0.0)) for row in rows if key in row]


def _line(
    image_HW3: npt.NDArray[np.uint8], points: list[tuple[float, float]], x_range: tuple[float, float],
    y_range: tuple[float, float], colour: tuple[int, int, int],
) -> None:  # fmt: skip
    def place(value: float, span: tuple[float, float], size: int) -> float:
        return MARGIN + (value - span[0]) / max(span[1] - span[0], 1e-9) * (size - 2 * MARGIN)

    at = [(place(x, x_range, WIDTH), HEIGHT - place(y, y_range, HEIGHT)) for x, y in points]
    for (x0, y0), (x1, y1) in zip(at, at[1:] or at, strict=False):
        n = int(max(abs(x1 - x0), abs(y1 - y0))) + 2
        xs, ys = (np.linspace(a, b, n).round().astype(int) for a, b in ((x0, x1), (y0, y1)))
        for dy in (0, 1):
            image_HW3[np.clip(ys + dy, 0, HEIGHT - 1), np.clip(xs, 0, WIDTH - 1)] = colour


def _png(image_HW3: npt.NDArray[np.uint8]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image_HW3.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image_HW3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
