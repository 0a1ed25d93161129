"""Every fault that is put into a master is found and named with its shard, and a clean master has none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tasks.judge import Fault, faults
from tasks.media.contract.likeness import Comparison
from tasks.media.picture.colour import Colour, to_planes, to_rgb
from tasks.media.picture.pixels import Layout, Planes, to_frame
from tasks.records import Shard
from tests.mutations import CODE, MUTATIONS, drifting, fading, flashed, flickering
from vsr_model.classical import lanczos

FRAMES, BORDER, SCALE = 32, 16, 2
# The mutation of a frame is in the second shard, away from its border.
WHERE = {"out of order": 22, "black": 22, "flash": 22, "frozen": 22}
# By which name a fault is found; a late shard repeats a frame, and the rest of it is out of order.
NAMED = {"late": "out of order", "turning hue": "hue"}
LIMITED, FULL = Colour(1, 1, 1, False), Colour(6, 6, 6, True)
EIGHT, TEN = Layout("yuv", 8, 1, 1), Layout("yuv", 10, 1, 0)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A source: which scene, its size, and how it and its master are laid out."""

    seed: int
    size: tuple[int, int]
    layout: Layout
    colour: Colour
    master: Layout

    def source(self) -> list[Planes]:
        return to_planes(scene(self.seed, *self.size), self.layout, self.colour, 0)


CASES = [
    Case(0, (96, 128), EIGHT, LIMITED, EIGHT),
    Case(1, (96, 128), EIGHT, LIMITED, TEN),
    Case(2, (120, 160), EIGHT, FULL, EIGHT),
    Case(3, (90, 160), TEN, LIMITED, TEN),
    Case(4, (144, 80), TEN, FULL, replace(TEN, depth=12)),
    Case(5, (108, 192), Layout("yuv", 8, 2, 0), LIMITED, replace(TEN, chroma_x=0)),
    Case(6, (97, 131), EIGHT, LIMITED, replace(EIGHT, depth=10)),
    Case(7, (96, 128), Layout("rgb", 8), Colour(0, 1, 13, True), Layout("rgb", 10)),
    Case(8, (180, 240), EIGHT, LIMITED, replace(EIGHT, depth=10)),
    Case(9, (120, 208), Layout("yuv", 8, 0, 0), LIMITED, Layout("yuv", 8, 0, 0)),
]


