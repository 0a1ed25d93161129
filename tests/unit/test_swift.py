"""The built-in network keeps the contract, forgets at a reset, and is better than interpolation where it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datasets.degrade import Recipe, Stage, degrade
from datasets.drawn import drawn_tile
from tests.unit.model_contract import check_contract, make_clip, run
from vsr_model.classical import bicubic, resize
from vsr_model.contract import Placement, Upscaler
from vsr_model.errors import ModelError, WeightsError
from vsr_model.swift.network import Shape, Swift, warp
from vsr_model.swift.upscaler import INFO, entry, load, read_network


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny convolutions on several threads spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", INFO)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_contract(scale: int, name: str) -> None:
    check_contract(load(name, Placement()), scale, sizes=[(1, 1), (9, 13)], frames=4, slicings=1)


def test_bfloat16_is_close() -> None:
    clip_T3HW = make_clip(bicubic(), 4, 20, 24)
    exact_T3HW = run(load("swift", Placement()).stream(20, 24, 4), clip_T3HW)
    close_T3HW = run(load("swift", Placement(dtype="bfloat16")).stream(20, 24, 4), clip_T3HW)
    assert (exact_T3HW - close_T3HW).square().mean().sqrt() < 0.01


@pytest.mark.parametrize("name", INFO)
def test_size_limits(name: str) -> None:
    file = Path(__file__).parents[2] / f"vsr_model/swift/{name}.safetensors"
    assert file.stat().st_size <= 5_000_000
    assert sum(p.numel() for p in read_network(file).parameters()) <= 1_200_000


def test_each_set_of_weights_has_a_hash_of_its_own() -> None:
    assert len({entry(name).reference().weights_hash for name in INFO}) == len(INFO)


def test_untrained_detail_is_little() -> None:
    """The enlargement under the detail is the reference bicubic, borders included."""
    network = Swift(Shape(channels=8, blocks=1, flow_channels=4))
    frame_13HW = torch.rand(1, 3, 9, 14)
    for scale in (2, 4):
        base_13HW = F.pixel_shuffle(network.enlarge(frame_13HW, scale), scale)
        assert torch.allclose(base_13HW, resize(frame_13HW, 9 * scale, 14 * scale), atol=1e-5)


def test_warp_by_whole_pixels_is_a_shift() -> None:
    picture_13HW = torch.rand(1, 3, 8, 9)
    flow_1FHW = torch.zeros(1, 2, 8, 9)
    flow_1FHW[:, 0], flow_1FHW[:, 1] = 2.0, -1.0
    moved_13HW = warp(picture_13HW, flow_1FHW)
    assert torch.allclose(moved_13HW[..., 1:, :-2], picture_13HW[..., :-1, 2:], atol=1e-5)


def test_memory_gains_detail() -> None:
    """A pattern too fine for the source, moving by sub-pixels: frames seen before must make the last one better."""
    generator = torch.Generator().manual_seed(3)
    coarse_13HW = torch.rand((1, 3, 24, 24), generator=generator)
    scene_13HW = F.interpolate(coarse_13HW, size=(160, 160), mode="bicubic", align_corners=False).clamp(0, 1)
    truth_T3HW = torch.cat([scene_13HW[..., 8 + t : 136 + t, 8 + t : 136 + t] for t in range(10)])
    source_T3HW = resize(truth_T3HW, 32, 32)
    upscaler = load("swift", Placement())

    def error(out_T3HW: torch.Tensor) -> float:
        return float((out_T3HW[-1] - truth_T3HW[-1])[:, 8:-8, 8:-8].square().mean())

    alone = error(run(upscaler.stream(32, 32, 4), source_T3HW[-1:]))
    assert alone < error(run(bicubic().stream(32, 32, 4), source_T3HW[-1:]))
    assert error(run(upscaler.stream(32, 32, 4), source_T3HW)) < alone


def test_restoring_helps_where_the_source_is_damaged() -> None:
    """A blurred, noisy, hard-coded film of drawn shapes: nearer to the truth than bicubic and than the faithful one."""
    tile_3SS = drawn_tile(7, 1, 240)
    truth_T3HW = np.stack([tile_3SS[:, 2 * t : 192 + 2 * t, t : 192 + t] for t in range(8)])
    damage = Stage(blur_x=4.0, blur_y=4.0, shrink=4.0, noise=4.0, codec="h264", quality=0.8)
    source_T3HW = torch.from_numpy(degrade(truth_T3HW, Recipe(5, (damage,)))) / 255.0

    def error(upscaler: Upscaler) -> float:
        out_T3HW = run(upscaler.stream(48, 48, 4), source_T3HW)
        return float((out_T3HW - torch.from_numpy(truth_T3HW) / 255.0).square().mean())

    restored, faithful = (error(load(name, Placement())) for name in ("swift-restore", "swift"))
    assert restored < 0.9 * min(faithful, error(bicubic()))


def test_refuses_unknown_arithmetic_and_bad_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="float32"):
        load("swift", Placement(dtype="float64"))
    broken = tmp_path / "swift.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not usable"):
        read_network(broken)
    assert all(set(info.scales) == {2, 3, 4} for info in INFO.values())
