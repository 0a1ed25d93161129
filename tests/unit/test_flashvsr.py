"""FlashVSR behind the contract: every frame of any length, noise that belongs to a place, colours that stay."""

from __future__ import annotations

import gc
import re
import weakref
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from tasks.errors import UsageError
from tasks.profile import read_profile
from tests.unit.model_contract import check_contract, run
from tests.unit.noise_field import watch_noise
from vsr_model.contract import Placement
from vsr_model.flashvsr.attention import from_windows, sparse_attention, to_windows
from vsr_model.flashvsr.dit import Cache
from vsr_model.flashvsr.models import load_small
from vsr_model.flashvsr.noise import noise
from vsr_model.flashvsr.pipeline import MULTIPLE, Pipeline
from vsr_model.flashvsr.rope import rotations
from vsr_model.flashvsr.seen import Seen
from vsr_model.flashvsr.upscaler import enlarge
from vsr_model.tiling import TiledUpscaler


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def smooth(frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand((frames, 3, 4, 5), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("scale", [1, 2])
def test_contract(scale: int) -> None:
    check_contract(load_small(Placement()), scale, sizes=[(17, 23)], frames=35, slicings=2)


@pytest.mark.parametrize("frames", [1, 2, 20, 21, 22, 24, 25, 26, 28, 29, 30, 33])
def test_every_frame_of_any_length_comes_out(frames: int) -> None:
    """The published code loses up to seven; and what follows a frame's look-ahead does not change it."""
    upscaler = load_small(Placement())
    clip_T3HW = smooth(40, 9, 11)
    out_T3HW = run(upscaler.stream(9, 11, 4), clip_T3HW[:frames])
    assert out_T3HW.shape == (frames, 3, 36, 44)
    settled = max(0, frames - 12)  # at most 8 frames of a chunk and the 4 beyond it
    if frames > 25:
        whole_T3HW = run(upscaler.stream(9, 11, 4), clip_T3HW)
        assert torch.equal(out_T3HW[:settled], whole_T3HW[:settled])


@pytest.mark.parametrize(("height", "width", "scale"), [(1, 1, 2), (70, 130, 2), (64, 64, 3)])
def test_sizes_that_are_no_whole_windows(height: int, width: int, scale: int) -> None:
    out_T3HW = run(load_small(Placement()).stream(height, width, scale), smooth(3, height, width))
    assert out_T3HW.shape == (3, 3, height * scale, width * scale)


@pytest.mark.parametrize(("height", "width"), [(1, 5), (9, 11), (40, 64), (66, 64)])
def test_what_a_window_lacks_is_mirrored(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the right and lower edge, without repeating the edge itself, as often as it takes."""
    given: list[torch.Tensor] = []
    whole = Pipeline.push

    def push(self: Pipeline, source_3THW: torch.Tensor) -> torch.Tensor:
        given.append(source_3THW)
        return whole(self, source_3THW)

    monkeypatch.setattr(Pipeline, "push", push)
    clip_T3HW = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(4))
    load_small(Placement()).stream(height, width, 2).push(clip_T3HW)
    big_3HW = enlarge(clip_T3HW, 2 * height, 2 * width)[0].numpy()
    missing = [(0, -2 * side % MULTIPLE) for side in (height, width)]
    np.testing.assert_array_equal(given[0][:, 0].numpy(), np.pad(big_3HW, [(0, 0), *missing], mode="reflect"))


def test_rotations_go_on_where_the_published_table_ends() -> None:
    """It has 1,024 latents, which are 4,097 frames. Against exact angles, whose cosines do not come from torch."""
    for latent in (1022, 1023, 1024, 1025, 250_000, 10_000_000):  # the last are 11 and 463 hours
        turn_P = rotations(latent, 1, 1, 1, 128)[0, :22].numpy()
        exact_P = [latent * np.longdouble(10_000) ** (-np.longdouble(p) / 22) for p in range(22)]
        np.testing.assert_allclose(turn_P, [complex(np.cos(a), np.sin(a)) for a in exact_P], atol=2e-9)
        # What attention sees of it depends on how far apart two latents are, and not on where they are.
        apart_NP = rotations(latent + 3, 1, 2, 2, 128) * rotations(latent, 1, 2, 2, 128).conj()
        near_NP = rotations(3, 1, 2, 2, 128) * rotations(0, 1, 2, 2, 128).conj()
        assert torch.allclose(apart_NP, near_NP, atol=4e-9)


def test_a_stream_goes_on_beyond_4097_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told that it has come so far already, it makes the pictures of its start."""
    clip_T3HW, outs = smooth(34, 9, 11), []
    for gone in (0, 1020, 100_000):  # latents; the second passes the table's end

        def later(first_time: int, *rest: Any, gone: int = gone) -> torch.Tensor:
            return rotations(first_time + gone, *rest)

        monkeypatch.setattr("vsr_model.flashvsr.dit.rotations", later)
        outs.append(run(load_small(Placement()).stream(9, 11, 2), clip_T3HW))
    for out_T3HW in outs[1:]:
        assert torch.allclose(out_T3HW, outs[0], atol=1e-4)


def test_colours_stay_the_sources() -> None:
    """With the wavelet fix each frame keeps the low frequencies of its source, whatever the networks do."""
    clip_T3HW = smooth(6, 32, 32)
    out_T3HW = run(load_small(Placement()).stream(32, 32, 4), clip_T3HW)
    assert float((out_T3HW.mean((2, 3)) - clip_T3HW.mean((2, 3))).abs().mean()) < 0.005
    raw_T3HW = run(load_small(Placement(settings=(("color_fix", "none"),))).stream(32, 32, 4), clip_T3HW)
    assert float((raw_T3HW.mean((2, 3)) - clip_T3HW.mean((2, 3))).abs().mean()) > 0.02


def test_seed_and_place_decide_the_noise() -> None:
    clip_T3HW = smooth(22, 16, 16)
    upscaler = load_small(Placement())
    outs = [run(upscaler.stream(16, 16, 2, *key), clip_T3HW) for key in ((1, 0), (1, 0), (2, 0), (1, 4))]
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0], outs[3])


def test_seeds_beyond_the_largest_would_be_others_again() -> None:
    """So a profile takes none; the largest is one of its own."""
    largest = 2**63 - 1
    assert read_profile(None, {"seed": largest}).seed == largest
    with pytest.raises(UsageError, match=f"seed = {2**63}: Input should be less than {2**63}"):
        read_profile(None, {"seed": 2**63})
    fields = [noise(seed, [0], 1, 4, 4) for seed in (0, largest, largest - 1, 2**63)]
    assert torch.equal(fields[0], fields[3])
    assert not any(torch.equal(a, b) for a, b in combinations(fields[:3], 2))


@pytest.mark.parametrize(
    ("setting", "good", "wrong"),
    [
        ("sparse_ratio", (0.1, 8.0), (0.0, 0.09, 8.1, -1.0, "much", True, float("nan"))),
        ("kv_ratio", (1.0, 8.0), (0.9, 0.0, 8.1, -3.0, "all", float("inf"))),
        ("local_range", (1, 63), (0, 64, -1, 2.5, "near")),
        ("color_fix", ("wavelet", "adain", "none"), ("", "Wavelet", "colour", 1)),
        ("unload_dit", (True, False), ("yes", 2)),
    ],
)
def test_settings_outside_their_range_are_refused(setting: str, good: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    name = f"flashvsr.{setting}"
    for value in good:
        assert getattr(read_profile(None, {name: value}).flashvsr, setting) == value
    for value in wrong:
        with pytest.raises(UsageError, match=re.escape(f"{name} = {value!r}: ")):
            read_profile(None, {name: value})


def test_tiles_of_a_picture_draw_one_field_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch_noise(monkeypatch, 5, 48, 64)
    run(TiledUpscaler(load_small(Placement()), 160, 8).stream(192, 256, 2, seed=5), smooth(3, 192, 256))
    assert len(set(seen)) == 4


@pytest.mark.parametrize("fix", ["adain", "wavelet"])
def test_colours_are_fixed_on_the_whole_picture_over_tiles(fix: str) -> None:
    """A tile's own statistics would tint it; the edges of the frame are as bright as without tiles."""
    upscaler = load_small(Placement(settings=(("color_fix", fix),)))
    clip_T3HW = smooth(3, 160, 64)
    clip_T3HW[:, :, 80:] *= 0.2
    tiled_T3HW = run(TiledUpscaler(upscaler, 112, 8).stream(160, 64, 2), clip_T3HW)
    raw_T3HW = run(TiledUpscaler(upscaler.uncorrected(), 112, 8).stream(160, 64, 2), clip_T3HW)
    fixed_T3HW = torch.cat([upscaler.correct(raw_T3HW[t : t + 1], clip_T3HW[t : t + 1]) for t in range(3)])
    assert torch.equal(tiled_T3HW, fixed_T3HW)
    whole_T3HW = run(upscaler.stream(160, 64, 2), clip_T3HW)
    error = (tiled_T3HW - whole_T3HW).mean(dim=(1, 3)).abs()  # of rows
    assert float(error.max()) < 0.05


def test_tiles_that_wait_elsewhere_give_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler, clip_T3HW = load_small(Placement()), smooth(33, 112, 40)
    stayed = run(TiledUpscaler(upscaler, 96, 8).stream(112, 40, 2), clip_T3HW, [30, 3])
    moves: list[str] = []
    whole = Pipeline.move

    def move(self: Pipeline, device: torch.device) -> None:
        whole(self, device)
        moves.append(device.type)
        held = [*self._cache.pool, *self._memory.last, *self._source, *self._waiting]
        assert all(tensor.device == device for tensor in held)

    monkeypatch.setattr(Pipeline, "move", move)
    waited = run(TiledUpscaler(upscaler, 96, 8, park=True).stream(112, 40, 2), clip_T3HW, [30, 3])
    assert torch.equal(waited, stayed)
    assert len(moves) == 2 * 2 * 3  # there and back, of two tiles, in two pushes and the end
    stream = TiledUpscaler(upscaler, 96, 8, park=True).stream(112, 40, 2)
    stream.push(clip_T3HW[:3])
    moves.clear()
    stream.reset()  # makes the rest of the shot, for which the memories must be where the networks are
    assert len(moves) == 2 * 2


def test_frames_of_another_size_are_refused() -> None:
    stream = load_small(Placement()).stream(16, 20, 2)
    stream.push(torch.zeros(1, 3, 16, 20))
    with pytest.raises(ValueError, match="expected frames"):
        stream.push(torch.zeros(1, 3, 20, 16))


def test_streams_on_one_grid_draw_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shard's warm-up draws for a frame is what its neighbour drew for it."""
    drawn: list[dict[int, torch.Tensor]] = []

    def watched(seed: int, frames: list[int], *size: int) -> torch.Tensor:
        field = noise(seed, frames, *size)
        drawn[-1] |= dict(zip(frames, field.unbind(1), strict=True))
        return field

    monkeypatch.setattr("vsr_model.flashvsr.upscaler.noise", watched)
    clip_T3HW = smooth(48, 8, 8)
    upscaler = load_small(Placement())
    for first in (0, 2 * upscaler.info.chunk):
        drawn.append({})
        run(upscaler.stream(8, 8, 2, seed=3, first_frame=first), clip_T3HW[first:])
    shared = drawn[0].keys() & drawn[1].keys()
    assert len(shared) >= 8
    assert all(torch.equal(drawn[0][frame], drawn[1][frame]) for frame in shared)


def test_noise_is_normal_and_belongs_to_its_place() -> None:
    whole = noise(7, [0, 4, 8], 16, 40, 60)
    assert abs(float(whole.mean())) < 0.01
    assert abs(float(whole.std()) - 1.0) < 0.01
    assert abs(float(whole.pow(3).mean())) < 0.05
    assert abs(float(whole.pow(4).mean()) - 3.0) < 0.1
    for axis in range(4):
        assert abs(float((whole * whole.roll(1, axis)).mean())) < 0.01
    assert torch.equal(noise(7, [4, 8], 16, 10, 20, top=30, left=40), whole[:, 1:, 30:, 40:])
    assert abs(float((whole * noise(8, [0, 4, 8], 16, 40, 60)).mean())) < 0.01


def test_windows_there_and_back() -> None:
    x_NC = torch.arange(4 * 16 * 24 * 3, dtype=torch.float32).reshape(-1, 3)
    windows_NC = to_windows(x_NC, 4, 16, 24)
    assert torch.equal(from_windows(windows_NC, 4, 16, 24), x_NC)
    x_tHWC = x_NC.view(4, 16, 24, 3)
    second_NC = windows_NC.view(12, 128, 3)[1]  # of the first slab's upper row
    assert torch.equal(second_NC, x_tHWC[:2, :8, 8:16].reshape(128, 3))
    assert torch.equal(windows_NC.view(12, 128, 3)[6 + 5], x_tHWC[2:, 8:, 16:].reshape(128, 3))


def test_sparse_attention_is_dense_attention_over_what_was_chosen() -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn((2, n, 128, 16), generator=generator) for n in (3, 5, 5))
    chosen = torch.rand((2, 3, 5), generator=generator) < 0.5
    chosen[1, 2] = False
    out = sparse_attention(query, Seen.alone(key, value), chosen)
    mask = chosen.repeat_interleave(128, 1).repeat_interleave(128, 2)
    dense = torch.nn.functional.scaled_dot_product_attention(
        query.flatten(1, 2)[None], key.flatten(1, 2)[None], value.flatten(1, 2)[None], attn_mask=mask
    )[0].nan_to_num(0.0)
    out_ENC = out.view(3 * 128, 2, 16).transpose(0, 1)
    assert torch.allclose(out_ENC, dense, atol=1e-5)
    assert not out_ENC[1, 2 * 128 :].any()


def test_all_layers_share_the_slab_that_is_being_made() -> None:
    cache, layers, kept = Cache(), 5, 3
    cache.make_room(torch.zeros(0), layers, kept, (2, 4, 128, 16))
    assert [len(each) for each in cache.pool] == [layers * kept + 1] * 3
    shown: list[list[int]] = [[] for _ in range(layers)]  # numbers of what each layer was given, in order
    lies_in: dict[int, tuple[int, int]] = {}  # what each slab of the pool holds: layer and number
    for slabs in (3, 1, 1, 1, 1, 1):
        for layer, (written, seen) in enumerate(zip(*cache.turn_over(slabs), strict=True)):
            for slab in written:
                shown[layer].append(len(shown[layer]))
                lies_in[slab] = (layer, shown[layer][-1])
            wanted = shown[layer][-max(kept + 1, slabs) :]
            assert [lies_in[slab] for slab in seen] == [(layer, number) for number in wanted]
    with pytest.raises(ValueError, match="2 slabs at once do not fit"):
        cache.turn_over(2)


def test_a_stream_that_is_let_go_is_gone_at_once() -> None:
    """With its gigabytes, before the next one is opened: nothing in it may hold it in a circle."""
    upscaler = load_small(Placement())
    stream = upscaler.stream(16, 20, 2)
    stream.push(torch.rand(26, 3, 16, 20))
    remembered = weakref.ref(stream._pipeline._cache)
    gc.disable()
    try:
        del stream
        assert remembered() is None
    finally:
        gc.enable()
