"""Every module of FlashVSR gives what the original gave, on reduced networks whose weights anyone can make again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vsr_model.color import blur, match_low_frequencies, match_statistics
from vsr_model.flashvsr.attention import choose_windows, local_mask, to_windows
from vsr_model.flashvsr.dit import Cache, Dit, DitShape, Sparsity, sinusoid
from vsr_model.flashvsr.lq_projection import History, LqProjection, Rule
from vsr_model.flashvsr.pipeline import Networks, Pipeline, Settings
from vsr_model.flashvsr.rope import rotate, rotations
from vsr_model.flashvsr.tcdecoder import Memory as TcMemory
from vsr_model.flashvsr.tcdecoder import TcDecoder, fold
from vsr_model.flashvsr.wan_vae import DEVIATION, MEAN, WanVae
from vsr_model.flashvsr.wan_vae import Memory as VaeMemory

GOLDEN = Path("/work/shared/golden/flashvsr")
Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")


def golden(name: str) -> Tensors:
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return {k: v.float() if v.is_floating_point() and v.dtype != torch.float64 else v for k, v in tensors.items()}


def weights(tensors: Tensors) -> Tensors:
    return {key.removeprefix("w."): value for key, value in tensors.items() if key.startswith("w.")}


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def enlarged(frames_THW3: torch.Tensor) -> torch.Tensor:
    """x4 bicubic by Pillow, whose rounding the golden data were made with; codes [T, 3, 4 H, 4 W]."""
    _, height, width, _ = frames_THW3.shape
    big = [Image.fromarray(frame.numpy()).resize((4 * width, 4 * height), Image.Resampling.BICUBIC) for frame in frames_THW3]
    return torch.stack([torch.from_numpy(np.array(image)) for image in big]).permute(0, 3, 1, 2).float()


def video(frames_THW3: torch.Tensor) -> torch.Tensor:
    """The recipe of the golden data: x4, cut to multiples of 128, -1..1, the last frame four times more, 8 k + 1 kept."""
    big_T3HW = enlarged(frames_THW3)
    height, width = (n // 128 * 128 for n in big_T3HW.shape[-2:])
    top, left = (big_T3HW.shape[-2] - height) // 2, (big_T3HW.shape[-1] - width) // 2
    x_3THW = (big_T3HW[..., top : top + height, left : left + width] / 255 * 2 - 1).transpose(0, 1)
    kept = (x_3THW.shape[1] + 4 - 1) // 8 * 8 + 1
    return torch.cat((x_3THW, x_3THW[:, -1:].repeat(1, 4, 1, 1)), dim=1)[:, :kept]


def test_the_recipe_of_the_inputs() -> None:
    g = golden("misc")
    assert torch.equal(enlarged(g["prep.in_u8"][None])[0].permute(1, 2, 0).byte(), g["prep.pil_x4_u8"])


def test_rotations() -> None:
    g = golden("misc")
    turn = rotations(0, 12, 1, 1, 128)
    assert apart(turn[:, :22].real, g["rope.f.cos"]) < 1e-12
    turn = rotations(0, 1, 12, 24, 128).unflatten(0, (12, 24))
    assert apart(turn[:, 0, 22:43].real, g["rope.h.cos"]) < 1e-12
    assert apart(turn[0, :, 43:].imag, g["rope.w.sin"]) < 1e-12
    x_NED = g["rope.x"][0].unflatten(-1, (2, 128))
    for first in range(12):
        if apart(rotate(x_NED, rotations(first, 2, 3, 4, 128)).flatten(1), g["rope.y_chunk2_2x3x4"][0]) < 1e-6:
            return
    pytest.fail("no time matches")


@pytest.mark.parametrize("name", ["6x11.r11", "6x11.r9", "8x10.r3", "1x2.r11"])
def test_local_masks(name: str) -> None:
    size, reach = name.split(".r")
    rows, columns = map(int, size.split("x"))
    assert torch.equal(local_mask(rows, columns, int(reach), CPU), golden("misc")[f"localmask.{name}"].bool())


@pytest.mark.parametrize("stage", ["first", "steady"])
@pytest.mark.parametrize("ratio", [2.0, 1.5])
def test_chosen_windows_at_full_size(stage: str, ratio: float) -> None:
    g = golden("misc")
    query, key = (g[f"draft.{stage}.{k}_pooled"].unflatten(-1, (2, 128)).transpose(0, 1) for k in "qk")
    chosen = choose_windows(query, key, local_mask(6, 11, 11, CPU), ratio * 768 * 1280 / (768 * 1408))
    assert torch.equal(chosen, g[f"draft.{stage}.sr{ratio}.mask"].bool())


@pytest.mark.parametrize(("version", "rule"), [("v1.1", "causal"), ("v1", "buffer")])
def test_lq_projection(version: str, rule: Rule) -> None:
    g = golden("lq_proj")
    net = LqProjection(256, (16, 24), rule)
    net.load_state_dict(weights(g))
    x_3THW = video(g["in.video_u8_lr"])
    history, tokens = History(), []
    with torch.inference_mode():
        for call, start in enumerate([0, *range(1, 41, 4)]):
            out = net(x_3THW[:, start : start + (4 if call else 1)], history)
            assert (out is None) == (call == 0)
            tokens += [] if out is None else [out]
    stride = {"v1.1": 2, "v1": 5}[version]
    assert apart(torch.cat(tokens)[None, ::stride], g[f"{version}.tokens_s{stride}"]) < 1e-6


def reduced_dit() -> tuple[Dit, Tensors]:
    g = golden("dit_weights")
    net = Dit(DitShape(width=256, heads=2, layers=3, ffn=192, text_width=64))
    net.load_state_dict(weights(g))
    return net.eval(), g


def test_dit_constants() -> None:
    net, g = reduced_dit()
    assert apart(sinusoid(256).float(), g["mid.sinusoid_1000"]) < 1e-6
    with torch.inference_mode():
        constants = net.constants(g["in.context"][0])
    assert apart(constants.time_1C, g["mid.t"]) < 1e-5
    assert apart(constants.modulation_1SC, g["mid.t_mod"]) < 1e-5
    assert apart(constants.text_keys[2], g["mid.cross_k.2"][0]) < 1e-5
    assert apart(constants.text_values[0], g["mid.cross_v.0"][0]) < 1e-5


@pytest.mark.parametrize(
    ("case", "sparsity"),
    [
        ("dense_default", Sparsity(20.0, 3, 11)),
        ("sparse_lr3", Sparsity(1.2, 3, 3)),
        ("sparse_kv1", Sparsity(0.3, 1, 11)),
    ],
)
def test_dit_stream(case: str, sparsity: Sparsity, monkeypatch: pytest.MonkeyPatch) -> None:
    net, g = reduced_dit()
    stream = golden("dit_stream")
    masks: list[torch.Tensor] = []

    def watched(*args: object) -> torch.Tensor:
        masks.append(choose_windows(*args))  # type: ignore[arg-type]
        return masks[-1]

    monkeypatch.setattr("vsr_model.flashvsr.dit.choose_windows", watched)
    cache = Cache()
    tokens_of_latent = 16 * 24
    with torch.inference_mode():
        constants = net.constants(g["in.context"][0])
        for chunk, (start, stop) in enumerate(((0, 6), (6, 8), (8, 10))):
            noise = g["in.noise"][0, :, start:stop]
            source = g["in.lq_tokens"][0, start * tokens_of_latent : stop * tokens_of_latent]
            masks.clear()
            x0 = noise - net(noise, source, start, constants, sparsity, cache)
            for layer in range(3):
                assert torch.equal(masks[layer], stream[f"{case}.c{chunk}.mask.{layer}"].bool())
            key = f"{case}.c{chunk}.x0"
            wanted = stream[key] if key in stream else stream[f"{key}_s2"]
            step = 1 if key in stream else 2
            assert apart(x0[None, ..., ::step, ::step], wanted) < 1e-5


def test_tcdecoder() -> None:
    g = golden("tcdecoder")
    net = TcDecoder((32, 16, 8, 8))
    net.load_state_dict(weights(g))
    x_3THW = video(g["in.video_u8_lr"])
    folded = fold(x_3THW[:, :21])[:, ::101]
    assert apart(folded[None], g["mid.cond_shuffled_first21_chan_s101"]) == 0.0
    memory, frames = TcMemory(), []
    with torch.inference_mode():
        for latents, source in (((0, 6), (0, 21)), ((6, 8), (21, 29)), ((8, 10), (29, 37))):
            frames.append(net(g["in.latents"][0, :, slice(*latents)], x_3THW[:, slice(*source)], memory))
    raw = (torch.cat(frames, dim=1) + 1) / 2
    assert apart(raw.transpose(0, 1)[None, ..., ::4, ::4], g["out.frames_s4"]) < 1e-6
    assert apart(raw[None, :, 21], g["out.frame21"]) < 1e-6


@pytest.mark.parametrize("pieces", [(4,), (1, 1, 2), (2, 2)])
def test_wan_vae(pieces: tuple[int, ...]) -> None:
    g = golden("wan_vae")
    assert torch.allclose(torch.tensor(MEAN), g["const.mean"])
    assert torch.allclose(torch.tensor(DEVIATION), g["const.std"])
    net = WanVae(8)
    net.load_state_dict(weights(g))
    memory, frames = VaeMemory(), []
    with torch.inference_mode():
        for piece in g["in.latents"][0].split(pieces, dim=1):
            frames.append(net(piece, memory))
    out = torch.cat(frames, dim=1).clamp(-1, 1)
    assert apart(out[None, ..., ::2, ::2], g["out.frames"]) < 1e-5
    assert apart(out[None, :, 5], g["out.frame_full_t5"]) < 1e-5


def test_colour_fix() -> None:
    g = golden("color_fix")
    result, source = (g[f"in.{k}"][0].transpose(0, 1) for k in ("hq", "lq"))
    assert apart(blur(result, 1), g["mid.hq_blur_r1"]) < 1e-6
    assert apart(match_statistics(result, source).transpose(0, 1)[None], g["out.adain"]) < 1e-6
    assert apart(match_low_frequencies(result, source).transpose(0, 1)[None], g["out.wavelet"]) < 1e-6


@pytest.mark.parametrize(
    ("case", "rule", "settings", "stride"),
    [
        ("tiny_v1.1", "causal", {"sparse_ratio": 2.0}, 4),
        ("tiny_v1.1_nocolor", "causal", {"color_fix": "none"}, 8),
        ("tiny_v1", "buffer", {}, 8),
        ("full_v1.1", "causal", {}, 8),
        ("tiny_v1.1_sparse", "causal", {"sparse_ratio": 0.05}, 8),
    ],
)
def test_end_to_end(case: str, rule: Rule, settings: dict[str, object], stride: int) -> None:
    """40 frames, pushed in uneven pieces, with the noise the original drew; it loses the last three, which we keep."""
    g = golden("e2e")
    dit, dit_golden = reduced_dit()
    projection = LqProjection(256, (16, 24), rule)
    projection.load_state_dict(weights(golden("lq_proj")))
    decoder: TcDecoder | WanVae = TcDecoder((32, 16, 8, 8))
    if case.startswith("full"):
        decoder = WanVae(8)
    decoder.load_state_dict(weights(golden("wan_vae" if case.startswith("full") else "tcdecoder")))
    with torch.inference_mode():
        networks = Networks(projection, dit, decoder, dit.constants(dit_golden["in.context"][0]))
    chosen = Settings(**({"sparse_ratio": 2.0, "color_fix": "adain"} | settings))  # type: ignore[arg-type]
    x_3THW = video(g["in.video_u8_lr"])
    assert torch.equal(x_3THW[:, 0], enlarged(g["in.video_u8_lr"][:1])[0, :, 8:136, 4:260] / 255 * 2 - 1)
    noise_CtHW = g["in.noise"][0].repeat(1, 2, 1, 1)  # the original stops after 10 latents
    pipeline = Pipeline(networks, chosen, 128, 256, lambda first, count: noise_CtHW[:, first : first + count])
    parts = [pipeline.push(piece) for piece in x_3THW[:, :40].split((1, 6, 23, 10), dim=1)]
    last = pipeline.finish()
    assert last is not None
    frames_3THW = torch.cat([*parts, last], dim=1)
    assert frames_3THW.shape == (3, 40, 128, 256)
    assert apart(frames_3THW[:, :37, ::stride, ::stride], g[f"{case}.frames_s{stride}"]) < 5e-5
