"""`score`: a reference and a result in, every metric of this package out.

Frames are paired by number. Luma is compared as coded, so the two must agree in size, length, matrix and range; where
their depths differ the shallower one's codes are shifted up, which is exact.

Shape suffixes: H rows, W columns, 3 colours, B pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
import torch

from tasks.errors import UsageError
from tasks.media.picture.colour import to_rgb
from tasks.media.picture.pixels import Planes, to_planes
from tasks.media.reading.probe import Probe, probe
from tasks.media.reading.source import Source, open_input, source_errors, video_stream
from tasks.quality.flicker import WarpError, opencv
from tasks.quality.libvmaf import Luma, measure
from tasks.quality.lpips import load_lpips

SMALLEST = 32  # side of a picture that libvmaf's scales and LPIPS' strides can cope with
_SAME_MATRIX = {5: 6}  # BT.470BG and SMPTE 170M: one set of coefficients under two numbers
LPIPS_EVERY = 5  # frames; it is by far the slowest, and varies slowly


@dataclass(frozen=True)
class Picture:
    """One frame: its luma codes [H, W], and its RGB in 0..1 [3, H, W] for whoever asks."""

    luma: Luma
    rgb: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Pictures:
    """A run of frames that can be gone through more than once.

    Attributes:
        label: what a person calls it.
        height, width, depth: of the luma.
        meaning: what its codes mean, in words; two runs can be compared when these are equal.
        frames: goes through them from the first.
    """

    label: str
    height: int
    width: int
    depth: int
    meaning: str
    frames: Callable[[], Iterator[Picture]]


@dataclass(frozen=True)
class Score:
    """Means over frames; None where a metric's weights or library are not installed.

    Attributes:
        frames: how many were compared.
        psnr_y: dB. ssim_y: 0..1. vmaf, vmaf_neg: 0..100.
        lpips: AlexNet, v0.1, over every `LPIPS_EVERY`th frame; lower is nearer.
        flicker, flicker_of_reference: temporal warp error times 1000 of either.
    """

    frames: int
    psnr_y: float
    ssim_y: float
    vmaf: float
    vmaf_neg: float
    lpips: float | None
    flicker: float | None
    flicker_of_reference: float | None


def score(reference: Source, result: Source) -> Score:
    """Compare two video files frame by frame.

    Raises:
        SourceError, UnsupportedSource: one of them cannot be read.
        UsageError: they cannot be compared; says in what they differ.
    """
    a, b = probe(reference), probe(result)
    # What a file does not say is guessed by its size, which the other one may know better.
    matrices = [_SAME_MATRIX.get(one.colour.matrix, one.colour.matrix) for one in (a, b)]
    if a.colour.assumed:
        matrices[0] = matrices[1]
    elif b.colour.assumed:
        matrices[1] = matrices[0]
    return compare(_pictures(reference, a, matrices[0]), _pictures(result, b, matrices[1]))


def compare(reference: Pictures, result: Pictures) -> Score:
    """Compare two runs of frames; errors as for `score`."""
    for what in ("height", "width", "meaning"):
        a, b = getattr(reference, what), getattr(result, what)
        if a != b:
            raise UsageError(
                f"{result.label}: its {what} is {b}, that of {reference.label} is {a}. Compare pictures of one size and"
                " colour, for instance a master with the original it was reduced from."
            )
    if min(reference.height, reference.width) < SMALLEST:
        raise UsageError(f"{reference.label}: VMAF takes pictures of {SMALLEST}x{SMALLEST} and more.")
    depth = max(reference.depth, result.depth)
    frames, lpips, flicker = _go_through(reference, result)
    fidelity = measure(_lumas(reference, depth), _lumas(result, depth), reference.height, reference.width, depth)
    before, after = flicker or (None, None)
    return Score(
        frames=frames, psnr_y=fidelity.psnr_y, ssim_y=fidelity.ssim_y, vmaf=fidelity.vmaf,
        vmaf_neg=fidelity.vmaf_neg, lpips=lpips, flicker=after, flicker_of_reference=before,
    )  # fmt: skip


def _go_through(reference: Pictures, result: Pictures) -> tuple[int, float | None, tuple[float, float] | None]:
    """Count the frames and take what is measured here: LPIPS, and the warp errors of reference and result."""
    metric, cv2 = load_lpips(torch.device("cpu")), opencv()
    warp_error = WarpError(cv2) if cv2 is not None else None
    distances: list[float] = []
    frames = 0
    for a, b in zip_longest(reference.frames(), result.frames()):
        if a is None or b is None:
            shorter, longer = (reference, result) if a is None else (result, reference)
            raise UsageError(
                f"{shorter.label}: ends after {frames} frames and {longer.label} does not. Compare runs of one length."
            )
        if metric is not None and frames % LPIPS_EVERY == 0:
            distances.append(float(metric(a.rgb()[None], b.rgb()[None])))
        if warp_error is not None:
            warp_error.add(_unit(a.luma, reference.depth), _unit(b.luma, result.depth))
        frames += 1
    if not frames:
        raise UsageError(f"{reference.label}: holds no frame that can be decoded.")
    return frames, float(np.mean(distances)) if distances else None, warp_error.means() if warp_error else None


def _lumas(pictures: Pictures, depth: int) -> Iterator[Luma]:
    for picture in pictures.frames():
        yield _deeper(picture.luma, depth - pictures.depth)


def _deeper(luma_HW: Luma, bits: int) -> Luma:
    """The same levels in codes of so many more bits."""
    return np.left_shift(luma_HW, bits, dtype=np.uint16) if bits else luma_HW


def _unit(luma_HW: Luma, depth: int) -> npt.NDArray[np.float32]:
    """Codes as 0..1."""
    return luma_HW.astype(np.float32) / np.float32((1 << depth) - 1)


def _pictures(source: Source, found: Probe, matrix: int) -> Pictures:
    """A video file's picture stream, its luma of the H.273 matrix that is given."""
    layout, colour = found.layout, found.colour
    depth = next(depth for depth in (8, 10, 12, 16) if depth >= layout.depth)
    swing = "full" if colour.full_range or layout.family == "rgb" else "limited"
    return Pictures(
        source.label, found.height, found.width, depth, f"{layout.family}, matrix {matrix}, {swing} range",
        lambda: _decode(source, found, depth),
    )  # fmt: skip


def _decode(source: Source, found: Probe, depth: int) -> Iterator[Picture]:
    layout, colour, up = found.layout, found.colour, depth - found.layout.depth

    def rgb(planes: Planes) -> torch.Tensor:
        return to_rgb([planes], layout, colour, torch.device("cpu"))[0]

    with ExitStack() as stack:
        container = stack.enter_context(open_input(source))
        stack.enter_context(source_errors(source, "comparing it"))
        for frame in container.decode(video_stream(container, found.stream)):
            planes = to_planes(frame, layout)
            luma_HW = _luma_of_rgb(planes) if layout.family == "rgb" else planes[0]
            yield Picture(_deeper(luma_HW, up), partial(rgb, planes))


def _luma_of_rgb(planes: Planes) -> Luma:
    """Full-range luma of R'G'B' codes, weighed as in BT.709."""
    red, green, blue = (plane.astype(np.float32) for plane in planes[:3])
    luma: Luma = (0.2126 * red + 0.7152 * green + 0.0722 * blue).round().astype(planes[0].dtype)
    return luma
