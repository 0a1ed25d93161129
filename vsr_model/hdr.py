"""HDR through a network that knows SDR: the network sees a proxy, and only the detail it makes is carried over.

The picture is enlarged by a linear filter as it is coded (PQ or HLG). Beside it each frame is tone-mapped, by one curve
a shot, and goes through the network; what the result has more than the proxy enlarged by the same filter is detail. It
is brought from the proxy's scale to the code's by the slope of the curve, rid of its low frequencies, and added: light
and colour of the picture stay where they were graded. Neither black nor white of a frame is passed.

A network that carries any values (`ModelInfo.unbounded`) needs no proxy: it enlarges the coded picture itself.

Shape suffixes: T frames, 3 channels (R, G, B), h and w source rows and columns, H and W those of the result.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from vsr_model.classical import resize
from vsr_model.color import WAVELET_LEVELS, blur
from vsr_model.contract import Corner, ModelInfo, Resettable, Stream, Upscaler
from vsr_model.nits import WHITE, gray_light_of
from vsr_model.tone import DISPLAY_GAMMA, curve_of

# Bumped when the same frames would be made to others.
HDR_VERSION = 1
_SAMPLES = 4096
# Near black the proxy is so flat that detail made of it would be noise.
_FLATTEST = 0.3
# Taking the low frequencies off once leaves some of those in between, and cutting off peaks makes new ones.
_PASSES = 3
_BYTES_PER_PIXEL = 96.0


@dataclass(frozen=True)
class Shot:
    """From which picture of the title on it runs, and its brightest light in nits."""

    first: int
    peak: float


class HdrUpscaler:
    """Any `Upscaler`, for frames of an HDR signal; both what goes in and what comes out is R'G'B' as coded, 0..1."""

    def __init__(self, network: Upscaler, transfer: int, shots: Sequence[Shot]) -> None:
        """Wrap a network.

        Args:
            network: that sees the proxy.
            transfer: of the signal (`nits.PQ` or `nits.HLG`).
            shots: in order; the first one begins with or before the first frame that will be pushed.
        """
        self._network, self._transfer, self._shots = network, transfer, tuple(shots)

    @property
    def info(self) -> ModelInfo:
        """What the network can do, and takes with this around it."""
        info = self._network.info
        return replace(info, bytes_per_pixel=info.bytes_per_pixel + _BYTES_PER_PIXEL)

    @property
    def device(self) -> torch.device:
        """Where frames are expected."""
        return self._network.device

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> HdrStream:
        """Open a stream; see `vsr_model.contract.Upscaler.stream`."""
        return self.around(self._network.stream(height, width, scale, seed, first_frame, corner), first_frame)

    def around(self, inner: Stream, first_frame: int) -> HdrStream:
        """Put this around a stream of the network, whose first frame will be `first_frame` of the title."""
        curves = [_Curve.of(self._transfer, shot.peak, self.device) for shot in self._shots]
        firsts = [shot.first for shot in self._shots]
        return HdrStream(inner, self._network.info.unbounded, first_frame, firsts, curves)


class HdrStream:
    """See `vsr_model.contract.Stream`."""

    def __init__(self, inner: Stream, direct: bool, position: int, firsts: list[int], curves: list[_Curve]) -> None:
        self._inner, self._direct = inner, direct
        self._position, self._firsts, self._curves = position, firsts, curves
        # Source frames whose results are still inside, with the curve of each.
        self._waiting: deque[tuple[torch.Tensor, _Curve]] = deque()

    def push(self, frames_T3hw: torch.Tensor) -> torch.Tensor:
        """Feed frames, get the finished ones."""
        seen = []
        for frame_13hw in frames_T3hw[:, None]:
            curve = self._curves[max(0, bisect_right(self._firsts, self._position) - 1)]
            self._waiting.append((frame_13hw, curve))
            seen.append(frame_13hw if self._direct else curve.proxy(frame_13hw))
            self._position += 1
        return self._finished(self._inner.push(torch.cat(seen) if seen else frames_T3hw))

    def finish(self) -> torch.Tensor:
        """The frames still inside."""
        return self._finished(self._inner.finish())

    def reset(self) -> None:
        """Forget the past."""
        if isinstance(self._inner, Resettable):
            self._inner.reset()

    def _finished(self, out_T3HW: torch.Tensor) -> torch.Tensor:
        # One by one: with the size of a batch convolutions change their last bits.
        made = [self._one(out_3HW[None], *self._waiting.popleft()) for out_3HW in out_T3HW]
        return torch.cat(made) if made else out_T3HW

    def _one(self, out_13HW: torch.Tensor, source_13hw: torch.Tensor, curve: _Curve) -> torch.Tensor:
        source_13hw = source_13hw.float()
        darkest, brightest = source_13hw.amin(), source_13hw.amax()
        result_13HW = out_13HW.float()
        if self._direct:
            return result_13HW.clamp(darkest, brightest)
        height, width = out_13HW.shape[-2:]
        base_13HW = resize(source_13hw, height, width, "lanczos")
        detail_13HW = result_13HW - resize(curve.proxy(source_13hw), height, width, "lanczos")
        detail_13HW.div_(curve.slope(base_13HW))
        for _ in range(_PASSES):
            # What is cut off at the peaks is light too: it stays near them.
            detail_13HW = (base_13HW + detail_13HW).clamp_(darkest, brightest).sub_(base_13HW)
            detail_13HW.sub_(blur(detail_13HW, WAVELET_LEVELS))
        return detail_13HW.add_(base_13HW).clamp_(darkest, brightest)


@dataclass(frozen=True, eq=False)
class _Curve:
    """From the code of an HDR signal to that of its proxy, and how steeply: tables over 0..1."""

    proxy_N: torch.Tensor
    slope_N: torch.Tensor

    @staticmethod
    def of(transfer: int, peak: float, device: torch.device) -> _Curve:
        """The curve of a shot whose brightest light is `peak` nits."""
        return _curve(transfer, peak, device)

    def proxy(self, code: torch.Tensor) -> torch.Tensor:
        """R'G'B' of an SDR display, 0..1."""
        return _looked_up(self.proxy_N, code).clamp_(0.0, 1.0)

    def slope(self, code: torch.Tensor) -> torch.Tensor:
        """Change of the proxy for a change of the code, at least `_FLATTEST`."""
        return _looked_up(self.slope_N, code)


@lru_cache(maxsize=64)
def _curve(transfer: int, peak: float, device: torch.device) -> _Curve:
    code_N = torch.linspace(0.0, 1.0, _SAMPLES, dtype=torch.float64)
    light_N = gray_light_of(code_N, transfer) / WHITE
    proxy_N = curve_of("reinhard", max(peak / WHITE, 1.0))(light_N).pow(1.0 / DISPLAY_GAMMA)
    slope_N = torch.gradient(proxy_N, spacing=1.0 / (_SAMPLES - 1))[0].clamp(min=_FLATTEST)
    return _Curve(proxy_N.to(device, torch.float32), slope_N.to(device, torch.float32))


def _looked_up(table_N: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """The table between its samples, by straight lines."""
    place = code.float().clamp(0.0, 1.0).mul(len(table_N) - 1)
    below = place.floor().clamp(max=len(table_N) - 2)
    index = below.to(torch.int64)
    return torch.lerp(table_N[index], table_N[index + 1], place - below)
