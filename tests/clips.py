"""Small videos made on the spot, each with a quirk that a test is about. Every frame differs from every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Clip:
    """What to make; the defaults are an ordinary little MP4 with sound."""

    frames: int = 24
    width: int = 64
    height: int = 48
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(24)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    audio: str = "aac"
    cuts: Sequence[int] = ()
    b_frames: int = 2
    gop: int = 12
    colour: tuple[int, int, int, int] | None = (1, 1, 1, 1)  # matrix, primaries, transfer, range
    subtitle: bool = False
    chapters: bool = False
    attachment: bool = False
    sample_aspect: Fraction = Fraction(1)
    rotation: int = 0
    grain: float = 0.0
    options: tuple[tuple[str, str], ...] = ()


def picture(number: int, width: int, height: int, shot: int = 0) -> np.ndarray:
    """[H, W, 3] uint8: a moving pattern of its own for every frame number, of another kind for every shot."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = number * 0.35
    red = 128 + 60 * np.sin((x + 3 * number) / (6 + 5 * shot)) * np.cos(y / 25)
    green = 128 + 60 * np.sin(x / (5 + 3 * shot) + phase)
    blue = 90 + 30 * shot % 120 + 40 * np.cos(x / 7 + phase)
    rgb = np.stack([red, green, blue], -1) - 25 + 60 * (shot % 2)
    bar = abs((number * 7) % (2 * width) - width)  # to and fro: a jump would pass for a cut
    rgb[:, : max(1, bar)] *= 0.4 + 0.2 * (shot % 4)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def make(path: Path, clip: Clip = Clip()) -> Path:
    """Write a clip; the container follows the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_base = clip.time_base or 1 / clip.rate
    with av.open(f"file:{path}", "w", format=_FORMATS.get(path.suffix)) as output:
        video = output.add_stream(clip.codec, rate=clip.rate, options=_options(clip))
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.pix_fmt
        context = video.codec_context
        context.time_base = video.time_base = time_base
        context.sample_aspect_ratio = clip.sample_aspect
        context.gop_size = clip.gop
        context.thread_count = 1
        if clip.codec not in {"ffv1", "rawvideo", "cinepak"}:
            context.max_b_frames = clip.b_frames
        if clip.colour:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = clip.colour
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        sound = output.add_stream(clip.audio, rate=48000, layout="mono") if clip.audio else None
        if sound is not None:
            sound.metadata["language"] = "fra"
        kind = "mov_text" if path.suffix in {".mp4", ".mov"} else "subrip"
        text = output.add_mux_stream(kind, time_base=Fraction(1, 1000)) if clip.subtitle else None
        if clip.attachment:
            output.add_attachment("font.ttf", "application/x-truetype-font", b"not a font" * 20)
        output.metadata["title"] = path.stem
        seconds = clip.frames / float(clip.rate)
        if clip.chapters:
            half = int(seconds * 500)
            output.set_chapters(
                [
                    {"id": 1, "start": 0, "end": half, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
                    {
                        "id": 2,
                        "start": half,
                        "end": 2 * half,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": "Two"},
                    },
                ]
            )
        if text is not None:
            text.metadata["language"] = "eng"
            output.mux(_subtitle(text, path.suffix, seconds))
        if sound is not None:
            output.mux(_sound(sound, seconds))
        shot = 0
        for number in range(clip.frames):
            shot += number in clip.cuts
            rgb = _grainy(picture(number, clip.width, clip.height, shot), number, clip.grain)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame = frame.reformat(format=clip.pix_fmt, dst_colorspace="ITU709" if clip.colour else None)
            frame.pts = clip.pts[number] if clip.pts else round(number / clip.rate / time_base)
            frame.time_base = time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def _grainy(rgb: np.ndarray, number: int, grain: float) -> np.ndarray:
    """With noise of a deviation, another one in each frame."""
    if not grain:
        return rgb
    noise = np.random.default_rng(number).normal(0, grain, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


_FORMATS = {".mkv": "matroska", ".ts": "mpegts", ".m4v": "mp4"}


def _options(clip: Clip) -> dict[str, str]:
    quick = {"libx264": {"preset": "veryfast", "crf": "20"}, "libx265": {"x265-params": "log-level=error:info=0"}}
    return {**quick.get(clip.codec, {}), **dict(clip.options)}


def _sound(stream: av.AudioStream, seconds: float) -> list[av.Packet]:
    samples = int(48000 * seconds)
    tone = (np.sin(np.arange(samples) / 20) * 8000).astype(np.int16)[None]
    packets = []
    for start in range(0, samples, 1024):
        block = np.ascontiguousarray(tone[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for resampled in av.AudioResampler(stream.codec_context.format.name, "mono", 48000).resample(frame):
            packets += stream.encode(resampled)
    return packets + stream.encode(None)


def _subtitle(stream: av.stream.Stream, suffix: str, seconds: float) -> list[av.Packet]:
    packets = []
    for number in range(2):
        words = f"line {number}".encode()
        packet = av.Packet(len(words).to_bytes(2, "big") + words if suffix in {".mp4", ".mov"} else words)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = int(seconds * 500 * number)
        packet.duration = int(seconds * 400)
        packets.append(packet)
    return packets
