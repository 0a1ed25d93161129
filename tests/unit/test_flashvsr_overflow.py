"""Numbers beyond the range of float16 are noticed wherever they arise, said, and the shard is made again in bfloat16.

The weights are real ones of `flashvsr-test`, one of them enlarged until what it makes does not fit. Convolutions in
half precision are slow on a CPU, so there are no more of them here than are looked at: a projection that says nothing,
and decoders that only do what hides infinities.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tasks.plan import plan_title
from tasks.pool.worker import ShardWorker, WorkerSettings
from tasks.profile import read_profile
from tasks.scan import scan
from tasks.store import Store
from tests.clips import Clip, make
from tests.unit.model_contract import run
from vsr_model.flashvsr import models, tcdecoder, wan_layers
from vsr_model.flashvsr.lq_projection import PATCH, ChannelNorm, History, LqProjection
from vsr_model.flashvsr.models import TEST_INFO, TEST_SIZES, random_networks
from vsr_model.flashvsr.pipeline import Networks, Settings
from vsr_model.flashvsr.tcdecoder import SoftClamp, TcDecoder
from vsr_model.flashvsr.upscaler import FlashVsrUpscaler
from vsr_model.flashvsr.wan_vae import WanVae

CPU = torch.device("cpu")
PARTS = ("projection", "dit", "decoder")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def spread(latents_CtHW: torch.Tensor, first: bool) -> torch.Tensor:
    """Three channels of latents as frames, each value over the pixels it stands for."""
    frames_3THW = latents_CtHW[:3].repeat_interleave(4, 1)[:, 3 * first :]
    return frames_3THW.repeat_interleave(8, 2).repeat_interleave(8, 3)


class Silent(LqProjection):
    """No word of the source."""

    def forward(self, frames_3THW: torch.Tensor, history: History) -> torch.Tensor | None:
        first, history.first_CThw = history.first_CThw is None, frames_3THW
        tokens = frames_3THW.shape[2] * frames_3THW.shape[3] // PATCH**2
        return None if first else frames_3THW.new_zeros((tokens, TEST_SIZES.dit.width))


class Small(TcDecoder):
    """What the small decoder begins with."""

    def __init__(self) -> None:
        super().__init__(TEST_SIZES.tcdecoder)

    def forward(self, latents_CtHW: torch.Tensor, source_3THW: torch.Tensor, memory: tcdecoder.Memory) -> torch.Tensor:
        first, memory.last = not memory.last, [latents_CtHW]
        out_3THW: torch.Tensor = SoftClamp()(spread(latents_CtHW, first))
        return out_3THW / 3


class Full(WanVae):
    """Frames of any range, which are clamped."""

    def __init__(self) -> None:
        super().__init__(TEST_SIZES.vae)

    def forward(self, latents_CtHW: torch.Tensor, memory: wan_layers.Memory) -> torch.Tensor:
        memory.start()
        first = memory.is_new()
        memory.past(latents_CtHW, 1)
        return spread(latents_CtHW, first)


def swollen(weight: str, factor: float, dtype: torch.dtype, decoder: type[Small | Full]) -> Networks:
    """Networks in a type, one weight of theirs times a factor."""
    part, key = weight.split()
    networks = replace(random_networks(TEST_SIZES, 20, CPU, torch.float32), decoder=decoder())
    if part != "projection":
        networks = replace(networks, projection=Silent(TEST_SIZES.dit.width, TEST_SIZES.projection))
    with torch.no_grad():
        getattr(networks, part).get_parameter(key).mul_(factor)
    for name in PARTS:
        getattr(networks, name).to(dtype)
    with torch.inference_mode():
        prompt_MT = torch.randn(4, TEST_SIZES.dit.text_width, generator=torch.Generator().manual_seed(0))
        return replace(networks, constants=networks.dit.constants(prompt_MT))


@pytest.mark.parametrize(
    ("weight", "factor", "decoder"),
    [
        ("dit head.head.weight", 3e5, Small),  # whose bounds make ordinary values of infinite latents
        ("dit head.head.weight", 3e5, Full),
        ("dit blocks.0.self_attn.q.weight", 1e6, Small),  # queries that are no numbers choose no windows
        ("projection conv1.weight", 5e4, Small),  # values over an infinite length are 0
    ],
)
def test_what_overflows_is_no_picture(weight: str, factor: float, decoder: type[Small | Full]) -> None:
    """With no colour fix, so that nothing after the decoder makes it known."""
    finite = {}
    for dtype in (torch.float16, torch.float32):
        networks = swollen(weight, factor, dtype, decoder)
        upscaler = FlashVsrUpscaler(networks, Settings(color_fix="none"), TEST_INFO, CPU)
        out_T3HW = run(upscaler.stream(9, 12, 2), torch.rand((2, 3, 9, 12)))
        finite[dtype] = bool(out_T3HW.isfinite().all())
    assert finite == {torch.float16: False, torch.float32: True}


def test_an_infinite_length_makes_no_zeros() -> None:
    norm = ChannelNorm(64)
    x = torch.full((1, 64, 1, 1, 1), 1e4)
    assert torch.equal(norm(x), torch.nn.functional.normalize(x, dim=1) * 64**0.5)
    assert norm.half()(x.half()).isnan().all()


def test_an_overflow_is_said_and_the_shard_made_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Through a worker: latents that are infinite in float16 alone."""
    made = partial(swollen, "dit head.head.weight", 3e5, decoder=Small)
    monkeypatch.setattr(models, "random_networks", lambda sizes, seed, device, dtype: made(dtype))
    film = make(tmp_path / "film.mkv", Clip(frames=3, width=36, height=20, audio=""))
    profile = read_profile(None, {"model": "flashvsr-test", "scale": 2, "precision": "float16"})
    (title,) = scan(str(film), str(tmp_path / "out"), profile)
    (work,) = plan_title(title, profile, Store(str(tmp_path / "store"))).work
    with caplog.at_level(logging.WARNING, "remaster.worker"):
        record = ShardWorker(WorkerSettings("flashvsr-test", "float16", threads=1)).upscale(work)
    assert (record.rung, record.made, record.frames) == (1, "bfloat16", 3)
    assert "did not fit or overflowed; tried again with bfloat16" in caplog.text
