"""PSNR-Y, SSIM-Y, VMAF, VMAF-NEG and CAMBI of luma planes, by the libvmaf in imageio-ffmpeg's static ffmpeg.

Frames are paired by their number, never by a timestamp: the planes go through two pipes as raw video. Only luma counts
in these metrics; chroma is sent as grey. Models: Netflix `vmaf_v0.6.1` and `vmaf_v0.6.1neg` (1080p seen from 3 picture
heights). CAMBI (Tandon et al., PCS 2021) is how much banding there is: 0 for none, 5 where it begins to annoy.

Shape suffixes: H rows, W columns.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from tasks.errors import SourceError

Luma = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_MODELS = r"version=vmaf_v0.6.1\:name=vmaf|version=vmaf_v0.6.1neg\:name=neg"
_FILTER = "[0:v][1:v]libvmaf=log_fmt=json:log_path=log.json:n_threads={threads}:"
_FIDELITY = f"model='{_MODELS}':feature='name=psnr|name=float_ssim'"
_GRADE = r"model='version=vmaf_v0.6.1neg\:name=neg':feature='name=cambi'"
# Seconds in which it must take a frame, or come to an end.
_STALL = 600.0


@dataclass(frozen=True)
class Fidelity:
    """Means over frames: PSNR-Y in dB (60 at most for 8 bits), SSIM-Y in 0..1, VMAF and VMAF-NEG in 0..100."""

    psnr_y: float
    ssim_y: float
    vmaf: float
    vmaf_neg: float


@dataclass(frozen=True)
class Grade:
    """Means over frames: VMAF-NEG in 0..100, and CAMBI of the result; None where the picture is too small for it."""

    vmaf_neg: float
    cambi: float | None


def measure(reference: Iterable[Luma], result: Iterable[Luma], height: int, width: int, depth: int) -> Fidelity:
    """Compare two runs of luma planes [H, W] of one size, depth (8, 10, 12 or 16 bits) and length.

    Raises:
        SourceError: ffmpeg refused; carries what it said.
    """
    means = _means(reference, result, height, width, depth, _FIDELITY)
    names = {"psnr_y": "psnr_y", "ssim_y": "float_ssim", "vmaf": "vmaf", "vmaf_neg": "neg"}
    return Fidelity(**{ours: means[theirs] for ours, theirs in names.items()})


def grade(reference: Iterable[Luma], result: Iterable[Luma], height: int, width: int, depth: int) -> Grade:
    """The same for what a person would say of the result; see `measure`."""
    means = _means(reference, result, height, width, depth, _GRADE)
    return Grade(means["neg"], means.get("cambi"))


def _means(
    reference: Iterable[Luma], result: Iterable[Luma], height: int, width: int, depth: int, wanted: str
) -> dict[str, float]:
    """Means over frames of what is wanted, by libvmaf's names."""
    pix_fmt = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
    layout = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-video_size", f"{width}x{height}", "-framerate", "25"]
    with tempfile.TemporaryDirectory() as folder:
        pipes = [os.pipe() for _ in range(2)]
        inputs = [word for read, _ in pipes for word in (*layout, "-i", f"pipe:{read}")]
        graph = _FILTER.format(threads=os.cpu_count() or 1) + wanted
        process = subprocess.Popen(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"],
            cwd=folder, pass_fds=[read for read, _ in pipes], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        failures: list[BaseException] = []
        fed = [0]
        feeders = [
            threading.Thread(target=_feed, args=(planes, write, height, width, depth, failures, fed))
            # libvmaf's first input is the distorted one
            for planes, (_, write) in zip((result, reference), pipes, strict=True)
        ]
        for read, _ in pipes:
            os.close(read)
        with process:
            for feeder in feeders:
                feeder.start()
            try:
                said = _last_words(process, fed)
            except BaseException:
                process.kill()
                raise
        for feeder in feeders:
            feeder.join()
        if failures:
            raise failures[0]
        if process.returncode != 0:
            raise SourceError(f"ffmpeg could not compare the two: {said or process.returncode}")
        pooled = json.loads((Path(folder) / "log.json").read_text())["pooled_metrics"]
    return {name: float(found["mean"]) for name, found in pooled.items()}


def _last_words(process: subprocess.Popen[bytes], fed: list[int]) -> str:
    """What it said, at its end. Raises SourceError if it takes no more frames and does not end either."""
    before = -1
    while True:
        try:
            return process.communicate(timeout=_STALL)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            if fed[0] == before:
                raise SourceError(f"ffmpeg did nothing for {_STALL:.0f} s while it compared the two.") from None
            before = fed[0]


def _feed(
    planes: Iterable[Luma], pipe: int, height: int, width: int, depth: int, failures: list[BaseException],
    fed: list[int],
) -> None:  # fmt: skip
    """Write every plane, each with grey chroma, and close the pipe; counts what is written in `fed`."""
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    chroma = np.full(2 * -(-height // 2) * -(-width // 2), 1 << (depth - 1), dtype).tobytes()
    try:
        with os.fdopen(pipe, "wb") as file:
            for plane_HW in planes:
                file.write(np.ascontiguousarray(plane_HW, dtype).tobytes())
                file.write(chroma)
                fed[0] += 1
    except BrokenPipeError:
        pass  # ffmpeg has stopped reading and says why itself
    except BaseException as error:
        failures.append(error)
