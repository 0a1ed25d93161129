"""Between coded planes and the R'G'B' the networks see, on the network's own device, exactly and in both directions.

Uses the stream's own matrix, range and chroma siting; never touches transfer or primaries (no gamut or tone mapping),
but for light in half floats, which gets a curve on the way to a network and loses it on the way back (`halves`).
Values outside 0..1 (super-whites, out-of-gamut colours) pass unclipped, so what the source carried comes back.

Formulas: ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance); code ranges as in BT.2100-2 table 9.

Shape suffixes: T frames, 3 channels, H rows, W columns, h and w rows and columns of a chroma plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from tasks.media.picture.halves import display_of, places_of
from tasks.media.picture.pixels import Layout, Planes
from tasks.media.picture.transfer import to_device

# Kr, Kb by ITU-T H.273 matrix number.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
                 9: (0.2627, 0.0593)}  # fmt: skip
UNSPECIFIED = 2
_LINEAR = 8
# Bumped when the same planes give other values, or the same values other planes.
COLOUR_VERSION = 1
Siting = Literal["left", "centre", "topleft", "top"]


@dataclass(frozen=True)
class Colour:
    """What the numbers of a picture mean, in ITU-T H.273 code points (2: unspecified).

    Attributes:
        matrix: matrix coefficients actually used (never unspecified; 0 for RGB).
        primaries: as tagged, or as assumed.
        transfer: as tagged, or as assumed.
        full_range: True for full-swing codes.
        siting: where chroma samples sit.
        assumed: True if the source did not say and the usual guess by size was taken.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool
    siting: Siting = "left"
    assumed: bool = False


def usual_siting(matrix: int) -> Siting:
    """Where chroma sits if nothing is said of it: ITU-R BT.2020 has a place of its own, all others that of MPEG-2."""
    return "topleft" if matrix == 9 else "left"


def sited_alike(one: Siting, other: Siting, layout: Layout) -> bool:
    """True if both are one place, as far as chroma of a layout is of less resolution at all."""
    (x, y), (other_x, other_y) = sited(one), sited(other)
    return (not layout.chroma_x or x == other_x) and (not layout.chroma_y or y == other_y)


def colour_of(
    matrix: int, primaries: int, transfer: int, range_tag: int, layout: Layout, height: int, said: Siting | None = None
) -> Colour:
    """The colour of a stream from its tags; what is not tagged is guessed by size, as players do.

    Args:
        matrix: H.273 matrix number of the stream, 2 if untagged; likewise `primaries` and `transfer`.
        range_tag: FFmpeg's AVColorRange (0 unspecified, 1 limited, 2 full).
        layout: of the decoded planes.
        height: rows of a frame; up to 576 is standard definition.
        said: where chroma sits, if that is said (`siting`).
    """
    if layout.family == "light":
        return Colour(0, _or(primaries, 1), _LINEAR, True, "centre", primaries == UNSPECIFIED)
    if layout.family == "rgb":
        return Colour(0, _or(primaries, 1), _or(transfer, 13), True, "centre", primaries == UNSPECIFIED)
    standard_definition = 6 if height not in {288, 576} else 5
    guess = standard_definition if height <= 576 else 1
    known = matrix in _LUMA_WEIGHTS
    used = matrix if known else guess
    transfer_guess = 6 if guess in {5, 6} else 1
    usual = usual_siting(used)
    return Colour(
        matrix=used,
        primaries=_or(primaries, used if used in {1, 5, 6, 9} else guess),
        transfer=_or(transfer, transfer_guess),
        full_range=range_tag == 2,
        siting=usual if said is None or sited_alike(said, usual, layout) else said,
        assumed=not known or primaries == UNSPECIFIED or transfer == UNSPECIFIED,
    )


def _or(tag: int, guess: int) -> int:
    return guess if tag in {0, UNSPECIFIED, 3} else tag


def to_rgb(batch: list[Planes], layout: Layout, colour: Colour, device: torch.device) -> torch.Tensor:
    """Upload planes and convert them.

    Args:
        batch: T frames as numpy planes.
        layout: of the planes.
        colour: what their codes mean.
        device: where the result lives; only the planes cross to it.

    Returns:
        [T, 3, H, W] float32, nominally 0..1.
    """
    colours = min(len(batch[0]), 3)  # alpha is none (`alpha`)
    return _rgb_of([_upload([frame[i] for frame in batch], device) for i in range(colours)], layout, colour)


