"""The modes of FlashVSR by name, and how each comes to its networks.

A mode is a version of the weights and a decoder: the small one, or Wan's own with `-full`.
`flashvsr-test` is the real code with small networks of random weights: it proves a pipeline, not a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from vsr_model.contract import ModelEntry, ModelInfo, ModelRef, Placement
from vsr_model.errors import ModelError
from vsr_model.flashvsr.dit import Dit, DitShape
from vsr_model.flashvsr.lq_projection import LqProjection, Rule
from vsr_model.flashvsr.pipeline import FRAMES, MULTIPLE, SHORTEST, Networks, Settings
from vsr_model.flashvsr.tcdecoder import WIDTHS, TcDecoder
from vsr_model.flashvsr.upscaler import LOOK_AHEAD, FlashVsrUpscaler
from vsr_model.flashvsr.wan_vae import WanVae
from vsr_model.flashvsr.weights import (
    PUBLISHED,
    Manifest,
    Published,
    import_weights,
    load_into,
    load_prompt,
    missing,
    read_manifest,
)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TEST_SEED = 20
# Frames of warm-up: what the cache holds, and the 24 latents that Wan's decoder looks back at (docs/models.md).
WARM_UP, FULL_WARM_UP = 24, 96
_VERSION = 7


@dataclass(frozen=True)
class Sizes:
    """Sizes of all networks of a mode; the defaults are the published ones."""

    dit: DitShape
    projection: tuple[int, int] = (2048, 3072)
    tcdecoder: tuple[int, int, int, int] = WIDTHS
    vae: int = 96
    prompt_tokens: int = 512


TEST_SIZES = Sizes(
    DitShape(width=64, heads=2, layers=2, ffn=96, text_width=32, frequencies=32), (16, 24), (16, 8, 8, 8), 8, 4
)

SIZES = Sizes(DitShape())
RULES: dict[str, Rule] = {"flashvsr-v1.1": "causal", "flashvsr-v1": "buffer"}
MODES = tuple(version + decoder for version in PUBLISHED for decoder in ("", "-full"))


def _info(
    name: str, dtypes: tuple[str, ...], memory: tuple[float, float], summary: str, warm_up: int = WARM_UP
) -> ModelInfo:
    """What all modes have in common, and what each has of its own; `memory` is all of a stream's and what it keeps."""
    return ModelInfo(
        name=name, scales=(1, 2, 3, 4), enlarged_by="bicubic", warm_up=warm_up, chunk=FRAMES, look_ahead=LOOK_AHEAD,
        size_multiple=MULTIPLE, grid=MULTIPLE, min_frames=SHORTEST, dtypes=dtypes, bytes_per_pixel=memory[0],
        remembered_per_pixel=memory[1], settings="flashvsr", offload=True, summary=summary, licence="Apache-2.0",
    )  # fmt: skip


TEST_INFO = _info(
    "flashvsr-test", ("float32", "bfloat16", "float16"), (3_700.0, 350.0),
    "FlashVSR's code with tiny random networks: for trying a pipeline, not for pictures",
)  # fmt: skip


def entry(mode: str) -> ModelEntry:
    """The registry's row of one of `MODES`."""
    version, full = mode.removesuffix("-full"), mode.endswith("-full")
    decoder = "Wan's own decoder: slower" if full else "the small decoder"
    info = _info(
        mode, ("bfloat16", "float16", "float32"), (17_000.0, 9_400.0) if full else (9_000.0, 5_000.0),
        f"one-step streaming diffusion, for soft and damaged sources; {decoder}", FULL_WARM_UP if full else WARM_UP,
    )  # fmt: skip
    # Read once, so that the hash a caller is told is that of the weights it then gets.
    manifest = cache(partial(read_manifest, version))
    return ModelEntry(
        info,
        lambda: ModelRef(mode, manifest().weights_hash, _VERSION),
        lambda placement: load(info, placement, SIZES, manifest()),
        partial(missing, version),
    )


def load(
    info: ModelInfo, placement: Placement, sizes: Sizes = SIZES, manifest: Manifest | None = None
) -> FlashVsrUpscaler:
    """Load a mode's networks from where weights lie.

    Args:
        info: of the mode.
        placement: device, dtype ("auto" is bfloat16 on CUDA and float32 elsewhere), and `Settings` by name.
        sizes: of the networks in the folder.
        manifest: of the weights, if it has been read.

    Raises:
        WeightsError: the weights are not installed, or damaged.
        ModelError: the dtype is not one of `info.dtypes`.
    """
    version, device = info.name.removesuffix("-full"), torch.device(placement.device)
    dtype = _dtype(info, placement)
    manifest = manifest or read_manifest(version)
    made = empty_networks(sizes, RULES[version])
    used = ("dit", "projection", "vae" if info.name.endswith("-full") else "tcdecoder")
    for role in used:
        load_into(made[role], manifest, role, device, dtype)
    dit, projection, decoder = (made[role] for role in used)
    assert isinstance(dit, Dit)
    assert isinstance(projection, LqProjection)
    assert isinstance(decoder, TcDecoder | WanVae)
    _lay_out(projection, decoder)
    with torch.inference_mode():
        networks = Networks(projection, dit, decoder, dit.constants(load_prompt(manifest).to(device)))
    return FlashVsrUpscaler(networks, _settings(placement), info, device)


