"""Runs of numbered image files made on the spot, with what their headers say. Every frame differs from every other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio  # noqa: N813

HEADERS: dict[str, dict[str, tuple[Any, Any]]] = {
    ".dpx": {
        "dpx:FrameRate": ("float", 23.976),
        "dpx:Transfer": ("string", "Printing density"),
        "dpx:Colorimetric": ("string", "Printing density"),
        "dpx:SlateInfo": ("string", "12A take 3"),
        "smpte:KeyCode": (oiio.TypeKeyCode, (1, 2, 3, 4, 5, 4, 64)),
        "DateTime": ("string", "2020:01:02 03:04:05"),
    },
    ".exr": {
        "framesPerSecond": (oiio.TypeRational, (25, 1)),
        "chromaticities": ("float[8]", (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)),
        "owner": ("string", "the studio"),
        "compression": ("string", "piz"),
    },
    ".tif": {"ImageDescription": ("string", "plate")},
    ".png": {},
    ".jpg": {},
}


def codes(number: int, height: int, width: int, depth: int) -> npt.NDArray[np.uint16]:
    """[H, W, 3] of so many bits: a moving ramp with its own value in nearly every place."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x / width, y / height, (x + y) / (width + height)], -1) * 0.9 + 0.003 * number
    return np.round(ramp * ((1 << depth) - 1)).astype(np.uint16)


def light(number: int, height: int, width: int) -> npt.NDArray[np.float16]:
    """[H, W, 3] halves from below 0 to far above 1."""
    return (codes(number, height, width, 12) / 256.0 - 1.0).astype(np.float16)


def write(path: Path, pixels: npt.NDArray[Any], depth: int = 16, **header: tuple[Any, Any]) -> Path:
    """One file: halves or floats as they are, whole numbers with so many bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, channels = pixels.shape
    if pixels.dtype == np.uint16:
        pixels = (
            pixels.astype(np.uint8) if depth == 8 else np.round(pixels * (65535 / ((1 << depth) - 1))).astype("uint16")
        )
    spec = oiio.ImageSpec(
        width, height, channels, str(pixels.dtype).replace("float16", "half").replace("float32", "float")
    )
    if spec.format.basetype in {oiio.UINT8, oiio.UINT16}:
        spec.attribute("oiio:BitsPerSample", depth)
    for name, (kind, value) in {**HEADERS[path.suffix], **header}.items():
        spec.attribute(name, kind, value)
    output = oiio.ImageOutput.create(str(path))
    assert output and output.open(str(path), spec) and output.write_image(pixels) and output.close(), oiio.geterror()
    return path


def make_run(
    folder: Path, name: str, frames: int, depth: int, first: int = 1001, height: int = 48, width: int = 64,
    alpha: bool = False,
) -> list[npt.NDArray[Any]]:  # fmt: skip
    """Files such as `plate.%04d.dpx`, each with its timecode; returns their pixels. Of EXR they may have alpha."""
    made = []
    for n in range(frames):
        path = folder / (name % (first + n))
        pixels = light(n, height, width) if path.suffix == ".exr" else codes(n, height, width, depth)
        if alpha:
            pixels = np.dstack([pixels, np.abs(pixels[..., :1]) / 16])
        code = (0x01000000 + n, 0)
        timed = {"smpte:TimeCode": (oiio.TypeTimeCode, code)} if path.suffix in {".dpx", ".exr"} else {}
        write(path, pixels, depth, **timed)
        made.append(pixels)
    return made


def said(path: Path) -> dict[str, Any]:
    """What a file's header says."""
    image = oiio.ImageInput.open(str(path))
    assert image, oiio.geterror()
    return {each.name: each.value for each in image.spec().extra_attribs}