def _rgb_of(stacked: list[torch.Tensor], layout: Layout, colour: Colour) -> torch.Tensor:
    """The same of planes [T, rows, columns] that are on the device as floats already, and may be written over."""
    if layout.family == "light":
        return torch.stack([display_of(plane) for plane in stacked], dim=1)
    luma_gain, chroma_gain, black, neutral = swing(layout, colour)
    if layout.family == "rgb":
        return torch.stack([plane.mul_(1.0 / luma_gain) for plane in stacked], dim=1)
    luma_THW = stacked[0].sub_(black).mul_(1.0 / luma_gain)
    if layout.family == "gray":
        return luma_THW.unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    height, width = luma_THW.shape[-2:]
    cb_THW, cr_THW = (
        _enlarge_chroma(plane.sub_(neutral).mul_(1.0 / chroma_gain), layout, colour, height, width)
        for plane in stacked[1:]
    )
    kr, kb = luma_weights(colour)
    kg = 1.0 - kr - kb
    rgb_T3HW = luma_THW.new_empty((luma_THW.shape[0], 3, height, width))
    red, green, blue = rgb_T3HW.unbind(1)
    torch.add(luma_THW, cr_THW, alpha=2.0 * (1.0 - kr), out=red)
    torch.add(luma_THW, cb_THW, alpha=2.0 * (1.0 - kb), out=blue)
    torch.add(luma_THW, cr_THW, alpha=-2.0 * (1.0 - kr) * kr / kg, out=green)
    green.add_(cb_THW, alpha=-2.0 * (1.0 - kb) * kb / kg)
    return rgb_T3HW


def to_codes(rgb_T3HW: torch.Tensor, layout: Layout, colour: Colour, first_frame: int) -> list[torch.Tensor]:
    """Convert to codes of `layout`, and dither.

    Args:
        rgb_T3HW: float, nominally 0..1.
        layout: to produce.
        colour: what the codes shall mean.
        first_frame: position in the title of the first frame: the dither depends on it, so a frame is dithered alike
            in whichever shard it falls.

    Returns:
        The planes of all frames, [T, rows, columns] each, on the device; uint8, or int16 with the bits of uint16.
    """
    rgb_T3HW = rgb_T3HW.float()
    red, green, blue = rgb_T3HW.unbind(1)
    if layout.family == "light":
        return [places_of(channel) for channel in (red, green, blue)]
    luma_gain, chroma_gain, black, neutral = swing(layout, colour)
    # (values, gain, offset) of each plane; a chroma plane is reduced before it is scaled.
    channels: list[tuple[torch.Tensor, float, float]] = []
    if layout.family == "rgb":
        channels = [(channel, luma_gain, 0.0) for channel in (red, green, blue)]
    else:
        # A gray picture has no colour to weigh: any weights that sum to one give it back.
        kr, kb = luma_weights(colour)
        luma_THW = torch.mul(red, kr).add_(green, alpha=1.0 - kr - kb).add_(blue, alpha=kb)
        channels = [(luma_THW, luma_gain, black)]
        if layout.family == "yuv":
            for primary, weight in ((blue, kb), (red, kr)):
                reduced_Thw = _reduce_chroma(primary - luma_THW, layout, colour)
                channels.append((reduced_Thw, chroma_gain / (2.0 * (1.0 - weight)), neutral))
    return [_quantise(*channel, layout, first_frame, number) for number, channel in enumerate(channels)]


def without_overshoot(
    codes: list[torch.Tensor], rgb_T3HW: torch.Tensor, layout: Layout, colour: Colour
) -> list[torch.Tensor]:
    """The codes that `to_codes` made of some frames, no channel of a frame brighter than its brightest was.

    Sharp luma beside chroma of half its resolution makes a channel that is brighter than any was: of HDR, where codes
    are absolute light, that would be more than is said of it. Such luma is lowered.
    """
    if layout.family != "yuv" or (layout.chroma_x, layout.chroma_y) == (0, 0):
        return codes
    brightest_T11 = rgb_T3HW.float().amax(dim=(1, 2, 3)).view(-1, 1, 1)
    seen_THW = _rgb_of([_floats(plane) for plane in codes], layout, colour).amax(dim=1)
    over_THW = (seen_THW - brightest_T11).clamp(min=0.0).mul(swing(layout, colour)[0]).ceil()
    luma_THW = (_floats(codes[0]) - over_THW).clamp(min=0.0)
    return [luma_THW.to(torch.int32).to(codes[0].dtype), *codes[1:]]


