"""The ladder goes down one rung at a time, ends, and tells a person where it stands."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tasks.pool import ladder
from tasks.pool.ladder import LEAST_TILE, Rung, asked, smaller, sturdier
from vsr_model.contract import ModelInfo
from vsr_model.flashvsr.models import entry
from vsr_model.tiling import _spans, area

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
INFO = ModelInfo("net", (4,), dtypes=("float16", "bfloat16", "float32"), bytes_per_pixel=1000.0, offload=True)


def descent(first: Rung, info: ModelInfo, height: int, width: int, scale: int = 4) -> list[Rung]:
    rungs = [first]
    while (lower := smaller(rungs[-1], info, (height, width, scale), 16)) is not None:
        rungs.append(lower)
    return rungs


def test_less_memory_at_every_step_until_no_network_is_left() -> None:
    rungs = descent(Rung(), INFO, 480, 854)
    assert [rung.words(Rung()) for rung in rungs] == [
        "", "tiles of 416 px", "tiles of 192 px", "tiles of 96 px", "tiles of 96 px, weights off the device",
        "lanczos resize",
    ]  # fmt: skip
    assert [rung.number(Rung()) for rung in rungs] == [0, 2, 2, 2, 3, 4]


def test_tiles_that_remember_more_than_the_whole_picture_are_no_way_down() -> None:
    """FlashVSR from 360p to 720p: six tiles would remember more than twice of what the picture does."""
    info = entry("flashvsr-v1.1").info
    rungs = descent(Rung(), info, 360, 640, 2)
    assert [rung.words(Rung()) for rung in rungs] == [
        "", "weights off the device", "tiles of 320 px, weights off the device",
        "tiles of 160 px, weights off the device", "lanczos resize",
    ]  # fmt: skip
    assert [rung.number(Rung()) for rung in rungs] == [0, 3, 3, 3, 4]


def test_tiles_asked_for_are_where_it_begins() -> None:
    first = Rung(tile=256)
    rungs = descent(first, INFO, 2160, 3840)
    assert [rung.tile for rung in rungs[:3]] == [256, 128, 128]
    assert [rung.number(first) for rung in rungs] == [0, 2, 3, 4]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("side", [320, 854, 1280, 1920, 4096])
def test_every_tile_on_the_way_down_has_room_on_the_networks_grid(side: int, scale: int) -> None:
    gridded = replace(INFO, grid=128)
    for rung in descent(Rung(), gridded, side, side, scale):
        if rung.tile:
            _spans(side, rung.tile, min(16, rung.tile // 5), 128 // math.gcd(128, scale))


def test_what_was_asked_for_is_no_way_down() -> None:
    first = Rung(offload=True)
    rungs = descent(first, INFO, 480, 854)
    assert [rung.number(first) for rung in rungs] == [0, 2, 2, 2, 4]
    assert first.words(first) == ""


def test_what_cannot_be_cut_nor_kept_off_the_device_is_resized() -> None:
    whole = ModelInfo("net", (2,), tiling=False)
    assert descent(Rung(), whole, 480, 854) == [Rung(), Rung(classical=True)]


def test_precision_only_gets_wider() -> None:
    assert sturdier(Rung(), INFO, CUDA) == Rung(precision="bfloat16")
    assert sturdier(Rung(precision="bfloat16"), INFO, CUDA) == Rung(precision="float32")
    assert sturdier(Rung(precision="float32"), INFO, CUDA) is None
    assert sturdier(Rung(), INFO, CPU) is None  # where "auto" is float32
    assert sturdier(Rung(classical=True), INFO, CUDA) is None
    assert Rung(96, "bfloat16").words(Rung(0, "float16")) == "tiles of 96 px, bfloat16"


@pytest.mark.parametrize(("free", "tile"), [(1e12, 0), (2e9, 288), (1e6, LEAST_TILE)])
def test_auto_tiles_are_as_large_as_memory_allows(free: float, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "_free_bytes", lambda device: free)
    found = asked(Rung(), "auto", INFO, (480, 854, 4), CPU, 16)
    assert found.tile == tile
    if tile > LEAST_TILE:
        assert tile**2 * 16 * INFO.bytes_per_pixel < free
    assert asked(Rung(), "auto", ModelInfo("net", (2,), tiling=False), (480, 854, 4), CPU, 16).tile == 0
    assert asked(Rung(), 64, INFO, (480, 854, 4), CPU, 16).tile == 64


FULL_HD = (1080, 1920, 2)


def taken(rung: Rung, info: ModelInfo) -> float:
    """Bytes, by the documented figures: what all tiles remember, or one if the others wait elsewhere, and its work."""
    tiles = area(*FULL_HD, rung.tile, 16, info)
    kept = tiles.largest if rung.offload else tiles.all
    return kept * info.remembered_per_pixel + tiles.largest * (info.bytes_per_pixel - info.remembered_per_pixel)


@pytest.mark.parametrize(
    ("mode", "gigabytes", "tile", "parked"),
    [
        ("flashvsr-v1.1", 100, 0, False),
        ("flashvsr-v1.1", 80, 576, False),  # one tile alone would fit with 1312
        ("flashvsr-v1.1", 24, 704, True),
        ("flashvsr-v1.1", 4, 256, True),
        ("flashvsr-v1.1-full", 200, 0, False),
        ("flashvsr-v1.1-full", 139, 576, False),
        ("flashvsr-v1.1-full", 24, 512, True),
    ],
)
def test_auto_tiles_leave_room_for_what_the_others_remember(
    mode: str, gigabytes: int, tile: int, parked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full HD to 4K: tiles together remember more than the whole picture, and wait elsewhere if there is no room."""
    info, free = entry(mode).info, gigabytes * 1e9
    monkeypatch.setattr(ladder, "_free_bytes", lambda device: free)
    found = asked(Rung(), "auto", info, FULL_HD, CUDA, 16)
    assert (found.tile, found.offload) == (tile, parked)
    if tile:
        assert taken(found, info) <= 0.8 * free
        assert taken(replace(found, tile=tile + 128), info) > 0.8 * free
    assert ("weights off the device" in found.words(Rung())) == parked


def test_only_what_is_kept_elsewhere_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "_free_bytes", lambda device: 1e6)
    heavy = replace(INFO, remembered_per_pixel=900.0)
    assert asked(Rung(), "auto", heavy, (480, 854, 4), CUDA, 16) == Rung(tile=LEAST_TILE, offload=True)
    for info, device in ((INFO, CUDA), (replace(heavy, offload=False), CUDA), (heavy, CPU)):
        assert asked(Rung(), "auto", info, (480, 854, 4), device, 16) == Rung(tile=LEAST_TILE)


def test_free_memory_is_known_here() -> None:
    assert ladder._free_bytes(CPU) > 1e8
