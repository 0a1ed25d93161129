"""Every network keeps the promises of `vsr_model.contract`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.unit.model_contract import check_contract, make_clip, run
from tests.unit.spandrel_shim import require_spandrel
from tests.unit.test_single_image import compact_state_dict
from vsr_model.classical import KernelName, bicubic, lanczos
from vsr_model.contract import Corner, ModelInfo, Placement
from vsr_model.errors import ModelError, UnsupportedScale
from vsr_model.registry import load
from vsr_model.tiling import TiledUpscaler, _spans, _weights


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_classical(name: KernelName, scale: int) -> None:
    check_contract(load(name, Placement()), scale)


@pytest.mark.parametrize(("tile", "overlap"), [(16, 3), (10, 2), (7, 0)])
def test_tiled_lanczos(tile: int, overlap: int) -> None:
    check_contract(TiledUpscaler(lanczos(), tile, overlap), 2)


@pytest.mark.parametrize("scale", [2, 4])
def test_file_network(tmp_path: Path, scale: int) -> None:
    require_spandrel()
    path = tmp_path / "tiny.safetensors"
    save_file(compact_state_dict(scale), path)
    upscaler = load(str(path), Placement())
    check_contract(upscaler, scale)
    check_contract(TiledUpscaler(upscaler, 16, 2), scale, sizes=[(24, 33)], slicings=1)


def test_temporal_network_tiled() -> None:
    """Each tile keeps its own past: a network with memory and look-ahead passes through the wrapper."""
    check_contract(RunningMean(), 2)
    check_contract(TiledUpscaler(RunningMean(), 8, 1), 2)
    clip_T3HW = make_clip(RunningMean(), 5, 13, 21)
    tiled_T3HW = run(TiledUpscaler(RunningMean(), 8, 1).stream(13, 21, 2), clip_T3HW, [2, 0, 3])
    assert torch.allclose(tiled_T3HW, run(RunningMean().stream(13, 21, 2), clip_T3HW), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("height", "width", "tile", "overlap"), [(50, 71, 16, 3), (50, 71, 24, 4), (33, 15, 15, 3), (5, 90, 40, 8)]
)
def test_tiled_lanczos_equals_untiled(scale: int, height: int, width: int, tile: int, overlap: int) -> None:
    clip_T3HW = make_clip(lanczos(), 2, height, width)
    whole_T3HW = run(lanczos().stream(height, width, scale), clip_T3HW)
    tiled_T3HW = run(TiledUpscaler(lanczos(), tile, overlap).stream(height, width, scale), clip_T3HW)
    assert (tiled_T3HW - whole_T3HW).abs().max() <= 1e-6


@pytest.mark.parametrize("name", ["bicubic", "lanczos"])
def test_a_pixel_does_not_know_its_tile(name: KernelName) -> None:
    """Away from the cut, a crop gives the very bits the whole picture gives, wherever the crop starts."""
    clip_T3HW = make_clip(lanczos(), 1, 40, 40)
    for scale in (2, 3, 4):
        whole_T3HW = run(load(name, Placement()).stream(40, 40, scale), clip_T3HW)
        crop_T3HW = run(load(name, Placement()).stream(29, 27, scale), clip_T3HW[..., 7:36, 5:32])
        inner = slice(3 * scale, 23 * scale)
        assert torch.equal(crop_T3HW[..., inner, inner], whole_T3HW[..., 7 * scale :, 5 * scale :][..., inner, inner])


def test_tiles_bound_the_size_the_network_sees() -> None:
    seen: list[tuple[int, int]] = []

    class Spy(RunningMean):
        def stream(
            self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
        ) -> RunningMeanStream:
            seen.append((height, width))
            return super().stream(height, width, scale, seed, first_frame)

    TiledUpscaler(Spy(), 10, 2).stream(31, 7, 2)
    assert set(seen) == {(10, 7)}


@pytest.mark.parametrize("grid", [1, 2, 6])
def test_tiles_know_their_place_and_begin_on_the_grid(grid: int) -> None:
    """So that tiles of one seed share one field of noise, however the picture is cut."""
    places: list[Corner] = []

    class Spy(RunningMean):
        def stream(
            self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
        ) -> RunningMeanStream:
            assert (seed, first_frame) == (3, 9)
            assert (height, width) <= (14, 14)
            places.append(corner)
            return super().stream(height, width, scale, seed, first_frame)

    spy = Spy()
    spy.info = replace(spy.info, grid=grid)
    TiledUpscaler(spy, 14, 2).stream(31, 47, 2, seed=3, first_frame=9, corner=(60, 0))
    assert len(set(places)) == len(places) > 4
    assert (60, 0) in places
    assert all(side * 2 % grid == 0 for place in places for side in place)


@pytest.mark.parametrize("step", [1, 4, 7])
@pytest.mark.parametrize(("tile", "overlap"), [(20, 3), (33, 4), (40, 8), (9, 0)])
def test_tiles_cover_the_picture_and_share_enough(tile: int, overlap: int, step: int) -> None:
    for length in range(1, 200):
        spans = _spans(length, tile, overlap, step)
        assert spans[0].start == 0
        assert spans[-1].stop == length
        assert all(0 < span.stop - span.start <= tile and span.start % step == 0 for span in spans)
        assert all(a.stop - b.start >= 2 * overlap + overlap // 2 for a, b in pairwise(spans))
        weight = torch.zeros(length, dtype=torch.float64)
        for span, part in zip(spans, _weights(spans, overlap // 2, 1, torch.device("cpu")), strict=True):
            weight[span] += part
        assert torch.allclose(weight, torch.ones_like(weight), atol=1e-6)


def test_tiling_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ModelError, match="use at least 80 px"):
        TiledUpscaler(bicubic(), 64, 16)
    with pytest.raises(ModelError, match="without tiles"):
        TiledUpscaler(RunningMean(tiling=False), 64, 8)
    with pytest.raises(ValueError, match="expected frames"):
        TiledUpscaler(bicubic(), 64, 8).stream(9, 9, 2).push(torch.zeros(1, 3, 9, 8))


class RunningMean:
    """A stand-in for a temporal network: enlarges the mean of all frames so far, one frame late."""

    def __init__(self, tiling: bool = True) -> None:
        self.device = torch.device("cpu")
        self.info = ModelInfo(name="running-mean", scales=(2,), warm_up=4, look_ahead=1, tiling=tiling)

    def stream(
        self, height: int, width: int, scale: int, seed: int = 0, first_frame: int = 0, corner: Corner = (0, 0)
    ) -> RunningMeanStream:
        if scale != 2:
            raise UnsupportedScale("2 only")
        return RunningMeanStream(height, width)


class RunningMeanStream:
    def __init__(self, height: int, width: int) -> None:
        self._inner = bicubic().stream(height, width, 2)
        self._held_T3HW = torch.zeros((0, 3, height * 2, width * 2))
        self.reset()

    def push(self, frames_T3HW: torch.Tensor) -> torch.Tensor:
        outs = [self._held_T3HW]
        for frame_3HW in frames_T3HW:
            self._count += 1
            self._mean = self._mean + (frame_3HW - self._mean) / self._count
            outs.append(self._inner.push(self._mean[None]))
        ready_T3HW = torch.cat(outs)
        kept = min(1, ready_T3HW.shape[0])
        self._held_T3HW = ready_T3HW[ready_T3HW.shape[0] - kept :]
        return ready_T3HW[: ready_T3HW.shape[0] - kept]

    def finish(self) -> torch.Tensor:
        return self._held_T3HW

    def reset(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