def to_planes(rgb_T3HW: torch.Tensor, layout: Layout, colour: Colour, first_frame: int) -> list[Planes]:
    """The same on the host, as T frames of numpy planes."""
    return planes_of([codes.cpu() for codes in to_codes(rgb_T3HW, layout, colour, first_frame)])


def planes_of(codes: list[torch.Tensor]) -> list[Planes]:
    """What `to_codes` made, once it is on the host, as numpy planes frame by frame."""
    planes = [code.numpy() if code.dtype == torch.uint8 else code.numpy().view(np.uint16) for code in codes]
    return [tuple(plane[t] for plane in planes) for t in range(len(codes[0]))]


def _upload(planes: list[np.ndarray], device: torch.device) -> torch.Tensor:
    stacked = np.stack(planes)
    if stacked.dtype == np.uint16:
        stacked = stacked.view(np.int16)  # torch's uint16 lacks arithmetic
    return _floats(to_device(torch.from_numpy(stacked), device))


def _floats(codes: torch.Tensor) -> torch.Tensor:
    """Codes as new floats; int16 has the bits of uint16."""
    return (codes.to(torch.int32) & 0xFFFF).float() if codes.dtype == torch.int16 else codes.float()


def luma_weights(colour: Colour) -> tuple[float, float]:
    """Kr and Kb of a matrix that is not RGB's."""
    return _LUMA_WEIGHTS[colour.matrix]


def _top(layout: Layout) -> float:
    return float((1 << layout.depth) - 1)


def swing(layout: Layout, colour: Colour) -> tuple[float, float, float, float]:
    """Codes between black and white, codes of the chroma span, the code of black, and that of no chroma."""
    neutral = float(1 << (layout.depth - 1))
    if colour.full_range:
        return _top(layout), _top(layout), 0.0, neutral
    step = float(1 << (layout.depth - 8))
    return 219.0 * step, 224.0 * step, 16.0 * step, neutral


def sited(siting: Siting) -> tuple[bool, bool]:
    """Whether chroma sits on a luma sample, (horizontally, vertically)."""
    return siting in {"left", "topleft"}, siting in {"top", "topleft"}


def _enlarge_chroma(plane_Thw: torch.Tensor, layout: Layout, colour: Colour, height: int, width: int) -> torch.Tensor:
    on_x, on_y = sited(colour.siting)
    for _ in range(layout.chroma_x):
        plane_Thw = _double(plane_Thw, 2, on_x)
    for _ in range(layout.chroma_y):
        plane_Thw = _double(plane_Thw, 1, on_y)
    return plane_Thw[:, :height, :width]


def _reduce_chroma(plane_THW: torch.Tensor, layout: Layout, colour: Colour) -> torch.Tensor:
    on_x, on_y = sited(colour.siting)
    # Rows first: they are the cheap direction, and leave half as much for the other.
    for _ in range(layout.chroma_y):
        plane_THW = _halve(plane_THW, 1, on_y)
    for _ in range(layout.chroma_x):
        plane_THW = _halve(plane_THW, 2, on_x)
    return plane_THW


def _double(plane: torch.Tensor, dim: int, on_sample: bool) -> torch.Tensor:
    """Twice the samples along `dim` by cubic interpolation (Keys 1981, a = -0.5)."""
    size = plane.shape[dim]
    padded = _replicate(plane, dim, 2, 2)

    def at(offset: int) -> torch.Tensor:
        return padded.narrow(dim, 2 + offset, size)

    shape = list(plane.shape)
    shape.insert(dim + 1, 2)
    doubled = plane.new_empty(shape)
    first, second = doubled.unbind(dim + 1)
    if on_sample:
        first.copy_(plane)
        torch.add(at(0), at(1), out=second)
        second.mul_(9.0 / 16.0).add_(at(-1), alpha=-1.0 / 16.0).add_(at(2), alpha=-1.0 / 16.0)
    else:  # the new samples lie a quarter to either side
        for out, near, far, beyond in ((first, at(-1), at(-2), at(1)), (second, at(1), at(2), at(-1))):
            torch.mul(at(0), 111.0 / 128.0, out=out)
            out.add_(near, alpha=29.0 / 128.0).add_(beyond, alpha=-9.0 / 128.0).add_(far, alpha=-3.0 / 128.0)
    return doubled.flatten(dim, dim + 1)


