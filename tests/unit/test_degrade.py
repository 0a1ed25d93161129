"""Damage is drawn from a seed, repeats to the byte, and keeps frames and sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from datasets.degrade import Codec, Recipe, Stage, UInt8, clean, compress, degrade, draw


def clip(frames: int = 4, height: int = 64, width: int = 96) -> UInt8:
    rows, columns = np.mgrid[:height, :width]
    wave = [np.sin((rows + 2 * t) / 5.0) + np.cos((columns - t) / 7.0) for t in range(frames)]
    grey = (128 + 50 * np.stack(wave)).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)


def test_same_seed_same_bytes() -> None:
    for seed in range(6):
        recipe = draw(seed, 4)
        assert recipe == draw(seed, 4)
        first = degrade(clip(), recipe)
        assert first.shape == (4, 3, 16, 24)
        assert np.array_equal(first, degrade(clip(), recipe))


def test_seeds_differ() -> None:
    assert len({draw(seed, 4) for seed in range(20)}) == 20
    assert any(len(draw(seed, 4).stages) == 2 for seed in range(20))
    assert {stage.codec for seed in range(60) for stage in draw(seed, 4).stages} == {"none", "h264", "mpeg2", "vp8"}


@pytest.mark.parametrize("codec", ["h264", "mpeg2", "vp8"])
def test_compression_costs_more_at_worse_quality(codec: Codec) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (4, 3, 47, 63), dtype=np.uint8) // 2 + clip(4, 47, 63) // 2

    def error(quality: float) -> float:
        out = compress(noisy, codec, quality)
        assert out.shape == noisy.shape
        return float(np.abs(out.astype(int) - noisy).mean())

    assert 0.0 < error(0.0) < error(1.0)


def test_clean_is_a_plain_reduction() -> None:
    flat = np.full((2, 3, 32, 32), 77, np.uint8)
    assert np.array_equal(degrade(flat, clean(4)), np.full((2, 3, 8, 8), 77, np.uint8))


def test_each_kind_of_damage_changes_the_clip() -> None:
    base = Stage(shrink=2.0)
    plain = degrade(clip(), Recipe(1, (base,)))
    for change in (
        {"blur_x": 2.0, "blur_y": 1.0},
        {"noise": 5.0},
        {"kernel": "area"},
        {"codec": "h264", "quality": 1.0},
    ):
        stage = dataclasses.replace(base, **change)
        assert not np.array_equal(degrade(clip(), Recipe(1, (stage,))), plain), change


@pytest.mark.parametrize("codec", ["h264", "mpeg2", "vp8"])
def test_compression_makes_no_picture_darker(codec: Codec) -> None:
    before = clip().copy()
    before[:, 0] = before[:, 0] // 2 + 60  # not grey: chroma takes part
    after = compress(before, codec, 0.0)
    assert np.abs(after.mean((0, 2, 3)) - before.mean((0, 2, 3))).max() < 0.5
