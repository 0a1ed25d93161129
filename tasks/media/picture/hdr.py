"""What is done about the HDR of a title, and how HDR pictures look on an SDR display.

A master stays HDR: its shots go through a network by way of proxies (`vsr_model.hdr`). Or it becomes SDR, by one
curve (`vsr_model.tone`) for all of its frames. Knows planes and colours; not what bitstreams say of HDR (`mastering`).

Shape suffixes: T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from tasks.media.picture.colour import Colour, luma_weights, swing, to_planes, to_rgb
from tasks.media.picture.pixels import Layout, Planes
from vsr_model.hdr import HDR_VERSION, Shot
from vsr_model.nits import TRANSFERS, gray_light_of
from vsr_model.tone import TONE_VERSION, ToneMap, to_sdr

# The light of the brightest channel of frames [N], as codes 0..1 of the signal.
Peaks = npt.NDArray[np.float32]
# How HDR pictures are shown to people who look at a report or a preview.
_ON_A_PAGE = ToneMap("reinhard", 0.0, 1000.0)
_AS_SEEN = Layout("rgb", 10), Colour(0, 1, 1, True, "centre")
_CPU = torch.device("cpu")
HDR_TRANSFERS = frozenset(TRANSFERS)


@dataclass(frozen=True)
class Hdr:
    """What is done: one of the two.

    Attributes:
        tone: how the master becomes SDR.
        shots: of a master that stays HDR: where they begin, and their brightest light.
    """

    tone: ToneMap | None = None
    shots: tuple[Shot, ...] = ()

    @property
    def version(self) -> int:
        """Of the code that does it."""
        return TONE_VERSION if self.tone else HDR_VERSION

    def within(self, start: int, stop: int) -> Hdr:
        """What of it is of pictures [start, stop)."""
        if self.tone:
            return self
        ends = [*(shot.first for shot in self.shots[1:]), stop]
        shots = zip(self.shots, ends, strict=True)
        return Hdr(shots=tuple(shot for shot, end in shots if shot.first < stop and end > start))


def is_hdr(colour: Colour) -> bool:
    """True for PQ and HLG."""
    return colour.transfer in HDR_TRANSFERS


def shots_of(peaks: Peaks, cuts: Sequence[int], colour: Colour) -> tuple[Shot, ...]:
    """The shots that begin with the first picture and at each cut, from the brightest code of every picture."""
    spans = pairwise((0, *cuts, len(peaks)))
    return tuple(Shot(start, brightest_light(peaks[start:stop], colour)) for start, stop in spans)


def brightest_light(peaks: Peaks, colour: Colour) -> float:
    """In nits, of pictures whose brightest codes are these."""
    return round(float(gray_light_of(torch.tensor(float(peaks.max()), dtype=torch.float64), colour.transfer)), 1)


def brightest_code(planes: Planes, layout: Layout, colour: Colour) -> float:
    """The code, 0..1, of a frame's brightest channel; chroma is not interpolated, which is near enough for a curve."""
    luma_gain, chroma_gain, black, neutral = swing(layout, colour)
    if layout.family == "rgb":
        return max(float(plane.max()) for plane in planes[:3]) / luma_gain
    if layout.family == "gray":
        return (float(planes[0].max()) - black) / luma_gain
    luma = (_most_around(planes[0], layout).astype(np.float32) - black) / luma_gain
    cb, cr = ((plane.astype(np.float32) - neutral) / chroma_gain for plane in planes[1:3])
    kr, kb = luma_weights(colour)
    red, blue = luma + 2.0 * (1.0 - kr) * cr, luma + 2.0 * (1.0 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1.0 - kr - kb)
    return float(max(red.max(), green.max(), blue.max()))


def _most_around(luma: npt.NDArray[np.generic], layout: Layout) -> npt.NDArray[np.generic]:
    """The largest of the luma samples that each chroma sample belongs to."""
    down, across = 1 << layout.chroma_y, 1 << layout.chroma_x
    rows, columns = -luma.shape[0] % down, -luma.shape[1] % across
    whole = np.pad(luma, ((0, rows), (0, columns)), "edge") if rows or columns else luma
    parts = [whole[y::down, x::across] for y in range(down) for x in range(across)]
    most: npt.NDArray[np.generic] = np.maximum.reduce(parts)
    return most


def sdr_colour(source: Colour) -> Colour:
    """The colour of what `to_sdr` makes of a source."""
    return replace(
        source, matrix=0 if source.matrix == 0 else 1, primaries=1, transfer=1, full_range=source.matrix == 0,
        siting="centre" if source.matrix == 0 else "left", assumed=False,
    )  # fmt: skip


def seen_rgb(batch: list[Planes], layout: Layout, colour: Colour, device: torch.device = _CPU) -> torch.Tensor:
    """Planes as R'G'B' for people on an SDR display: as `to_rgb`, but HDR is tone-mapped."""
    rgb_T3HW = to_rgb(batch, layout, colour, device)
    return to_sdr(rgb_T3HW, colour.transfer, colour.primaries, _ON_A_PAGE) if is_hdr(colour) else rgb_T3HW


def as_sdr(
    pictures: Iterable[Planes], layout: Layout, colour: Colour, tone: ToneMap | None
) -> tuple[Iterator[Planes], Layout, Colour]:
    """Source pictures as an SDR master shows them, with their layout and colour; without a `tone` as they are."""
    if tone is None:
        return iter(pictures), layout, colour

    def mapped() -> Iterator[Planes]:
        for planes in pictures:
            sdr_T3HW = to_sdr(to_rgb([planes], layout, colour, _CPU), colour.transfer, colour.primaries, tone)
            yield to_planes(sdr_T3HW, *_AS_SEEN, 0)[0]

    return mapped(), *_AS_SEEN