def scene(seed: int, height: int, width: int) -> torch.Tensor:
    """[T, 3, H, W]: detail at all sizes through a lens, as nature has it; the camera pans, and something crosses."""
    random = np.random.default_rng(seed)
    side = 512
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1.0
    lens = np.exp(-np.square(frequency / 0.12))
    waves = np.fft.rfft2(random.normal(size=(3, side, side))) * frequency**-1.2 * lens
    field = np.fft.irfft2(waves, (side, side))
    field = 0.45 + 0.16 * field / field.std(axis=(1, 2), keepdims=True)
    field[:] = 0.7 * field.mean(axis=0) + 0.3 * field  # most of what is seen differs in light, not in colour
    field += random.uniform(-0.12, 0.12, (3, 1, 1))
    speed = random.uniform(1, 3, 2).round().astype(int)
    shown = []
    for n in range(FRAMES):
        view = np.roll(field, tuple(-n * speed), (1, 2))[:, :height, :width].copy()
        x, y = int(width * (0.1 + 0.02 * n)), height // 3
        view[:, y : y + height // 4, x : x + width // 5] = 0.6 * view[::-1, y : y + height // 4, x : x + width // 5]
        shown.append(view)
    return torch.from_numpy(np.stack(shown)).float().clamp(0.0, 1.0)


# Every layout each time takes half a minute.
FIRST = [case if number < 3 else pytest.param(case, marks=pytest.mark.slow) for number, case in enumerate(CASES)]


@pytest.fixture(params=FIRST, ids=lambda case: f"{case.size[1]}x{case.size[0]} {case.layout.pix_fmt}")
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def upscaled(case: Case, source: list[Planes]) -> torch.Tensor:
    stream = lanczos(CPU).stream(*case.size, SCALE, 0)
    with torch.inference_mode():
        return stream.push(to_rgb(source, case.layout, case.colour, CPU)).clone()


def judged(case: Case, source: list[Planes], frames: torch.Tensor) -> list[Fault]:
    comparison = Comparison(iter(source), case.layout, case.colour, case.colour)
    for planes in to_planes(frames, case.master, case.colour, 0):
        comparison.add(to_frame(planes, case.master))
    return faults(comparison.finish(), SHARDS, ())


SHARDS = [
    Shard("film", index, start, stop, 0, 0, "length" if index else "start", 0, 0, 0, 1.0, "")
    for index, (start, stop) in enumerate([(0, BORDER), (BORDER, FRAMES)])
]


def test_a_clean_master_has_no_fault_and_each_mutation_is_found_where_it_is(case: Case) -> None:
    source = case.source()
    frames = upscaled(case, source)
    assert judged(case, source, frames) == []
    for name, mutate in MUTATIONS.items():
        at = WHERE.get(name, BORDER)
        found = judged(case, source, mutate(frames, at))
        assert NAMED.get(name, name) in {fault.name for fault in found}, name
        assert all(BORDER <= fault.start < fault.stop <= FRAMES for fault in found), (name, found)


def test_a_cut_a_flash_and_a_still_picture_are_no_faults() -> None:
    case = CASES[0]
    source = case.source()
    still = [source[0]] * 8
    flash = [tuple(np.full_like(plane, 200) for plane in source[0])]
    other = replace(case, seed=7).source()
    edited = [*source[:8], *flash, *still, *other[:15]]
    comparison = Comparison(iter(edited), case.layout, case.colour, case.colour)
    for planes in to_planes(upscaled(case, edited), case.master, case.colour, 0):
        comparison.add(to_frame(planes, case.master))
    assert faults(comparison.finish(), SHARDS, (8, 9, 17)) == []


def test_what_the_source_does_itself_is_no_fault_of_its_master() -> None:
    case = CASES[0]
    for mutate in (flashed, flickering, drifting, fading):
        source = to_planes(mutate(scene(case.seed, *case.size), BORDER), case.layout, case.colour, 0)
        assert judged(case, source, upscaled(case, source)) == [], mutate.__name__


@pytest.mark.parametrize("at", [0, 7, BORDER - 1, BORDER, FRAMES - 1])
def test_a_flash_is_named_with_its_frame_wherever_it_is(at: int) -> None:
    case = CASES[0]
    source = case.source()
    (found,) = [each for each in judged(case, source, flashed(upscaled(case, source), at)) if each.name != "border"]
    # The first and the last frame of a shot have no step there and back.
    assert (found.name, found.start, found.stop) == ("level" if at in {0, FRAMES - 1} else "flash", at, at + 1)


def test_a_flash_of_one_tile_is_found_though_the_frames_level_is_hardly_off() -> None:
    case = CASES[0]
    source = case.source()
    frames = upscaled(case, source).clone()
    rows, columns = case.size
    frames[7, :, : rows // 2, : columns // 2] += 20 * CODE
    assert [(each.name, each.start, each.stop) for each in judged(case, source, frames)] == [("flash", 7, 8)]


def test_flicker_is_found_in_the_part_of_a_shard_that_has_it() -> None:
    case = CASES[0]
    source = case.source()
    frames = upscaled(case, source).clone()
    frames[2:13] = flickering(frames, 2)[2:13]
    (found,) = judged(case, source, frames)
    assert found.name == "flicker" and abs(found.start - 2) <= 1 and abs(found.stop - 13) <= 1


@pytest.mark.parametrize("lighter", [0.0, 0.5, 1.1, 2.0])
def test_a_slow_fade_in_a_master_that_is_a_little_light_is_no_fault(lighter: float) -> None:
    case = CASES[0]
    faded = scene(3, *case.size)[:1] * torch.linspace(0.0, 1.0, 96)[:, None, None, None]
    source = to_planes(faded, case.layout, case.colour, 0)
    assert judged(case, source, 0.99 * upscaled(case, source) + lighter / 255) == []


def test_a_network_that_takes_noise_out_of_a_still_picture_freezes_nothing() -> None:
    case = CASES[0]
    still = scene(4, *case.size)[:1].expand(FRAMES, -1, -1, -1)
    noisy = still + 0.04 * torch.randn(still.shape, generator=torch.Generator().manual_seed(1))
    source = to_planes(noisy, case.layout, case.colour, 0)
    calmer = 0.2 * upscaled(case, source) + 0.8 * upscaled(case, to_planes(still, case.layout, case.colour, 0))
    assert judged(case, source, calmer) == []


def test_a_master_that_is_short_of_frames_or_has_too_many_is_judged_as_far_as_it_goes() -> None:
    case = CASES[0]
    source = case.source()
    frames = upscaled(case, source)
    assert judged(case, source, frames[:10]) == []
    assert judged(case, source, torch.cat([frames, frames[:3]])) == []
    assert judged(case, source, frames[:0]) == []


def test_a_picture_smaller_than_a_cell_is_not_judged() -> None:
    case = replace(CASES[0], size=(2, 2))
    source = case.source()
    assert judged(case, source, upscaled(case, source)) == []
