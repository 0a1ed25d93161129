"""`python -m tests.benchmarks.flashvsr_fp8 OUT`: what products in fp8 would give FlashVSR's transformer, and cost it.

An experiment; the product has none of it. The linear layers of all blocks, or those of the feed-forward alone,
multiply e4m3 by e4m3: each token and each output channel with a scale of its own, sums in float32, results in the
network's own type. Prints and writes (`fp8.json` in OUT) the time of a chunk and of the transformer in it, and how like
all are to the network as it is, on a picture that moves. Weights are random, and of what the transformer makes of those
hardly anything shows: a likeness that counts needs trained ones.

The kernel is held against torch first. With `--device cpu` there are none, and products are those of float32 of the
same rounded numbers: that proves this script, and its times mean nothing.

Shape suffixes: N tokens, C width in, O width out, T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import nn

from vsr_model.contract import Placement, Upscaler
from vsr_model.flashvsr import fused, fused_triton
from vsr_model.flashvsr.dit import Attention, Block
from vsr_model.flashvsr.models import load_random
from vsr_model.measure import CHUNK, measure
from vsr_model.trial import agree

SCALE, LARGEST = 4, 448.0  # the largest number of e4m3
KINDS = ("as it is", "as it is, again", "feed-forward", "all products")


@triton.jit
def _quantise(x, out, scale, largest, C: tl.constexpr, B: tl.constexpr, GELU: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, B)
    here = column < C
    value = tl.load(x + row * C + column, mask=here, other=0.0).to(tl.float32)
    if GELU:  # its tanh form, as 1 / (1 + exp(-2 z))
        z = 0.7978845608028654 * (value + 0.044715 * value * value * value)
        value = value / (1.0 + tl.exp(-2.0 * tl.maximum(z, -40.0)))
    step = tl.maximum(tl.max(tl.abs(value), 0), 1e-12) / largest
    tl.store(scale + row, step)
    tl.store(out + row * C + column, (value / step).to(out.dtype.element_ty), mask=here)


def plainly_quantised(x_NC: torch.Tensor, gelu: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in e4m3, after GELU if asked, and what each is to be multiplied by, [N, 1] float32."""
    value_NC = F.gelu(x_NC.float(), approximate="tanh") if gelu else x_NC.float()
    scale_N1 = value_NC.abs().amax(1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (value_NC / scale_N1).to(torch.float8_e4m3fn), scale_N1


def quantised(x_NC: torch.Tensor, gelu: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in one pass over memory, where there is a GPU."""
    if not x_NC.is_cuda:  # Triton's interpreter cuts off where it should round
        return plainly_quantised(x_NC, gelu)
    out_NC = torch.empty_like(x_NC, dtype=torch.float8_e4m3fn)
    scale_N1 = torch.empty((len(x_NC), 1), device=x_NC.device)
    width = x_NC.shape[1]
    block = triton.next_power_of_2(width)
    warps = 8 if block > 4096 else 4
    _quantise[(len(x_NC),)](x_NC, out_NC, scale_N1, LARGEST, C=width, B=block, GELU=gelu, num_warps=warps)
    return out_NC, scale_N1


class Fp8Linear(nn.Linear):
    """A linear layer that multiplies in fp8; `gelu`: of its input's GELU."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias, self.gelu = linear.weight, linear.bias, gelu
        held_OC, scale_O1 = quantised(linear.weight.detach().contiguous())
        self.held_OC, self.scale_1O = held_OC, scale_O1.T.contiguous()

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        """[N, O], in the type of what goes in."""
        held_NC, scale_N1 = quantised(x_NC.contiguous(), self.gelu)
        if x_NC.is_cuda:
            return torch._scaled_mm(
                held_NC, self.held_OC.T, scale_a=scale_N1, scale_b=self.scale_1O, bias=self.bias, out_dtype=x_NC.dtype,
                use_fast_accum=True,
            )  # fmt: skip
        product_NO = (held_NC.float() @ self.held_OC.float().T) * scale_N1 * self.scale_1O
        return (product_NO + self.bias.float()).to(x_NC.dtype)


@contextmanager
def without_gelu() -> Iterator[None]:
    """For as long as it lasts the feed-forward's first product is a plain one: the second applies GELU as it rounds."""
    kinds: list[Any] = [fused.Plain, fused_triton.Fused]
    usual = [kind.linear_gelu for kind in kinds]
    try:
        for kind in kinds:
            kind.linear_gelu = lambda self, linear, x_NC: linear(x_NC)
        yield
    finally:
        for kind, own in zip(kinds, usual, strict=True):
            kind.linear_gelu = own


def convert(blocks: list[Block], kind: str) -> None:
    """Put fp8 in the place of the linear layers of a kind."""
    for block in blocks:
        wide, bend, back = block.ffn
        assert isinstance(wide, nn.Linear) and isinstance(back, nn.Linear)
        block.ffn = nn.Sequential(Fp8Linear(wide), bend, Fp8Linear(back, gelu=True))
        attentions: list[Attention] = [block.self_attn, block.cross_attn] if kind != "feed-forward" else []
        for attention in attentions:
            for name in ("q", "k", "v", "o"):
                if attention is block.self_attn or name in "qo":  # the prompt's keys and values never change
                    setattr(attention, name, Fp8Linear(getattr(attention, name)))


def check(device: torch.device) -> None:
    """Hold the kernel against torch.

    Raises:
        ArithmeticError: they differ by more than a few roundings to the other neighbour.
    """
    for width in (1536, 8960):
        x_NC = torch.randn((300, width), device=device).mul_(3).to(torch.bfloat16)
        for gelu in (False, True):
            (ours, scale_N1), (theirs, wanted_N1) = quantised(x_NC, gelu), plainly_quantised(x_NC, gelu)
            agree("a scale", scale_N1, wanted_N1, torch.float32)
            # Beside 1 numbers are an eighth apart, and below the smallest normal one as far as there.
            apart_NC = (ours.float() - theirs.float()).abs() / theirs.float().abs().clamp(min=2**-6)
            if apart_NC.max() > 0.126 or (apart_NC > 0).float().mean() > 0.01:
                raise ArithmeticError("the kernel rounds otherwise than torch")


def moving(height: int, width: int, frames: int, device: torch.device) -> torch.Tensor:
    """[T, 3, H, W]: soft and sharp shapes in colour that move by a pixel and a half a frame."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    made = []
    for number in range(frames):
        at = x + 1.5 * number
        waves = [torch.sin(at / (5 + 3 * c) + y / (9 - 2 * c)) for c in range(3)]
        edges = ((at // 24 + y // 17) % 2) * 0.3
        made.append(torch.stack([0.35 + 0.2 * wave + edges for wave in waves]).clamp(0, 1))
    return torch.stack(made).to(device)


@torch.inference_mode()
def made_of(upscaler: Upscaler, source_T3HW: torch.Tensor) -> torch.Tensor:
    """All finished frames of a stream over these."""
    stream = upscaler.stream(*source_T3HW.shape[2:], SCALE)
    out = [stream.push(part_T3HW) for part_T3HW in source_T3HW.split(CHUNK)]
    return torch.cat([*out, stream.finish()]).float()


def main(words: list[str] | None = None) -> None:
    """Measure each kind, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="192x352", help="rows and columns of a source frame")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="flashvsr-v1.1")
    arguments = parser.parse_args(words)
    height, width = map(int, arguments.size.split("x"))
    device = torch.device(arguments.device)
    source_T3HW = moving(height, width, 4 * CHUNK, device)
    if device.type == "cuda":
        check(device)
    found: list[dict[str, Any]] = []
    wanted_T3HW: torch.Tensor | None = None
    for kind in KINDS:
        upscaler = load_random(arguments.model, Placement(arguments.device))
        with ExitStack() as stack:
            if kind not in KINDS[:2]:
                convert([each for each in upscaler.parts()["dit"].modules() if isinstance(each, Block)], kind)
                stack.enter_context(without_gelu())
            made_T3HW = made_of(upscaler, source_T3HW)
            whole = measure(upscaler, height, width, SCALE, arguments.chunks)
        wanted_T3HW = made_T3HW if wanted_T3HW is None else wanted_T3HW
        error = F.mse_loss(made_T3HW, wanted_T3HW).item()
        likeness = -10 * math.log10(error) if error else None
        print(f"{kind:<26} {whole.fps:8.2f} FPS {likeness or math.inf:8.2f} dB  {whole.milliseconds}", flush=True)
        found.append({"kind": kind, "likeness": likeness} | asdict(whole))
        del upscaler
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "fp8.json").write_text(json.dumps({"models": found}, indent=1))


if __name__ == "__main__":
    main()
