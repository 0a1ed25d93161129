"""Sources that something is wrong with, each made from an ordinary clip of `tests.clips`."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from tests.clips import picture

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def cut(path: Path, share: float, whole: Path) -> Path:
    """The first part of a file, as an interrupted copy leaves it."""
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def with_noise(path: Path, whole: Path, start: float = 0.4, stop: float = 0.6) -> Path:
    """A file with noise from `start` to `stop` of its length, as a failing disk leaves it."""
    data = bytearray(whole.read_bytes())
    first, last = int(len(data) * start), int(len(data) * stop)
    data[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(data)
    return path


def audio_only(path: Path) -> Path:
    """A video file that holds sound alone."""
    with av.open(f"file:{path}", "w") as output:
        stream = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        for start in range(0, 24000, 1024):
            frame.pts, frame.time_base = start, Fraction(1, 48000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def interlaced(path: Path, flagged: bool, frames: int = 20, width: int = 320, height: int = 256) -> Path:
    """A picture whose two fields are of different moments; with or without being marked as such."""
    options = (
        {"preset": "veryfast", "crf": "16", "x264-params": "tff=1"} if flagged else {"preset": "veryfast", "crf": "16"}
    )
    with av.open(f"file:{path}", "w") as output:
        stream = output.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            woven = picture(4 * number, width, height)
            woven[1::2] = picture(4 * number + 2, width, height)[1::2]
            frame = av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def with_bytes(path: Path, whole: Path, old: bytes, new: bytes) -> Path:
    """A file with other bytes of the same number in one place."""
    data = whole.read_bytes()
    assert data.count(old) >= 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))
    return path


def size_changes(path: Path, times: int = 1) -> Path:
    """A transport stream with sound whose picture becomes wider so many times, as broadcasts do at a commercial."""
    data = b""
    for number in range(times + 1):
        sources = (
            f"testsrc2=size={64 + 32 * number}x48:rate=24:duration=0.5",
            f"sine={220 * number + 220}:duration=0.5",
        )
        inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        coded = ("-c:v", "mpeg2video", "-bf", "2", "-g", "6", "-c:a", "mp2")
        place = ("-output_ts_offset", f"{0.55 * number:.2f}", "-f", "mpegts", "-")
        data += subprocess.run(
            [FFMPEG, "-loglevel", "error", *inputs, *coded, *place], capture_output=True, check=True
        ).stdout
    path.write_bytes(data)
    return path


def text(path: Path) -> Path:
    """Words, whatever the name says."""
    path.write_text("These are words.\n" * 100)
    return path
