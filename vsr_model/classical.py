"""The honest references: bicubic and Lanczos resampling, as upscalers and as a plain antialiased `resize`.

Every output row (or column) is a weighted sum of a few source rows. The weights are worked out once per pair of sizes,
in float64 from exact integer positions; the sums are single float32 multiplications and single additions in a fixed
order. So a result depends on the picture alone: not on the device, the number of threads, the slicing into pushes or
the tile a pixel was in.

On a GPU all taps of an axis are summed in one kernel (`classical_triton`), once it has shown that its bits are these.

Knows nothing of colour or ranges: values are never clamped, so overshoot and super-whites pass.

Shape suffixes: T frames, C channels (3: R, G, B), H rows, W columns, K taps of a kernel, N outputs along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch

from vsr_model.contract import Corner, ModelEntry, ModelInfo, ModelRef, Placement
from vsr_model.errors import UnsupportedScale
from vsr_model.trial import agree, proven

KernelName = Literal["bicubic", "lanczos"]
Resample = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# Elements of one slab of rows: two such buffers stay in a core's cache; a GPU wants few, large launches instead.
_SLAB = {"cpu": 1 << 18}
_SLAB_ELSEWHERE = 1 << 26


def _bicubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys' cubic convolution with a = -0.5 (Catmull-Rom), as PIL and torch's antialiased bicubic use.

    Source: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29(6), 1981, eq. 15.
    """
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return torch.where(d < 1.0, near, torch.where(d < 2.0, far, 0.0))


def _lanczos(distance: torch.Tensor) -> torch.Tensor:
    """Sinc windowed by the central lobe of a sinc three times as wide.

    Source: C. Duchon, "Lanczos filtering in one and two dimensions", J. Applied Meteorology 18(8), 1979.
    """
    return torch.where(distance.abs() < 3.0, torch.sinc(distance) * torch.sinc(distance / 3.0), 0.0)