def _halve(plane: torch.Tensor, dim: int, on_sample: bool) -> torch.Tensor:
    """Half the samples along `dim`: a half-band filter around each kept one, or the cubic midpoint of each pair."""
    kept = -(-plane.shape[dim] // 2)
    padded = _replicate(plane, dim, 4, 4 + plane.shape[dim] % 2)
    shape = [*padded.shape[:dim], padded.shape[dim] // 2, 2, *padded.shape[dim + 1 :]]
    even, odd = padded.view(shape).unbind(dim + 1)

    def at(offset: int) -> torch.Tensor:
        return (odd if offset % 2 else even).narrow(dim, 2 + offset // 2, kept)

    if on_sample:
        outer, inner = torch.add(at(-3), at(3)), torch.add(at(-1), at(1))
        return inner.mul_(9.0 / 32.0).add_(at(0), alpha=0.5).add_(outer, alpha=-1.0 / 32.0)
    outer, inner = torch.add(at(-1), at(2)), torch.add(at(0), at(1))
    return inner.mul_(9.0 / 16.0).add_(outer, alpha=-1.0 / 16.0)


def _replicate(plane: torch.Tensor, dim: int, before: int, after: int) -> torch.Tensor:
    first, last = plane.narrow(dim, 0, 1), plane.narrow(dim, plane.shape[dim] - 1, 1)
    return torch.cat([first] * before + [plane] + [last] * after, dim)


def _quantise(
    values_THW: torch.Tensor, gain: float, offset: float, layout: Layout, first_frame: int, channel: int
) -> torch.Tensor:
    """[T, H, W] codes: scaled, then rounded with just under half a code of dither, so that a code stays that code."""
    frames, height, width = values_THW.shape
    noise = _noise(height + _SHIFTS, width + _SHIFTS, values_THW.device)
    codes = torch.empty_like(values_THW, memory_format=torch.contiguous_format)
    for t in range(frames):
        down, right = _shift(first_frame + t, channel)
        patch = noise[down : down + height, right : right + width]
        torch.add(patch, values_THW[t], alpha=gain, out=codes[t])
    codes.add_(offset).round_().clamp_(0.0, _top(layout))
    if layout.depth == 8:
        return codes.to(torch.uint8)
    # By way of int32: a float above 32767 has no defined value as int16.
    return codes.to(torch.int16) if layout.depth < 16 else codes.to(torch.int32).to(torch.int16)


_SHIFTS = 64
_AMPLITUDE = 0.98


def _shift(frame: int, channel: int) -> tuple[int, int]:
    """Where in the noise a frame's channel starts: neighbours in time and channel start far apart."""
    return (frame * 23 + channel * 37) % _SHIFTS, (frame * 41 + channel * 19) % _SHIFTS


@lru_cache(maxsize=4)
def _noise(height: int, width: int, device: torch.device) -> torch.Tensor:
    """[H, W] in (-0.49, 0.49): interleaved gradient noise (Jimenez, SIGGRAPH 2014).

    From coordinates in whole-number arithmetic, so every device gives the same bits.
    """
    row_H1 = torch.arange(height, dtype=torch.int64).unsqueeze(1)
    column_1W = torch.arange(width, dtype=torch.int64).unsqueeze(0)
    # frac(52.9829189 * frac(0.06711056 x + 0.00583715 y)) in steps of 2**-24.
    inner = (column_1W * 1125927 + row_H1 * 97931) & 0xFFFFFF
    value = (inner * 52 + ((inner * 16490529) >> 24)) & 0xFFFFFF
    return ((value.to(torch.float32) + 0.5) / float(1 << 24) - 0.5).mul_(_AMPLITUDE).to(device)
