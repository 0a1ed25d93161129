"""Bicubic and Lanczos against closed forms and against torch's own antialiased resize."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from vsr_model.classical import KernelName, bicubic, lanczos, resize

KERNELS: tuple[KernelName, ...] = ("bicubic", "lanczos")
UPSCALERS = {"bicubic": bicubic, "lanczos": lanczos}


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def upscale(kernel: KernelName, frames_T3HW: torch.Tensor, scale: int) -> torch.Tensor:
    return UPSCALERS[kernel]().stream(*frames_T3HW.shape[2:], scale).push(frames_T3HW)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_scale_1_is_the_identity_bit_for_bit(kernel: KernelName, dtype: torch.dtype) -> None:
    frames_T3HW = (noise(2, 3, 9, 14) * 3 - 1).to(dtype)
    frames_T3HW[0, 0, 0, 0] = -0.0
    out_T3HW = upscale(kernel, frames_T3HW, 1)
    assert out_T3HW.dtype == dtype
    assert torch.equal(out_T3HW.view(torch.uint8), frames_T3HW.view(torch.uint8))
    assert out_T3HW.data_ptr() != frames_T3HW.data_ptr()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 5), (40, 36), (13, 200)])
def test_a_flat_picture_stays_flat(kernel: KernelName, size: tuple[int, int]) -> None:
    out_T3HW = resize(torch.ones(1, 3, 20, 24), *size, kernel)
    assert (out_T3HW - 1).abs().max() <= 1e-6


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 8])
@pytest.mark.parametrize(("kernel", "tolerance"), [("bicubic", 1e-6), ("lanczos", 0.025)])
def test_a_ramp_lies_at_the_pixel_centres(kernel: KernelName, tolerance: float, scale: int) -> None:
    """Output pixel i lies at (i + 0.5) / scale - 0.5. Cubic convolution reproduces a ramp, Lanczos nearly."""
    ramp_W = torch.arange(24, dtype=torch.float32)
    want_N = (torch.arange(24 * scale) + 0.5) / scale - 0.5
    inner = slice(3 * scale, -3 * scale)
    across_T3HW = upscale(kernel, ramp_W.expand(1, 3, 6, 24) / 24, scale) * 24
    down_T3HW = upscale(kernel, ramp_W[:, None].expand(1, 3, 24, 6) / 24, scale) * 24
    assert (across_T3HW[..., inner] - want_N[inner]).abs().max() <= tolerance * 4
    assert (down_T3HW[..., inner, :] - want_N[inner, None]).abs().max() <= tolerance * 4


@pytest.mark.parametrize("part", [2, 4, 8])
@pytest.mark.parametrize("size", [32, 36, 48])
def test_a_ramp_lies_where_its_samples_do(size: int, part: int) -> None:
    """The edges of the picture stay where they are; samples lie a half, a quarter or an eighth of a pixel behind."""
    ramp_W = torch.arange(24, dtype=torch.float32)
    want_N = (torch.arange(size) + 1 / part) * 24 / size - 1 / part
    inner = slice(6, -6)
    across_T3HW = resize(ramp_W.expand(1, 3, 6, 24), 6, size, "bicubic", (2, part))
    down_T3HW = resize(ramp_W[:, None].expand(1, 3, 24, 6), size, 6, "bicubic", (part, 2))
    assert (across_T3HW[..., inner] - want_N[inner]).abs().max() <= 4e-6
    assert (down_T3HW[..., inner, :] - want_N[inner, None]).abs().max() <= 4e-6


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [3, 5, 7])
def test_an_odd_scale_keeps_the_source_pixels(kernel: KernelName, scale: int) -> None:
    """The middle of each block lies exactly on a source pixel, so it is that pixel, to the bit."""
    frames_T3HW = noise(1, 3, 8, 11)
    out_T3HW = upscale(kernel, frames_T3HW, scale)
    assert torch.equal(out_T3HW[..., scale // 2 :: scale, scale // 2 :: scale], frames_T3HW)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(36, 68), (9, 17), (10, 23)])
def test_mirrored_in_mirrored_out(kernel: KernelName, size: tuple[int, int]) -> None:
    frames_T3HW = noise(1, 3, 18, 34)
    mirrored_T3HW = resize(frames_T3HW.flip(2, 3), *size, kernel).flip(2, 3)
    assert (mirrored_T3HW - resize(frames_T3HW, *size, kernel)).abs().max() <= 2e-6


@pytest.mark.parametrize("size", [(80, 96), (160, 192), (61, 77), (20, 24), (10, 12), (30, 96), (60, 9)])
def test_bicubic_is_torchs_antialiased_bicubic(size: tuple[int, int]) -> None:
    """The same a = -0.5 and the same centres; only past the edge do the two differ (torch drops taps, we repeat)."""
    frames_T3HW = noise(2, 3, 40, 48)
    ours_T3HW = resize(frames_T3HW, *size, "bicubic")
    theirs_T3HW = interpolate(frames_T3HW, size=size, mode="bicubic", antialias=True)
    rows, columns = (3 * max(1, -(-n // m)) for n, m in zip(size, (40, 48), strict=True))
    inner = (..., slice(rows, -rows), slice(columns, -columns))
    assert ours_T3HW[inner].numel() > 0
    assert (ours_T3HW[inner] - theirs_T3HW[inner]).abs().max() <= 5e-6


def test_lanczos_is_its_formula() -> None:
    """One bright pixel, enlarged four times, draws the kernel itself (normalised over each phase)."""
    impulse_T3HW = torch.zeros(1, 3, 1, 15)
    impulse_T3HW[..., 7] = 1.0
    got_N = upscale("lanczos", impulse_T3HW, 4)[0, 0, 0].double()
    distance_N = (torch.arange(60, dtype=torch.float64) + 0.5) / 4 - 0.5 - 7
    kernel_N = torch.where(distance_N.abs() < 3, torch.sinc(distance_N) * torch.sinc(distance_N / 3), 0.0)
    # The weights that meet in one output pixel are the samples of the kernel one source pixel apart.
    total_4 = kernel_N.view(15, 4).sum(0)
    assert (got_N - (kernel_N.view(15, 4) / total_4).flatten()).abs().max() <= 1e-7


@pytest.mark.parametrize("kernel", KERNELS)
def test_shrinking_removes_what_the_small_picture_cannot_hold(kernel: KernelName) -> None:
    """A pixel-wide checkerboard becomes grey, not moire."""
    checker_HW = (torch.arange(96)[:, None] + torch.arange(96)) % 2
    out_T3HW = resize(checker_HW.float().expand(1, 3, 96, 96), 36, 36, kernel)
    assert (out_T3HW[..., 4:-4, 4:-4] - 0.5).abs().max() <= 0.02


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_small_picture_survives_the_round_trip(kernel: KernelName) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 6, 48), torch.linspace(0, 6, 64), indexing="ij")
    frames_T3HW = (torch.sin(x + y) / 2 + 0.5).expand(1, 3, 48, 64)
    back_T3HW = resize(upscale(kernel, frames_T3HW, 4), 48, 64, kernel)
    assert (back_T3HW - frames_T3HW)[..., 4:-4, 4:-4].abs().max() <= 0.002


def test_overshoot_and_super_whites_are_kept() -> None:
    edge_T3HW = torch.zeros(1, 3, 8, 16)
    edge_T3HW[..., 8:] = 1.09
    out_T3HW = upscale("lanczos", edge_T3HW, 4)
    assert out_T3HW.max() > 1.09
    assert out_T3HW.min() < 0.0


@pytest.mark.parametrize("size", [(64, 96), (8, 12)])
def test_threads_and_layout_change_no_bit(size: tuple[int, int]) -> None:
    frames_T3HW = noise(1, 3, 32, 48)
    want_T3HW = resize(frames_T3HW, *size, "lanczos")
    strided_T3HW = frames_T3HW.contiguous(memory_format=torch.channels_last)
    assert torch.equal(resize(strided_T3HW, *size, "lanczos"), want_T3HW)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(resize(frames_T3HW, *size, "lanczos"), want_T3HW)
    finally:
        torch.set_num_threads(threads)


def test_slabs_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    frames_T3HW = noise(1, 3, 21, 33)
    want_T3HW = resize(frames_T3HW, 50, 70, "lanczos")
    monkeypatch.setattr("vsr_model.classical._SLAB", {"cpu": 300})
    assert torch.equal(resize(frames_T3HW, 50, 70, "lanczos"), want_T3HW)


def test_half_precision_frames_are_summed_in_float32() -> None:
    frames_T3HW = noise(1, 3, 12, 16).half()
    want_T3HW = upscale("lanczos", frames_T3HW.float(), 2).half()
    assert torch.equal(upscale("lanczos", frames_T3HW, 2), want_T3HW)


def test_results_can_be_used_for_training() -> None:
    """What comes out of inference mode would forbid that."""
    weight = torch.ones((), requires_grad=True)
    (resize(noise(1, 3, 8, 8), 4, 4) * weight).sum().backward()
    assert weight.grad is not None


def test_misuse_is_answered_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="expected a float tensor"):
        resize(torch.zeros(3, 8, 8), 4, 4)
    with pytest.raises(ValueError, match="a side is empty"):
        resize(torch.zeros(1, 3, 8, 8), 0, 4)
    with pytest.raises(ValueError, match="choose one of bicubic, lanczos"):
        resize(torch.zeros(1, 3, 8, 8), 4, 4, "area")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1x1"):
        bicubic().stream(0, 8, 2)
    stream = bicubic().stream(8, 8, 2)
    with pytest.raises(ValueError, match="expected float frames"):
        stream.push(torch.zeros(1, 3, 8, 9))
    stream.finish()
    with pytest.raises(RuntimeError, match="finished"):
        stream.push(torch.zeros(1, 3, 8, 8))
