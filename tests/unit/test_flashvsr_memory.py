"""What FlashVSR keeps where: what a stream remembers, where the transformer waits, and that weights are there once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

from tests.unit.model_contract import run
from tests.unit.test_flashvsr_weights import PARTS, publish
from vsr_model.flashvsr import tcdecoder
from vsr_model.flashvsr.dit import Dit
from vsr_model.flashvsr.lq_projection import LqProjection
from vsr_model.flashvsr.models import SIZES, TEST_INFO, TEST_SIZES, Sizes, empty_networks, entry, install
from vsr_model.flashvsr.pipeline import Networks, Settings
from vsr_model.flashvsr.seen import Seen
from vsr_model.flashvsr.tcdecoder import TcDecoder
from vsr_model.flashvsr.upscaler import FlashVsrStream, FlashVsrUpscaler
from vsr_model.flashvsr.wan_vae import WanVae
from vsr_model.flashvsr.weights import load_into, read_manifest
from vsr_model.parking import Parked

NOWHERE = torch.device("meta")  # has sizes and types, and no values


def tensors(held: object) -> Iterator[torch.Tensor]:
    """All tensors in an object of ours."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, list | tuple):
        for each in held:
            yield from tensors(each)
    elif isinstance(held, dict):
        yield from tensors(list(held.values()))
    elif is_dataclass(held):
        yield from tensors([getattr(held, field.name) for field in fields(held)])


def remembered(stream: FlashVsrStream) -> int:
    """Bytes; what several tensors share is counted once."""
    pipeline = {name: value for name, value in vars(stream._pipeline).items() if name != "_networks"}
    storages = [tensor.untyped_storage() for tensor in tensors([pipeline, stream._ready])]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def nowhere(sizes: Sizes, dtype: torch.dtype | None, full: bool, settings: Settings) -> FlashVsrUpscaler:
    """A mode without weights, for which only sizes are computed."""
    made = empty_networks(sizes, "causal")
    if dtype is not None:
        made = {role: network.to(dtype) for role, network in made.items()}
    dit, projection, decoder = made["dit"], made["projection"], made["vae" if full else "tcdecoder"]
    assert isinstance(dit, Dit)
    assert isinstance(projection, LqProjection)
    assert isinstance(decoder, TcDecoder | WanVae)
    prompt_MT = torch.empty((sizes.prompt_tokens, sizes.dit.text_width), device=NOWHERE)
    networks = Networks(projection, dit, decoder, dit.constants(prompt_MT))
    return FlashVsrUpscaler(networks, settings, TEST_INFO, NOWHERE)


def made_nowhere(query_EWLD: torch.Tensor, seen: Seen, chosen_EWW: torch.Tensor) -> torch.Tensor:
    """What attention gives, by its size alone."""
    heads, windows, tokens, width = query_EWLD.shape
    return query_EWLD.new_empty((windows * tokens, heads * width))


@pytest.mark.parametrize(
    ("mode", "kv_ratio", "wanted"),
    [
        ("flashvsr-v1.1", 3.0, entry("flashvsr-v1.1").info.remembered_per_pixel),
        ("flashvsr-v1.1", 8.0, 12_200.0),
        ("flashvsr-v1.1-full", 3.0, entry("flashvsr-v1.1-full").info.remembered_per_pixel),
        ("flashvsr-v1.1-full", 8.0, 16_600.0),
        ("flashvsr-test", 3.0, TEST_INFO.remembered_per_pixel),
    ],
)
@torch.inference_mode()
def test_a_stream_remembers_as_much_as_tiles_are_planned_with(
    mode: str, kv_ratio: float, wanted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the published widths in bfloat16, by the sizes of all that it holds between two pushes."""
    monkeypatch.setattr("vsr_model.flashvsr.dit.sparse_attention", made_nowhere)
    monkeypatch.setattr(tcdecoder, "_words", lambda x_TCHW: x_TCHW.permute(0, 2, 3, 1))
    sizes, dtype = (TEST_SIZES, torch.float32) if mode == "flashvsr-test" else (SIZES, torch.bfloat16)
    upscaler = nowhere(sizes, dtype, mode.endswith("-full"), Settings(kv_ratio=kv_ratio))
    stream, most = upscaler.stream(192, 256, 2), 0
    for _ in range(33):
        stream.push(torch.empty((1, 3, 192, 256), device=NOWHERE))
        most = max(most, remembered(stream))
    assert 0.97 * wanted < most / (384 * 512) <= wanted


class Watched(TcDecoder):
    """A decoder that notes where the transformer is while it works."""

    def __init__(self, dit: Dit) -> None:
        super().__init__(TEST_SIZES.tcdecoder)
        self.seen: set[str] = set()
        self._dit = [dit]  # no part of it

    def forward(self, latents_CtHW: torch.Tensor, source_3THW: torch.Tensor, memory: tcdecoder.Memory) -> torch.Tensor:
        self.seen |= {weight.device.type for weight in self._dit[0].parameters()}
        out: torch.Tensor = super().forward(latents_CtHW, source_3THW, memory)
        return out


@pytest.mark.parametrize(("unload", "seen"), [(True, {"cpu"}), (False, {"meta"})])
def test_the_transformer_is_off_the_device_while_frames_are_decoded(
    unload: bool, seen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is one without values, so that coming back from the host's memory has to make some up."""
    monkeypatch.setattr(Parked, "come", staticmethod(lambda network, device: network.to_empty(device=device)))
    monkeypatch.setattr(Parked, "leave", lambda self, network: network.to_empty(device="cpu"))
    monkeypatch.setattr("vsr_model.flashvsr.dit.sparse_attention", made_nowhere)
    monkeypatch.setattr(tcdecoder, "_words", lambda x_TCHW: x_TCHW.permute(0, 2, 3, 1))
    upscaler = nowhere(TEST_SIZES, None, False, Settings(unload_dit=unload))
    with NOWHERE:
        watched = Watched(upscaler.networks.dit)
    upscaler.networks = replace(upscaler.networks, decoder=watched)
    out_T3HW = run(upscaler.stream(9, 12, 2), torch.empty((30, 3, 9, 12), device=NOWHERE))
    assert out_T3HW.shape == (30, 3, 18, 24)
    assert watched.seen == seen


def is_mapped(tensor: torch.Tensor, file: Path) -> bool:
    """True if a tensor's values are a file's own bytes, read when they are looked at."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        start, stop = (int(address, 16) for address in span.split("-"))
        if name.strip() == str(file) and start <= tensor.data_ptr() < stop:
            return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is mapped")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_holds_no_second_copy(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the file's own type are the mapped file; in another, each is made of it alone."""
    monkeypatch.setenv("REMASTER_WEIGHTS", str(tmp_path / "installed"))
    install("flashvsr-v1.1", publish(tmp_path / "files"), TEST_SIZES, PARTS)
    file = tmp_path / "installed/flashvsr-v1.1/dit.safetensors"
    moved, whole = [], torch.Tensor.to

    def to(tensor: torch.Tensor, *where: object) -> torch.Tensor:
        moved.append(is_mapped(tensor, file))
        return whole(tensor, *where)  # type: ignore[call-overload, no-any-return]

    made = empty_networks(TEST_SIZES, "causal")["dit"]
    monkeypatch.setattr(torch.Tensor, "to", to)
    load_into(made, read_manifest("flashvsr-v1.1"), "dit", torch.device("cpu"), getattr(torch, dtype))
    monkeypatch.undo()
    weights = list(made.parameters())
    assert moved == [True] * len(weights)
    assert [is_mapped(weight, file) for weight in weights] == [dtype == "float32"] * len(weights)
