"""Wan's autoencoder beyond parity: what tiles change and what they do not, and frames that make whole latents."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from tasks.errors import UsageError
from tasks.profile import read_profile
from tests.flashvsr_golden import draw, fill
from tests.unit.model_contract import run
from vsr_model.flashvsr.models import TEST_INFO, TEST_SIZES, random_networks
from vsr_model.flashvsr.pipeline import Settings
from vsr_model.flashvsr.upscaler import FlashVsrUpscaler
from vsr_model.flashvsr.wan_encoder import WanEncoder
from vsr_model.flashvsr.wan_layers import Memory, SpatialAttention
from vsr_model.flashvsr.wan_tiles import Memories, Tiling, decode_tiled
from vsr_model.flashvsr.wan_vae import WanVae

CPU = torch.device("cpu")
SEES = 18  # latents, the farthest that the decoder's convolutions look to any side


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def without_attention(net: WanVae) -> WanVae:
    """A decoder that sees only so far: attention sees all of a tile, and random weights make much of it."""
    for layer in net.modules():
        if isinstance(layer, SpatialAttention):
            layer.proj.weight.zero_()
    return net


@torch.inference_mode()
def test_away_from_seams_tiles_are_the_picture() -> None:
    net = without_attention(fill(WanVae(8), "vae"))
    latents_CtHW = draw("seams", (16, 2, 6, 80))
    whole_3THW = net(latents_CtHW, Memory())
    tiled_3THW = decode_tiled(net, latents_CtHW, Tiling((6, 64), (6, 48)), Memories())  # columns 0..63 and 48..79
    apart_W = (tiled_3THW - whole_3THW).abs().amax((0, 1, 2)).unflatten(0, (80, 8)).amax(1)
    assert apart_W[: 64 - SEES].max() < 1e-5
    assert apart_W[48 + SEES :].max() < 1e-5
    assert apart_W[64 - SEES : 48 + SEES].max() > 1e-3


class Blind(WanVae):
    """A decoder whose pixels depend on no neighbours; notes the sizes of what it is given."""

    def __init__(self) -> None:
        super().__init__(8)
        self.given: list[tuple[int, ...]] = []

    def forward(self, latents_CtHW: torch.Tensor, memory: Memory) -> torch.Tensor:
        self.given.append(tuple(latents_CtHW.shape[2:]))
        memory.start()
        is_first = memory.is_new()
        memory.past(latents_CtHW, 1)
        frames_3THW = latents_CtHW[:3].repeat_interleave(4, 1)[:, 3 * is_first :]
        return frames_3THW.repeat_interleave(8, 2).repeat_interleave(8, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 31), (17, 40)])
@pytest.mark.parametrize("tiling", [Tiling((8, 8), (4, 6)), Tiling((16, 16), (12, 12)), Tiling((5, 7), (5, 7))])
def test_weights_of_tiles_show_nowhere(size: tuple[int, int], tiling: Tiling) -> None:
    memory, memories = Memory(), Memories()
    for latents in (2, 1):
        latents_CtHW = draw("weights", (16, latents, *size))
        tiled_3THW = decode_tiled(Blind(), latents_CtHW, tiling, memories)
        assert torch.allclose(tiled_3THW, Blind()(latents_CtHW, memory), atol=1e-6)


@torch.inference_mode()
def test_a_picture_of_one_tile_is_as_without_tiles() -> None:
    net, latents_CtHW = fill(WanVae(8), "vae"), draw("one", (16, 2, 6, 9))
    tiled_3THW = decode_tiled(net, latents_CtHW, Tiling((6, 9), (5, 7)), Memories())
    assert torch.equal(tiled_3THW, net(latents_CtHW, Memory()))


@pytest.mark.parametrize("stride", [(3, 8), (4, 9)])
def test_strides_that_leave_gaps_or_share_more_than_half_are_refused(stride: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="half a tile to a whole one"):
        Tiling((8, 8), stride)


@pytest.mark.parametrize(("tile", "given"), [(0, [(16, 32)]), (256, [(16, 32)]), (128, [(16, 16), (16, 16), (16, 8)])])
def test_the_setting_decides_what_the_full_decoder_is_given(tile: int, given: list[tuple[int, int]]) -> None:
    """Tiles share a quarter, and the picture of 128 x 256 is whole."""
    decoder = Blind()
    networks = replace(random_networks(TEST_SIZES, 3, CPU, torch.float32, full=True), decoder=decoder)
    clip_T3HW = torch.rand((2, 3, 50, 120), generator=torch.Generator().manual_seed(0))
    outs = [
        run(FlashVsrUpscaler(networks, Settings(vae_tile=side), TEST_INFO, CPU).stream(50, 120, 2), clip_T3HW)
        for side in (0, tile)
    ]
    assert decoder.given[-len(given) :] == given
    assert torch.allclose(*outs, atol=1e-6)


def test_the_profile_sets_it_and_names_what_it_takes() -> None:
    profile = read_profile(None, {"flashvsr.vae_tile": 512})
    assert Settings(**dict(profile.model_settings("flashvsr"))) == Settings(vae_tile=512)  # type: ignore[arg-type]
    for wrong in (-128, 100, 8192):
        with pytest.raises(UsageError, match=r"flashvsr\.vae_tile"):
            read_profile(None, {"flashvsr.vae_tile": wrong})


@torch.inference_mode()
def test_there_and_back_has_the_same_shape() -> None:
    encoder, decoder = fill(WanEncoder(8), "vae"), fill(WanVae(8), "vae")
    there, back = Memory(), Memory()
    for frames in (9, 4):
        clip_3THW = draw("clip", (3, frames, 16, 24), 0.5)
        latents_CtHW = encoder(clip_3THW, there)
        assert latents_CtHW.shape == (16, -(-frames // 4), 2, 3)
        assert decoder(latents_CtHW, back).shape == clip_3THW.shape


@torch.inference_mode()
def test_frames_that_make_no_whole_latents_are_refused() -> None:
    net, memory = fill(WanEncoder(8), "vae"), Memory()
    for shape in ((3, 4, 16, 16), (3, 0, 16, 16), (3, 1, 12, 16), (3, 1, 16, 12)):
        with pytest.raises(ValueError, match=r"1 \+ 4 k frames make latents here"):
            net(torch.zeros(shape), memory)
    net(torch.zeros((3, 1, 16, 16)), memory)
    with pytest.raises(ValueError, match="5 frames of 16x16: 4 k frames"):
        net(torch.zeros((3, 5, 16, 16)), memory)


def test_both_halves_are_the_published_file() -> None:
    """The md5 over its keys and shapes by which the original recognises the file, and its number of parameters."""
    with torch.device("meta"):
        shapes = {k: v.shape for half in (WanEncoder(), WanVae()) for k, v in half.state_dict().items()}
    names = [name for key, shape in shapes.items() for name in (key, f"{key}:{'_'.join(map(str, shape))}")]
    assert len(shapes) == 194
    assert sum(shape.numel() for shape in shapes.values()) == 126_892_531
    assert hashlib.md5(",".join(sorted(names)).encode()).hexdigest() == "ccc42284ea13e1ad04693284c7a09be6"
