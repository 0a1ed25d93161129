"""Every module of FlashVSR gives what the original gave, on reduced networks whose weights anyone can make again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from tests.flashvsr_golden import draw, fill, golden
from vsr_model.color import blur, match_low_frequencies, match_statistics
from vsr_model.flashvsr.attention import choose_windows, local_mask
from vsr_model.flashvsr.dit import Cache, Dit, DitShape, Sparsity, sinusoid
from vsr_model.flashvsr.lq_projection import History, LqProjection, Rule
from vsr_model.flashvsr.pipeline import Networks, Pipeline, Settings
from vsr_model.flashvsr.rope import as_real, rotate, rotations
from vsr_model.flashvsr.tcdecoder import CONDITION_CHANNELS, TcDecoder, fold
from vsr_model.flashvsr.tcdecoder import Memory as TcMemory
from vsr_model.flashvsr.upscaler import enlarge
from vsr_model.flashvsr.wan_encoder import WanEncoder
from vsr_model.flashvsr.wan_layers import DEVIATION, MEAN
from vsr_model.flashvsr.wan_layers import Memory as VaeMemory
from vsr_model.flashvsr.wan_tiles import Memories, Tiling, decode_tiled
from vsr_model.flashvsr.wan_vae import WanVae

Tensors = dict[str, torch.Tensor]
CPU = torch.device("cpu")


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def assert_agrees(
    make: Callable[[torch.dtype], torch.Tensor], wanted: torch.Tensor, tolerance: float, own_rounding: float
) -> None:
    """What is made in float32 is within the tolerance of the golden data, or in float64 within these data's rounding.

    A processor's instructions decide in what order the thousands of products of a convolution are added. Where that is
    the order of the machine that made the golden data, float32 gives their bits; elsewhere it rounds otherwise, by more
    than the tolerance, and it is the function itself that is held to them. How far they are from it by their own
    rounding was measured with it.
    """
    if apart(make(torch.float32), wanted) >= tolerance:
        assert apart(make(torch.float64), wanted.double()) < own_rounding


def enlarged(frames_THW3: torch.Tensor) -> torch.Tensor:
    """x4 bicubic by Pillow, whose rounding the golden data were made with; codes [T, 3, 4 H, 4 W]."""
    _, height, width, _ = frames_THW3.shape
    big = [
        Image.fromarray(frame.numpy()).resize((4 * width, 4 * height), Image.Resampling.BICUBIC)
        for frame in frames_THW3
    ]
    return torch.stack([torch.from_numpy(np.array(image)) for image in big]).permute(0, 3, 1, 2).float()


def video(frames_THW3: torch.Tensor) -> torch.Tensor:
    """The golden data's recipe: x4, cut to multiples of 128, the last frame four times more, 8 k + 1 of them kept."""
    big_T3HW = enlarged(frames_THW3)
    height, width = (n // 128 * 128 for n in big_T3HW.shape[-2:])
    top, left = (big_T3HW.shape[-2] - height) // 2, (big_T3HW.shape[-1] - width) // 2
    x_3THW = (big_T3HW[..., top : top + height, left : left + width] / 255 * 2 - 1).transpose(0, 1)
    kept = (x_3THW.shape[1] + 4 - 1) // 8 * 8 + 1
    return torch.cat((x_3THW, x_3THW[:, -1:].repeat(1, 4, 1, 1)), dim=1)[:, :kept]


def test_rotations() -> None:
    g = golden("misc")
    turn = rotations(0, 12, 1, 1, 128)
    assert apart(turn[:, :22].real, g["rope.f.cos"]) < 1e-12
    turn = rotations(0, 1, 12, 24, 128).unflatten(0, (12, 24))
    assert apart(turn[:, 0, 22:43].real, g["rope.h.cos"]) < 1e-12
    assert apart(turn[0, :, 43:].imag, g["rope.w.sin"]) < 1e-12
    x_NED = g["rope.x"][0].unflatten(-1, (2, 128))
    assert apart(rotate(x_NED, as_real(rotations(8, 2, 3, 4, 128))).flatten(1), g["rope.y_chunk2_2x3x4"][0]) < 1e-6


def test_enlargement() -> None:
    """Pillow's, in codes. It rounds to 8 bits after the columns and again after the rows, so that is done here too.

    At the border it leaves out what a kernel finds beyond; we repeat the edge, which is up to three codes off.
    """
    g = golden("misc")
    code_13HW = g["prep.in_u8"].permute(2, 0, 1)[None].float()
    for size in ((12, 80), (48, 80)):
        code_13HW = ((enlarge(code_13HW / 255, *size) + 1) / 2 * 255).round()
    error_13HW = (code_13HW - g["prep.pil_x4_u8"].permute(2, 0, 1)[None]).abs()
    inside = error_13HW[..., 8:-8, 8:-8]  # where the kernel's two pixels to either side are there
    assert float(inside.max()) <= 1  # where a value lies between two codes
    assert float(inside.mean()) < 1e-3
    assert float(error_13HW.max()) <= 3


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
    key_SEnD = key.unflatten(1, (-1, 6 * 11)).transpose(0, 1)
    slabs, near = torch.arange(len(key_SEnD), dtype=torch.int32), local_mask(6, 11, 11, CPU)
    chosen = choose_windows(query, key_SEnD, slabs, near, ratio * 768 * 1280 / (768 * 1408))
    assert torch.equal(chosen, g[f"draft.{stage}.sr{ratio}.mask"].bool())


def lq_tokens(projection: LqProjection, file: str, name: str, starts: Sequence[int]) -> torch.Tensor:
    """The tokens of a golden clip that is pushed in pieces, [N, C]; the first one gives none."""
    history, tokens = History(), []
    x_3THW = video(golden(file)[name]).to(next(projection.parameters()).dtype)
    with torch.inference_mode():
        for call, piece in enumerate(pairwise(starts)):
            out = projection(x_3THW[:, slice(*piece)], history)
            assert (out is None) == (call == 0)
            tokens += [] if out is None else [out]
    return torch.cat(tokens)


@pytest.mark.parametrize(("version", "rule"), [("v1.1", "causal"), ("v1", "buffer")])
def test_lq_projection(version: str, rule: Rule) -> None:
    stride = {"v1.1": 4, "v1": 5}[version]

    def tokens(dtype: torch.dtype) -> torch.Tensor:
        projection = fill(LqProjection(256, (16, 24), rule), "lq").to(dtype)
        return lq_tokens(projection, "lq_proj", "in.video_u8_lr", [0, *range(1, 42, 4)])[None, ::stride]

    assert_agrees(tokens, golden("lq_proj")[f"{version}.tokens_s{stride}"], 1e-6, 4e-6)


def reduced_dit() -> tuple[Dit, Tensors]:
    return fill(Dit(DitShape(width=256, heads=2, layers=3, ffn=192, text_width=64)), "dit"), golden("dit_weights")


def watch_masks(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The windows that every layer chooses from now on."""
    masks: list[torch.Tensor] = []

    def watched(*args: object) -> torch.Tensor:
        masks.append(choose_windows(*args))  # type: ignore[arg-type]
        return masks[-1]

    monkeypatch.setattr("vsr_model.flashvsr.dit.choose_windows", watched)
    return masks


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
    stream, masks = golden("dit_stream"), watch_masks(monkeypatch)
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
            kept = max(sparsity.kv_slabs, 2)
            assert len(cache.pool[0]) == 3 * kept + 1  # what falls out of the cache holds no memory
            slabs = sorted([slab for held in cache.held for slab in held] + cache.free)
            assert slabs == list(range(3 * kept + 1))  # each is held once or free


def test_tcdecoder() -> None:
    g = golden("tcdecoder")
    x_3THW = video(g["in.video_u8_lr"])
    folded = x_3THW.new_empty((6, CONDITION_CHANNELS, x_3THW.shape[2] // 8, x_3THW.shape[3] // 8))
    fold(x_3THW[:, :21], folded)
    assert apart(folded[None, :, ::101], g["mid.cond_shuffled_first21_chan_s101"]) == 0.0

    def decoded(dtype: torch.dtype) -> torch.Tensor:
        net, memory, frames = fill(TcDecoder((32, 16, 8, 8)), "tcd").to(dtype), TcMemory(), []
        with torch.inference_mode():
            for latents, source in (((0, 6), (0, 21)), ((6, 8), (21, 29)), ((8, 10), (29, 37))):
                piece = g["in.latents"][0, :, slice(*latents)].to(dtype)
                frames.append(net(piece, x_3THW[:, slice(*source)].to(dtype), memory))
        return ((torch.cat(frames, dim=1) + 1) / 2).transpose(0, 1)[None, ..., ::4, ::4]

    assert_agrees(decoded, g["out.frames_s4"], 1e-6, 1e-6)


@pytest.mark.parametrize("pieces", [(4,), (1, 1, 2), (2, 2)])
def test_wan_vae(pieces: tuple[int, ...]) -> None:
    g = golden("wan_vae")
    assert torch.allclose(torch.tensor(MEAN), g["const.mean"])
    assert torch.allclose(torch.tensor(DEVIATION), g["const.std"])
    net = fill(WanVae(8), "vae")
    memory, frames = VaeMemory(), []
    with torch.inference_mode():
        for piece in g["in.latents"][0].split(pieces, dim=1):
            frames.append(net(piece, memory))
    out = torch.cat(frames, dim=1).clamp(-1, 1)
    assert apart(out[None, ..., ::2, ::2], g["out.frames"]) < 1e-5
    assert apart(out[None, :, 5], g["out.frame_full_t5"]) < 1e-5
    for kept in memory.last:  # what a memory was cut from is not held with it
        assert kept.untyped_storage().nbytes() == kept.numel() * kept.element_size()


@pytest.mark.parametrize("pieces", [(4,), (1, 1, 2)])
def test_wan_vae_in_tiles(pieces: tuple[int, ...]) -> None:
    """The original decodes the whole clip of each tile; latent by latent it is the same."""
    g = golden("wan_vae")
    net, memories, frames = fill(WanVae(8), "vae"), Memories(), []
    with torch.inference_mode():
        for piece in g["in.latents"][0].split(pieces, dim=1):
            frames.append(decode_tiled(net, piece, Tiling((8, 10), (5, 6)), memories))
    out = torch.cat(frames, dim=1).clamp(-1, 1)
    assert apart(out[None, :, ::3, ::2, ::2], g["out.tiled_8x10_5x6"]) < 1e-5


@pytest.mark.parametrize("pieces", [(13,), (1, 4, 4, 4), (1, 8, 4), (5, 8)])
def test_wan_encoder(pieces: tuple[int, ...]) -> None:
    net = fill(WanEncoder(8), "vae")
    frames_3THW = draw("vae.enc.in", (1, 3, 13, 48, 80), 0.5).clamp(-1, 1)[0]
    memory = VaeMemory()
    with torch.inference_mode():
        latents = torch.cat([net(piece, memory) for piece in frames_3THW.split(pieces, dim=1)], dim=1)
    assert apart(latents[None], golden("wan_encoder")["out.latents"]) < 1e-5


def test_colour_fix() -> None:
    g = golden("color_fix")
    result, source = (g[f"in.{k}"][0].transpose(0, 1) for k in ("hq", "lq"))
    assert apart(blur(result, 1), g["mid.hq_blur_r1"]) < 1e-6
    assert apart(match_statistics(result, source).transpose(0, 1)[None], g["out.adain"]) < 1e-6
    assert apart(match_low_frequencies(result, source).transpose(0, 1)[None], g["out.wavelet"]) < 1e-6


@pytest.mark.parametrize(
    ("case", "rule", "settings"),
    [
        ("tiny_v1.1", "causal", {}),
        ("tiny_v1.1_nocolor", "causal", {"color_fix": "none"}),
        ("tiny_v1", "buffer", {}),
        ("full_v1.1", "causal", {}),
        ("tiny_v1.1_sparse", "causal", {"sparse_ratio": 0.05}),
    ],
)
def test_end_to_end(case: str, rule: Rule, settings: dict[str, object]) -> None:
    """40 frames, pushed in uneven pieces, with the noise the original drew; it loses the last three, which we keep."""
    g = golden("e2e")
    dit, dit_golden = reduced_dit()
    projection = fill(LqProjection(256, (16, 24), rule), "lq")
    decoder = fill(WanVae(8), "vae") if case.startswith("full") else fill(TcDecoder((32, 16, 8, 8)), "tcd")
    with torch.inference_mode():
        networks = Networks(projection, dit, decoder, dit.constants(dit_golden["in.context"][0]))
    chosen = Settings(**({"sparse_ratio": 2.0, "color_fix": "adain"} | settings))  # type: ignore[arg-type]
    x_3THW = video(g["in.video_u8_lr"])
    noise_CtHW = g["in.noise"][0].repeat(1, 2, 1, 1)  # the original stops after 10 latents
    pipeline = Pipeline(networks, chosen, 128, 256, lambda first, count: noise_CtHW[:, first : first + count])
    parts = [pipeline.push(piece) for piece in x_3THW[:, :40].split((1, 6, 23, 10), dim=1)]
    last = pipeline.finish()
    assert last is not None
    frames_3THW = torch.cat([*parts, last], dim=1)
    assert frames_3THW.shape == (3, 40, 128, 256)
    assert apart(frames_3THW[:, :37, ::8, ::8], g[f"{case}.frames_s8"]) < 5e-5


def field(name: str, frames: int, height: int, width: int, channels: int) -> torch.Tensor:
    """Source tokens of the recipe: a smooth field with some noise, [N, channels]."""
    coarse = (1, channels, max(2, frames // 2), max(2, height // 6), max(2, width // 6))
    base = torch.nn.functional.interpolate(
        draw(f"{name}.base", coarse, 1.5), size=(frames, height, width), mode="trilinear", align_corners=False
    )
    grain = draw(f"{name}.noise", (1, channels, frames, height, width), 0.5)
    return (base + grain)[0].flatten(1).T.bfloat16().float()


@pytest.mark.slow
def test_real_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sizes, one layer of the transformer; weights of the recipe, 1.6 GB of them."""
    g = golden("real_width")
    x_3THW = video(g["lq.in.video_u8_lr"])
    for version, rule in (("v1", "buffer"), ("v1.1", "causal")):

        def tokens(dtype: torch.dtype, rule: Rule = rule) -> torch.Tensor:  # type: ignore[assignment]
            projection = fill(LqProjection(rule=rule), "real.lq").to(dtype)
            return lq_tokens(projection, "real_width", "lq.in.video_u8_lr", (0, 1, 5, 9))[None, :, ::3]

        assert_agrees(tokens, g[f"lq.{version}.tokens_s3"], 1e-6, 4e-6)

    dit = fill(Dit(DitShape(layers=1)), "real.dit")
    constants = dit.constants(draw("real.ctx", (1, 512, 4096), 0.5)[0])
    assert apart(constants.modulation_1SC[:, :, ::7], g["dit.t_mod_s7"]) < 1e-5
    noise, source = draw("real.noise", (1, 16, 8, 32, 32))[0], field("real.lqtok", 8, 16, 16, 1536)
    assert apart(source.flatten()[::997], g["dit.lq_tokens_check_s997"]) == 0.0
    cache, masks = Cache(), watch_masks(monkeypatch)
    for chunk, (start, stop) in enumerate(((0, 6), (6, 8))):
        tokens_NC = source[start * 256 : stop * 256]
        x0 = noise[:, start:stop] - dit(noise[:, start:stop], tokens_NC, start, constants, Sparsity(1.7), cache)
        assert torch.equal(masks[chunk], g[f"dit.c{chunk}.mask"].bool())
        assert apart(x0[None], g[f"dit.c{chunk}.x0"]) < 1e-5
    del dit

    def decoded(dtype: torch.dtype) -> torch.Tensor:
        latents = draw("real.tcd.lat", (1, 16, 2, 16, 16))[0].to(dtype)
        frames_3THW = fill(TcDecoder(), "real.tcd").to(dtype)(latents, x_3THW[:, :5].to(dtype), TcMemory())
        return (frames_3THW.transpose(0, 1)[None, ..., ::2, ::2] + 1) / 2

    assert_agrees(decoded, g["tcd.frames_s2"], 1e-6, 1e-6)
    frames_3THW = fill(WanVae(), "real.vae")(draw("real.vae.z", (1, 16, 2, 6, 6))[0], VaeMemory())
    assert apart(frames_3THW[None].clamp(-1, 1), g["vae.frames"]) < 1e-5
    frames_3THW = draw("real.vae.enc.in", (1, 3, 5, 32, 48), 0.5).clamp(-1, 1)[0]
    assert apart(fill(WanEncoder(), "real.vae")(frames_3THW, VaeMemory())[None], g["vae_encoder.latents"]) < 1e-5