_KERNELS: dict[KernelName, tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = {
    "bicubic": (2, _bicubic),
    "lanczos": (3, _lanczos),
}


@lru_cache(maxsize=64)
def _taps(
    n_in: int, n_out: int, kernel: KernelName, device: torch.device, part: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which source positions make each output position, and with what weight.

    Edges are aligned: output o lies at (o + 1 / part) * n_in / n_out - 1 / part. Shrinking stretches the kernel by the
    ratio, which makes it an antialiasing low-pass. Positions past the edge repeat the edge.

    Returns:
        index_KN (int64) and weight_KN (float32; each column sums to 1 but for its rounding) on `device`.
    """
    radius, weight_of = _KERNELS[kernel]
    stretch = max(1.0, n_in / n_out)
    reach = math.ceil(radius * stretch)
    # Integer arithmetic up to the one division: equal phases get equal weights to the last bit wherever a tile starts.
    numerator_N = (part * torch.arange(n_out) + 1) * n_in - n_out
    base_N = torch.div(numerator_N, part * n_out, rounding_mode="floor")
    phase_N = (numerator_N - base_N * part * n_out).to(torch.float64) / (part * n_out)
    offset_K1 = torch.arange(1 - reach, reach + 1)[:, None]
    weight_KN = weight_of((offset_K1 - phase_N) / stretch)
    weight_KN = weight_KN / weight_KN.sum(dim=0)
    # sin(pi * k) is not quite 0 in floating point; an output on a source pixel must be that pixel and nothing more.
    weight_KN[weight_KN.abs() < 1e-12] = 0.0
    used_K = (weight_KN != 0.0).any(dim=1)
    index_KN = (base_N + offset_K1).clamp(0, n_in - 1)
    return index_KN[used_K].to(device), weight_KN[used_K].to(device, torch.float32)


def _rows(
    x_CHW: torch.Tensor, height: int, kernel: KernelName, part: int = 2, into: torch.Tensor | None = None
) -> torch.Tensor:
    """Resample float32 `x_CHW` along its rows, `into` a contiguous [C, height, W] tensor if one is given."""
    if x_CHW.shape[1] == height:
        return x_CHW
    x_CHW = x_CHW.contiguous()
    resample = _kernel(x_CHW.device)
    if resample:
        taken_CNW = resample(x_CHW, *_taps(x_CHW.shape[1], height, kernel, x_CHW.device, part))
        return taken_CNW if into is None else into.copy_(taken_CNW)
    return _rows_plainly(x_CHW, height, kernel, part, into)


def _rows_plainly(
    x_CHW: torch.Tensor, height: int, kernel: KernelName, part: int = 2, into: torch.Tensor | None = None
) -> torch.Tensor:
    """The same of contiguous `x_CHW` in ordinary torch, anywhere."""
    out_CNW = x_CHW.new_empty((x_CHW.shape[0], height, x_CHW.shape[2])) if into is None else into
    index_KN, weight_KN = _taps(x_CHW.shape[1], height, kernel, x_CHW.device, part)
    slab = _SLAB.get(x_CHW.device.type, _SLAB_ELSEWHERE) // x_CHW.shape[2]  # rows of it
    rows = max(1, min(height, slab))
    channels = max(1, min(len(x_CHW), slab // height))
    for x_cHW, out_cNW in zip(torch.split(x_CHW, channels), torch.split(out_CNW, channels), strict=True):
        term = torch.empty_like(out_cNW[:, :rows])
        for top in range(0, height, rows):
            sum_cNW = out_cNW[:, top : top + rows]
            term_cNW = term[:, : sum_cNW.shape[1]]
            for k, (index_N, weight_N) in enumerate(zip(index_KN, weight_KN, strict=True)):
                torch.index_select(x_cHW, 1, index_N[top : top + rows], out=term_cNW)
                weight_N1 = weight_N[top : top + rows, None]
                # Never fused into one multiply-add: its single rounding would depend on device and vector width.
                if k == 0:
                    torch.mul(term_cNW, weight_N1, out=sum_cNW)
                else:
                    sum_cNW.add_(term_cNW.mul_(weight_N1))
    return out_CNW


def _columns(x_CHW: torch.Tensor, width: int, kernel: KernelName, part: int = 2) -> torch.Tensor:
    """Resample float32 `x_CHW` along its columns."""
    if x_CHW.shape[2] == width:
        return x_CHW
    resample = _kernel(x_CHW.device)
    if resample:
        x_CWR = x_CHW.contiguous()[..., None].flatten(0, 1)
        taken_CNR = resample(x_CWR, *_taps(x_CHW.shape[2], width, kernel, x_CHW.device, part))
        return taken_CNR.view(*x_CHW.shape[:2], width)
    # Gathering whole rows is many times faster than gathering single pixels, both transpositions included.
    return _rows(x_CHW.transpose(1, 2), width, kernel, part).transpose(1, 2)


@lru_cache(maxsize=8)
def _kernel(device: torch.device) -> Resample | None:
    """The kernel for a device, if it runs there and its bits are those of plain torch."""
    if device.type != "cuda":
        return None

    def make() -> Resample:
        from vsr_model.classical_triton import resample as kernel

        return kernel

    return proven("the resampling kernel is", device, make, lambda kernel: check(kernel, device))


def check(resample: Resample, device: torch.device) -> None:
    """Hold a kernel against plain torch on fresh noise, enlarging and reducing.

    Raises:
        ArithmeticError: a bit differs.
    """
    x_CHW = torch.randn((3, 37, 53), device=device)
    for height in (148, 55, 11):
        for kernel in _KERNELS:
            found_CNW = resample(x_CHW, *_taps(37, height, kernel, device))
            agree("its result", found_CNW, _rows_plainly(x_CHW, height, kernel), None)


@torch.no_grad()
def _resize_planes(
    x_CHW: torch.Tensor, out_CHW: torch.Tensor, kernel: KernelName, parts: tuple[int, int] = (2, 2)
) -> None:
    """Fill the contiguous `out_CHW` with `x_CHW` at its size; any float dtype, summed in float32."""
    height, width = out_CHW.shape[1:]
    if x_CHW.shape == out_CHW.shape:
        out_CHW.copy_(x_CHW)
        return
    y_CHW = x_CHW.to(torch.float32)
    # The smaller picture in between: rows first when they shrink, columns first when they do not.
    if height < x_CHW.shape[1]:
        y_CHW = _columns(_rows(y_CHW, height, kernel, parts[0]), width, kernel, parts[1])
    else:
        into = out_CHW if out_CHW.dtype == torch.float32 else None
        y_CHW = _rows(_columns(y_CHW, width, kernel, parts[1]), height, kernel, parts[0], into)
    if y_CHW is not out_CHW:
        out_CHW.copy_(y_CHW)


def resize(
    frames_T3HW: torch.Tensor, height: int, width: int, kernel: KernelName = "bicubic",
    parts: tuple[int, int] = (2, 2),
) -> torch.Tensor:  # fmt: skip
    """Resize to any size, larger or smaller, antialiased (a shrinking axis gets the kernel stretched by its ratio).

    Args:
        frames_T3HW: [T, 3, H, W] float tensor of any range; any other number of channels will do, masks say.
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.
        kernel: "bicubic" (a = -0.5, support 2) or "lanczos" (support 3), in source pixels or, when shrinking, in output
            pixels.
        parts: down and across, what part of its pixel a sample lies behind the pixel's edge: 2, a half, is its middle,
            4 that of the first of two that share a sample of chroma.

    Returns:
        A new [T, C, height, width] tensor of the same dtype and device, not clamped, without gradient. At equal size
        it holds the input's own bits. Past the edge the edge pixel is repeated.

    Raises:
        ValueError: not a [T, C, H, W] float tensor, an empty frame or size, or an unknown kernel.
    """
    if frames_T3HW.ndim != 4 or not frames_T3HW.is_floating_point():
        raise ValueError(f"expected a float tensor [T, C, H, W], got {frames_T3HW.dtype} {list(frames_T3HW.shape)}")
    if min(height, width, *frames_T3HW.shape[2:]) < 1:
        raise ValueError(f"cannot resize {list(frames_T3HW.shape[2:])} to {[height, width]}: a side is empty")
    if kernel not in _KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}: choose one of {', '.join(_KERNELS)}")
    out_T3HW = frames_T3HW.new_empty((*frames_T3HW.shape[:2], height, width))
    # One frame at a time stays in a processor's cache; a GPU wants few launches.
    step = 1 if frames_T3HW.device.type == "cpu" else max(1, len(frames_T3HW))
    for x_T3HW, out in zip(torch.split(frames_T3HW, step), torch.split(out_T3HW, step), strict=True):
        _resize_planes(x_T3HW.flatten(0, 1), out.flatten(0, 1), kernel, parts)
    return out_T3HW


class FramewiseStream:
    """The stream of any network that looks at one frame at a time.

    Frames are run singly however many arrive in a push: the libraries below choose their algorithms by batch size, and
    with another algorithm come other last bits.
    """

    def __init__(
        self,
        height: int,
        width: int,
        scale: int,
        device: torch.device,
        run: Callable[[torch.Tensor, torch.Tensor], None],
    ) -> None:
        """Open the stream.

        Args:
            height: rows of a source frame.
            width: columns of a source frame.
            scale: the factor.
            device: where frames are expected.
            run: called with one frame [3, H, W] and a contiguous [3, H*scale, W*scale] tensor of its dtype to fill.

        Raises:
            ValueError: `height` or `width` is below 1.
        """
        if height < 1 or width < 1:
            raise ValueError(f"a frame is at least 1x1, got {width}x{height}")
        self._size = (3, height, width)
        self._out_size = (3, height * scale, width * scale)
        self._device = device
        self._run = run
        self._finished = False

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        """Upscale `frames_T3HW` ([T, 3, H, W] float); returns all of them at once, in the same dtype.

        Raises:
            ValueError: the frames are not of the size the stream was opened for.
            RuntimeError: the stream has been finished.
        """
        if self._finished:
            raise RuntimeError("the stream is finished: open another one")
        if tuple(frames_T3HW.shape[1:]) != self._size or not frames_T3HW.is_floating_point():
            raise ValueError(
                f"expected float frames {['T', *self._size]}, got {frames_T3HW.dtype} {list(frames_T3HW.shape)}"
            )
        out_T3HW = frames_T3HW.new_empty((frames_T3HW.shape[0], *self._out_size))
        for x_3HW, out_3HW in zip(frames_T3HW, out_T3HW, strict=True):
            self._run(x_3HW, out_3HW)
        return out_T3HW

    def finish(self) -> torch.Tensor:
        """Return no frames (none are ever held back) and close the stream."""
        self._finished = True
        return torch.empty((0, *self._out_size), device=self._device)

    def reset(self) -> None:
        """Do nothing: no frame has a past here."""


class ClassicalUpscaler:
    """Interpolation with a fixed kernel. Without state, without noise, without clamping."""

    def __init__(self, kernel: KernelName, device: torch.device | str = "cpu") -> None:
        """Make an upscaler with `kernel` for frames on `device`."""
        self._kernel: KernelName = kernel
        self._device = torch.device(device)

    @property
    def info(self) -> ModelInfo:
        """What it can do, as data."""
        return _INFO[self._kernel]

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._device

    def stream(
        self,
        height: int,
        width: int,
        scale: int,
        seed: int = 0,
        first_frame: int = 0,
        corner: Corner = (0, 0),
    ) -> FramewiseStream:
        """Open a stream (see `vsr_model.contract.Upscaler.stream`); seed and place change nothing.

        Raises:
            UnsupportedScale: `scale` is not a whole number from 1 to 8.
        """
        if scale not in self.info.scales:
            raise UnsupportedScale(f"{self.info.name} enlarges by 1 to 8, not by {scale}: ask for one of those")
        return FramewiseStream(
            height, width, scale, self._device, lambda x_3HW, out_3HW: _resize_planes(x_3HW, out_3HW, self._kernel)
        )


def bicubic(device: torch.device | str = "cpu") -> ClassicalUpscaler:
    """Cubic convolution with a = -0.5 (Catmull-Rom), 4 taps a side: soft, without much ringing."""
    return ClassicalUpscaler("bicubic", device)


def lanczos(device: torch.device | str = "cpu") -> ClassicalUpscaler:
    """Lanczos with three lobes, 6 taps a side: sharper, rings at hard edges."""
    return ClassicalUpscaler("lanczos", device)


def entry(kernel: KernelName) -> ModelEntry:
    """Return the registry's row for `kernel`. Arithmetic is float32 whatever dtype the placement names."""

    def load(placement: Placement) -> ClassicalUpscaler:
        return ClassicalUpscaler(kernel, placement.device)

    return ModelEntry(info=_INFO[kernel], reference=lambda: ModelRef(name=kernel), load=load)


def _info(kernel: KernelName, summary: str) -> ModelInfo:
    return ModelInfo(
        name=kernel,
        scales=(1, 2, 3, 4, 5, 6, 7, 8),
        enlarged_by=kernel,
        # Per output pixel in float32: three channels of result, at most as much again in between, one term per channel.
        bytes_per_pixel=32.0,
        light=True,
        unbounded=True,
        summary=summary,
        licence="none needed: a formula, no weights",
    )


_INFO: dict[KernelName, ModelInfo] = {
    "bicubic": _info("bicubic", "cubic interpolation (a = -0.5), the usual yardstick; invents nothing"),
    "lanczos": _info("lanczos", "three-lobed Lanczos interpolation, the sharpest classical reference; invents nothing"),
}
