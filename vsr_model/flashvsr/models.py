"""The modes of FlashVSR by name, and how each comes to its networks.

`flashvsr-test` is the real code with small networks of random weights: it proves a pipeline, not a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vsr_model.contract import ModelEntry, ModelInfo, ModelRef, Placement
from vsr_model.errors import ModelError
from vsr_model.flashvsr.dit import Dit, DitShape
from vsr_model.flashvsr.lq_projection import LqProjection, Rule
from vsr_model.flashvsr.pipeline import MULTIPLE, Networks, Settings
from vsr_model.flashvsr.tcdecoder import WIDTHS, TcDecoder
from vsr_model.flashvsr.upscaler import LOOK_AHEAD, FlashVsrUpscaler

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TEST_SEED = 20


@dataclass(frozen=True)
class Sizes:
    """Sizes of all networks of a mode; the defaults are the published ones."""

    dit: DitShape
    projection: tuple[int, int] = (2048, 3072)
    tcdecoder: tuple[int, int, int, int] = WIDTHS
    prompt_tokens: int = 512


TEST_SIZES = Sizes(
    DitShape(width=64, heads=2, layers=2, ffn=96, text_width=32, frequencies=32), (16, 24), (16, 8, 8, 8), 4
)

TEST_INFO = ModelInfo(
    name="flashvsr-test",
    scales=(2, 3, 4),
    warm_up=24,
    look_ahead=LOOK_AHEAD,
    size_multiple=MULTIPLE,
    dtypes=("float32", "bfloat16"),
    bytes_per_pixel=400.0,
    summary="FlashVSR's code with tiny random networks: for trying a pipeline, not for pictures",
    licence="Apache-2.0",
)


def small_entry() -> ModelEntry:
    """The registry's row of `flashvsr-test`."""
    return ModelEntry(TEST_INFO, lambda: ModelRef(TEST_INFO.name), load_small)


def load_small(placement: Placement, settings: Settings | None = None) -> FlashVsrUpscaler:
    """Make the networks of `flashvsr-test`, the same on every machine.

    Raises:
        ModelError: the dtype is not one of `info.dtypes`.
    """
    name = TEST_INFO.dtypes[0] if placement.dtype == "auto" else placement.dtype
    if name not in TEST_INFO.dtypes:
        raise ModelError(f"{TEST_INFO.name} computes in {', '.join(TEST_INFO.dtypes)}, not in {name}")
    networks = random_networks(TEST_SIZES, _TEST_SEED, torch.device(placement.device), _DTYPES[name])
    return FlashVsrUpscaler(networks, settings or Settings(), TEST_INFO, torch.device(placement.device))


def random_networks(
    sizes: Sizes, seed: int, device: torch.device, dtype: torch.dtype, rule: Rule = "causal"
) -> Networks:
    """Networks of any size with seeded random weights, which give soft pictures with a little texture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection, dit = LqProjection(sizes.dit.width, sizes.projection, rule), Dit(sizes.dit)
        decoder = TcDecoder(sizes.tcdecoder)
        prompt_MT = torch.randn(sizes.prompt_tokens, sizes.dit.text_width)
    for network in (projection, dit, decoder):
        network.to(device, dtype).eval().requires_grad_(False)
    with torch.inference_mode():
        return Networks(projection, dit, decoder, dit.constants(prompt_MT.to(device)))
