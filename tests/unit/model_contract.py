"""The checks that every network must pass, as functions: call `check_contract` with an instance.

Knows nothing of any one network: what it may expect it reads from `info`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from vsr_model.contract import Resettable, Stream, Upscaler
from vsr_model.errors import UnsupportedScale

TINY_AND_ODD: tuple[tuple[int, int], ...] = ((1, 1), (1, 9), (7, 1), (5, 3), (17, 23), (24, 32))


def check_contract(
    upscaler: Upscaler,
    scale: int,
    *,
    sizes: Sequence[tuple[int, int]] = TINY_AND_ODD,
    frames: int = 7,
    slicings: int = 4,
) -> None:
    """Assert every promise of `vsr_model.contract` for one factor.

    Args:
        upscaler: the network under test.
        scale: the factor, one of its `info.scales`.
        sizes: (height, width) of the source frames to try; heavy networks may ask for fewer.
        frames: length of the streams.
        slicings: how many random slicings into pushes to compare, per size.
    """
    check_info(upscaler, scale)
    for height, width in sizes:
        clip_T3HW = make_clip(upscaler, frames, height, width)
        check_counts_and_sizes(upscaler, scale, clip_T3HW)
        check_slicing(upscaler, scale, clip_T3HW, slicings)
        check_seed(upscaler, scale, clip_T3HW)
        check_empty_stream(upscaler, scale, height, width)
        check_reset(upscaler, scale, clip_T3HW)


def make_clip(upscaler: Upscaler, frames: int, height: int, width: int) -> torch.Tensor:
    """Return noise that reaches a little outside 0..1, as real video does, on the upscaler's device."""
    generator = torch.Generator().manual_seed(frames * 1_000_003 + height * 1_009 + width)
    return (torch.rand((frames, 3, height, width), generator=generator) * 1.2 - 0.1).to(upscaler.device)


def run(stream: Stream, clip_T3HW: torch.Tensor, sizes: Sequence[int] | None = None) -> torch.Tensor:
    """Push `clip_T3HW` in pieces of `sizes` frames (all at once by default), finish, and return all that came out."""
    pieces = clip_T3HW.split(list(sizes) if sizes is not None else [clip_T3HW.shape[0]])
    return torch.cat([*(stream.push(piece_T3HW) for piece_T3HW in pieces), stream.finish()])


def check_info(upscaler: Upscaler, scale: int) -> None:
    """`info` is consistent, and other factors than its own are refused."""
    info = upscaler.info
    assert scale in info.scales
    assert list(info.scales) == sorted(set(info.scales))
    assert info.name
    assert info.dtypes
    assert set(info.dtypes) <= {"float32", "bfloat16", "float16"}
    assert min(info.warm_up, info.look_ahead) >= 0
    assert min(info.size_multiple, info.min_frames) >= 1
    for wrong in {0, max(info.scales) + 1}:
        with pytest.raises(UnsupportedScale):
            upscaler.stream(8, 8, wrong)


def check_counts_and_sizes(upscaler: Upscaler, scale: int, clip_T3HW: torch.Tensor) -> None:
    """As many frames out as in, held back no longer than announced, `scale` times the size; the input is left alone."""
    frames, _, height, width = clip_T3HW.shape
    before_T3HW = clip_T3HW.clone()
    stream = upscaler.stream(height, width, scale)
    came = 0
    for i in range(frames):
        out_T3HW = stream.push(clip_T3HW[i : i + 1])
        came += out_T3HW.shape[0]
        assert out_T3HW.shape[1:] == (3, height * scale, width * scale)
        assert out_T3HW.is_floating_point()
        assert out_T3HW.device == clip_T3HW.device
        assert i + 1 - came <= max(upscaler.info.look_ahead, upscaler.info.min_frames - 1)
    rest_T3HW = stream.finish()
    assert rest_T3HW.shape[1:] == (3, height * scale, width * scale)
    assert rest_T3HW.device == clip_T3HW.device
    assert came + rest_T3HW.shape[0] == frames
    assert torch.equal(clip_T3HW, before_T3HW)


def check_slicing(upscaler: Upscaler, scale: int, clip_T3HW: torch.Tensor, slicings: int) -> None:
    """No way of slicing the frames over pushes, empty pushes included, changes a bit."""
    frames, _, height, width = clip_T3HW.shape
    whole_T3HW = run(upscaler.stream(height, width, scale), clip_T3HW)
    rng = random.Random(frames * height * width)
    for sizes in ([1] * frames, *(_random_slicing(rng, frames) for _ in range(slicings))):
        sliced_T3HW = run(upscaler.stream(height, width, scale), clip_T3HW, sizes)
        assert torch.equal(sliced_T3HW, whole_T3HW), f"{width}x{height} in pushes of {sizes} differs"


def check_seed(upscaler: Upscaler, scale: int, clip_T3HW: torch.Tensor) -> None:
    """Same seed, same bits; and for a stateless network whichever shard a frame is in."""
    _, _, height, width = clip_T3HW.shape
    first_T3HW = run(upscaler.stream(height, width, scale, seed=11, first_frame=5), clip_T3HW)
    again_T3HW = run(upscaler.stream(height, width, scale, seed=11, first_frame=5), clip_T3HW)
    assert torch.equal(first_T3HW, again_T3HW)
    if upscaler.info.warm_up == upscaler.info.look_ahead == 0 and upscaler.info.min_frames == 1:
        later_T3HW = run(upscaler.stream(height, width, scale, seed=11, first_frame=8), clip_T3HW[3:])
        assert torch.equal(later_T3HW, first_T3HW[3:])


def check_empty_stream(upscaler: Upscaler, scale: int, height: int, width: int) -> None:
    """A stream that never saw a frame gives none."""
    out_T3HW = run(upscaler.stream(height, width, scale), make_clip(upscaler, 0, height, width))
    assert out_T3HW.shape == (0, 3, height * scale, width * scale)
    assert upscaler.stream(height, width, scale).finish().shape == (0, 3, height * scale, width * scale)


def check_reset(upscaler: Upscaler, scale: int, clip_T3HW: torch.Tensor) -> None:
    """A reset loses no frame, and what follows one is what a new stream would have given."""
    frames, _, height, width = clip_T3HW.shape
    stream = upscaler.stream(height, width, scale)
    if not isinstance(stream, Resettable):
        return
    cut = frames // 2
    head_T3HW = stream.push(clip_T3HW[:cut])
    stream.reset()
    out_T3HW = torch.cat([head_T3HW, stream.push(clip_T3HW[cut:]), stream.finish()])
    assert out_T3HW.shape[0] == frames
    fresh_T3HW = run(upscaler.stream(height, width, scale, first_frame=cut), clip_T3HW[cut:])
    assert torch.equal(out_T3HW[cut:], fresh_T3HW)


def _random_slicing(rng: random.Random, frames: int) -> list[int]:
    """Return push sizes, zeros among them, that add up to `frames`."""
    sizes: list[int] = []
    while sum(sizes) < frames:
        sizes.append(rng.randint(0, frames - sum(sizes)))
    return sizes