def load_random(mode: str, placement: Placement) -> FlashVsrUpscaler:
    """A mode of its real size with random weights, which cost as much time and memory as any; only to measure with.

    Raises:
        ModelError: there is no such mode, or the dtype is not one of its own.
    """
    if mode not in MODES:
        raise ModelError(f"{mode}: only {', '.join(MODES)} can be made with random weights")
    device, version = torch.device(placement.device), mode.removesuffix("-full")
    info = entry(mode).info
    networks = random_networks(
        SIZES, 0, device, _dtype(info, placement), RULES[version], mode.endswith("-full"), device
    )
    return FlashVsrUpscaler(networks, _settings(placement), info, device)


def install(
    version: str, source: Path, sizes: Sizes = SIZES, published: tuple[Published, ...] | None = None
) -> Manifest:
    """Import the published files of a version from a folder (see `weights.import_weights`)."""
    shapes = {
        role: {key: value.shape for key, value in network.state_dict().items()}
        for role, network in empty_networks(sizes, RULES[version]).items()
    }
    shapes["prompt"] = {"prompt": torch.Size((sizes.prompt_tokens, sizes.dit.text_width))}
    return import_weights(version, source, shapes, published or PUBLISHED[version])


def empty_networks(sizes: Sizes, rule: Rule) -> dict[str, nn.Module]:
    """The networks by role, without weights and without memory."""
    with torch.device("meta"):
        return {
            "dit": Dit(sizes.dit), "projection": LqProjection(sizes.dit.width, sizes.projection, rule),
            "tcdecoder": TcDecoder(sizes.tcdecoder), "vae": WanVae(sizes.vae),
        }  # fmt: skip


def small_entry() -> ModelEntry:
    """The registry's row of `flashvsr-test`."""
    return ModelEntry(TEST_INFO, lambda: ModelRef(TEST_INFO.name, version=_VERSION), load_small)


def load_small(placement: Placement) -> FlashVsrUpscaler:
    """Make the networks of `flashvsr-test`, the same on every machine.

    Raises:
        ModelError: the dtype is not one of `info.dtypes`.
    """
    device = torch.device(placement.device)
    networks = random_networks(TEST_SIZES, _TEST_SEED, device, _dtype(TEST_INFO, placement))
    return FlashVsrUpscaler(networks, _settings(placement), TEST_INFO, device)


def _dtype(info: ModelInfo, placement: Placement) -> torch.dtype:
    """What to compute in: the mode's best on CUDA and float32 elsewhere, unless a person chose."""
    auto = info.dtypes[0] if torch.device(placement.device).type == "cuda" else "float32"
    name = auto if placement.dtype == "auto" else placement.dtype
    if name not in info.dtypes:
        raise ModelError(f"{info.name} computes in {', '.join(info.dtypes)}, not in {name}: ask for one of those")
    return _DTYPES[name]


def _settings(placement: Placement) -> Settings:
    return Settings(**dict(placement.settings))  # type: ignore[arg-type]


def _lay_out(projection: LqProjection, decoder: TcDecoder | WanVae) -> None:
    """Weights in memory as the convolutions read them."""
    projection.lay_out()
    if isinstance(decoder, TcDecoder):
        decoder.lay_out()


def random_networks(
    sizes: Sizes, seed: int, device: torch.device, dtype: torch.dtype, rule: Rule = "causal", full: bool = False,
    made_on: torch.device | str = "cpu",
) -> Networks:  # fmt: skip
    """Networks of any size with seeded random weights, the same for the same `made_on`; `full` has Wan's decoder."""
    on_gpu = [made_on] if torch.device(made_on).type == "cuda" else []
    with torch.random.fork_rng(on_gpu), torch.device(made_on):
        torch.manual_seed(seed)
        projection, dit = LqProjection(sizes.dit.width, sizes.projection, rule), Dit(sizes.dit)
        decoder = WanVae(sizes.vae) if full else TcDecoder(sizes.tcdecoder)
        prompt_MT = torch.randn(sizes.prompt_tokens, sizes.dit.text_width)
    for network in (projection, dit, decoder):
        network.to(device, dtype).eval().requires_grad_(False)
    _lay_out(projection, decoder)
    with torch.inference_mode():
        return Networks(projection, dit, decoder, dit.constants(prompt_MT.to(device)))
