"""HDR clips made on the spot, from light in nits. Their formulas are written once more, apart from the product's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

PQ, HLG = 16, 18
# As encoders are told of a display: BT.2020 with white D65, 1000 nits.
DISPLAY = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)"
LEVELS = (1000, 300)


def pq_code(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 5.2, inverted."""
    power = (np.clip(nits, 0, None) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_code(scene: np.ndarray) -> np.ndarray:
    """ARIB STD-B67: light of the scene, 0..1, as R'G'B'."""
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * np.clip(scene, 0, None)), bright)


def scene(number: int, height: int, width: int, peak: float = 1000.0, shot: int = 0) -> np.ndarray:
    """[H, W, 3] nits: a wall with lettering in the shade, and lamps as bright as `peak`, all of it moving."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    wall = 12 + 8 * np.sin((x + 2 * number) / 9) * np.cos(y / 13)
    strokes = ((x + 2 * number) // 4 % 3 == 0) & ((y // 6) % 2 == shot % 2)
    light = np.stack([wall * 1.2, wall, wall * 0.8], -1) * np.where(strokes, 4.0, 1.0)[..., None]
    for lamp in range(3):
        across, down = (width // 4) * (lamp + 1) + number, height // 2 + 8 * (lamp - 1)
        near = np.exp(-((x - across) ** 2 + (y - down) ** 2) / 18)
        light += near[..., None] * peak * np.array([1.0, 0.8 - 0.2 * lamp, 0.5])
    return np.minimum(light * (1 if shot % 2 == 0 else 0.25), peak)


def letters(number: int, height: int, width: int) -> np.ndarray:
    """[H, W, 3] R'G'B' in PQ: bright strokes with clean edges on a dark ground, moving."""
    y, x = np.mgrid[0 : 4 * height, 0 : 4 * width] / 4
    stroke = np.sin((x + 1.5 * number) * 0.44 + y * 0.2) + np.sin((x - y * 0.7) * 0.28) > 0.2
    code = pq_code(np.where(stroke, 120.0, 6.0)[..., None] * np.array([1.0, 0.9, 0.7]))
    return code.reshape(height, 4, width, 4, 3).mean((1, 3))


def rgb(number: int, height: int, width: int, transfer: int = PQ, peak: float = 1000.0, shot: int = 0) -> np.ndarray:
    """[H, W, 3] R'G'B' of the scene, 0..1."""
    light = scene(number, height, width, peak, shot)
    return pq_code(light) if transfer == PQ else hlg_code((light / 1000) ** (1 / 1.2))


def make_hdr(
    path: Path, transfer: int = PQ, frames: int = 12, size: tuple[int, int] = (64, 96), peak: float = 1000.0,
    cuts: tuple[int, ...] = (), tagged: bool = True, encoder: str = "libx265", messages: Sequence[bytes] = (),
) -> Path:  # fmt: skip
    """Write a 10-bit clip in BT.2020; `tagged` with a mastering display and light levels.

    With `messages`, one a frame, each frame says one, and frames lean on later ones.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    said = f":hdr10=1:master-display={DISPLAY}:max-cll={LEVELS[0]},{LEVELS[1]}" if tagged else ""
    options = {
        "crf": "4",
        "preset": "veryfast",
        "x265-params": f"log-level=error:info=0:bframes={3 if messages else 0}{said}",
    }
    height, width = size
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, rate=24, options=options if encoder == "libx265" else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        for number in range(frames):
            shot = sum(number >= cut for cut in cuts)
            frame = yuv_frame(rgb(number, height, width, transfer, peak, shot))
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 1
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux([_saying(packet, messages) for packet in stream.encode(frame)])
        output.mux([_saying(packet, messages) for packet in stream.encode(None)])
    return path


def hdr10_plus(brightest: int, parts: int = 1) -> bytes:
    """A message of HDR10+ as in SMPTE ST 2094-40, for a frame of so many tenths of nits, and so many windows."""
    begins = [(0xB5, 8), (0x3C, 16), (1, 16), (4, 8), (1, 8), (parts, 2)]
    # Of a window but the first: corners, centre, angle, three axes, how they overlap.
    windows = [(0, 16), (0, 16), (9, 16), (9, 16), (4, 16), (4, 16), (0, 8), (2, 16), (3, 16), (3, 16), (0, 1)]
    light = [*[(brightest, 17)] * 3, (brightest // 9, 17), (2, 4), (1, 7), (0, 17), (99, 7), (brightest, 17), (5, 10)]
    fields = [*begins, *windows * (parts - 1), (4000, 27), (0, 1), *light * parts, (0, 1), *[(0, 1), (0, 1)] * parts]
    bits = "".join(f"{value:0{size}b}" for value, size in fields)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


def _saying(packet: av.Packet, messages: Sequence[bytes]) -> av.Packet:
    """A packet of H.265 with a message in a unit of its own before the first one of the picture."""
    message = messages[packet.pts or 0] if messages else b""
    if not message:
        return packet
    unit = b"\x4e\x01\x04" + bytes([len(message)]) + message + b"\x80"
    unit = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", unit)
    data = bytes(packet)
    at = next(m.start() for m in re.finditer(rb"\x00\x00\x01", data) if data[m.end()] >> 1 < 32)
    said = av.Packet(data[:at] + b"\x00\x00\x01" + unit + data[at:])
    said.pts, said.dts, said.time_base, said.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    said.is_keyframe, said.stream = packet.is_keyframe, packet.stream
    return said


def yuv_frame(rgb_HW3: np.ndarray) -> av.VideoFrame:
    """10 bits, 4:2:0, limited range, BT.2020; chroma is the mean of four."""
    red, green, blue = np.moveaxis(rgb_HW3, -1, 0)
    luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
    height, width = luma.shape
    quarter = (height // 2, 2, width // 2, 2)
    whole = (blue - luma) / 1.8814, (red - luma) / 1.4746
    chroma = [plane.reshape(quarter).mean((1, 3)) for plane in whole]
    planes = [np.round(64 + 876 * luma), *(np.round(512 + 896 * plane) for plane in chroma)]
    frame = av.VideoFrame(width, height, "yuv420p10le")
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, np.uint16).reshape(codes.shape[0], -1)
        rows[:, : codes.shape[1]] = np.clip(codes, 0, 1023).astype(np.uint16)
    return frame
