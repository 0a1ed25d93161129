"""`python -m tests.benchmarks.flashvsr_gpu OUT`: FlashVSR's pieces and the whole of it on one GPU, checked, then timed.

One call of a few minutes builds everything; holds each fast piece against the exact one on fresh random inputs and ends
if they differ; times every variant of it (medians of replays after warming up); prints a table, and writes
`flashvsr.json` into OUT. Work: 192x352 to 768x1408, bfloat16, the published settings, random weights; `--sizes` adds
others. With `--device cpu` kernels run in Triton's interpreter, if TRITON_INTERPRET=1: that proves this script, and its
times mean nothing.

Shape suffixes: E heads, W windows, n windows of a slab, S slabs, L tokens of a window, D head width, C width, N tokens,
P pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.contract import Placement
from vsr_model.flashvsr import attention, fused
from vsr_model.flashvsr.attention import WINDOW, WINDOW_TOKENS, Attend, choose_windows, exact_attention, local_mask
from vsr_model.flashvsr.fused import Steps, Turned
from vsr_model.flashvsr.models import load_random
from vsr_model.flashvsr.pipeline import LATENTS, Settings
from vsr_model.flashvsr.seen import Seen
from vsr_model.measure import measure
from vsr_model.trial import agree

SCALE, HEADS, HEAD_WIDTH, FFN = 4, 12, 128, 8960
TOKEN_PIXELS = 16  # of the result a token is wide
CHECKED = 2  # heads: the exact attention is slow
DTYPES = {"cuda": torch.bfloat16, "cpu": torch.float32}


@dataclass(frozen=True)
class Row:
    """A line of the table; `tflops` where the operations are known."""

    size: str
    what: str
    ms: float
    tflops: float | None = None


@dataclass(frozen=True)
class Layer:
    """What one layer of the transformer works on in a steady chunk, which is one slab."""

    query_EWLD: torch.Tensor
    seen: Seen
    query_EWD: torch.Tensor
    means_SEnD: torch.Tensor
    near_nn: torch.Tensor
    keep_ratio: float

    def choose(self, steps: Steps) -> torch.Tensor:
        """Key windows for each query window."""
        return choose_windows(
            self.query_EWD, self.means_SEnD, self.seen.slabs_s, self.near_nn, self.keep_ratio, steps.shares,
            steps.above_kth,
        )  # fmt: skip


def drawn(*shape: int, device: torch.device) -> torch.Tensor:
    """Fresh noise in the type that a device is timed in."""
    return torch.randn(shape, device=device).to(DTYPES[device.type])


def layer(height: int, width: int, device: torch.device) -> Layer:
    """Of a source frame of that size."""
    rows, columns = (side * SCALE // TOKEN_PIXELS // WINDOW[1] for side in (height, width))
    sparsity = Settings().sparsity(height * SCALE, width * SCALE)
    slabs = sparsity.kv_slabs + LATENTS // WINDOW[0]
    size = (HEADS, rows * columns, WINDOW_TOKENS, HEAD_WIDTH)
    keys_SEnLD, values_SEnLD = (drawn(slabs, *size, device=device) for _ in range(2))
    query_EWLD = drawn(*size, device=device)
    return Layer(
        query_EWLD, Seen(keys_SEnLD, values_SEnLD, torch.arange(slabs, dtype=torch.int32, device=device)),
        query_EWLD.mean(2), keys_SEnLD.mean(3),
        local_mask(rows, columns, sparsity.local_range, device), sparsity.keep_ratio,
    )  # fmt: skip


def kernels(device: torch.device) -> dict[str, Attend]:
    """The sparse attentions that a device has."""
    found = {"attention, Triton's": attention._for_any()}
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9:
        found["attention, Hopper's own"] = attention._for_hopper()
    return found


def time_attention(size: str, of: Layer, steps: Steps, repeats: int) -> list[Row]:
    """The sparse attention by kernel and, over the same keys, dense by torch."""
    device, chosen_EWW = of.query_EWLD.device, of.choose(steps)
    few, fewer = slice(0, CHECKED), [x[:, :CHECKED].contiguous() for x in (of.seen.keys_SEnLD, of.seen.values_SEnLD)]
    query_EWLD = of.query_EWLD[few].contiguous()
    exactly = Seen(fewer[0].float(), fewer[1].float(), of.seen.slabs_s)
    wanted_EWLD = exact_attention(query_EWLD.float(), exactly, chosen_EWW[few])
    operations = 4.0 * float(chosen_EWW.sum()) * WINDOW_TOKENS**2 * HEAD_WIDTH
    rows = []
    for what, attend in kernels(device).items():
        found_EWLD = attend(query_EWLD, Seen(fewer[0], fewer[1], of.seen.slabs_s), chosen_EWW[few].contiguous())
        agree(what, found_EWLD, wanted_EWLD, query_EWLD.dtype)
        ms = milliseconds(partial(attend, of.query_EWLD, of.seen, chosen_EWW), device, repeats)
        rows.append(Row(size, what, ms, operations / ms / 1e9))
    q, k, v = (x.flatten(1, 2)[None] for x in (of.query_EWLD, *of.seen.gathered()))
    ms = milliseconds(lambda: F.scaled_dot_product_attention(q, k, v), device, repeats)
    return [*rows, Row(size, "attention, dense", ms, 4.0 * q.shape[2] * k.shape[2] * HEAD_WIDTH * HEADS / ms / 1e9)]


def time_steps(size: str, of: Layer, kinds: dict[str, Steps], repeats: int) -> list[Row]:
    """What happens between a layer's products, fused and plain."""
    device, width, tokens = of.query_EWLD.device, HEADS * HEAD_WIDTH, of.query_EWLD[0, ..., 0].numel()
    x_NC, y_NC, key_NC, value_NC = (drawn(tokens, width, device=device) for _ in range(4))
    gate_1C, weight_C, bias_C = (drawn(1, width, device=device) for _ in range(3))
    turn_NP2 = torch.rand((tokens, HEAD_WIDTH // 2, 2), device=device)
    to = Turned(weight_C[0], weight_C[0], turn_NP2, of.seen.keys_SEnLD[0], of.seen.values_SEnLD[0], of.means_SEnD[0])
    wide = nn.Linear(width, FFN, device=device, dtype=x_NC.dtype)
    rows = []
    for kind, steps in kinds.items():
        runs: dict[str, Callable[[], object]] = {
            "add and norm": partial(steps.add_norm, x_NC, y_NC, gate_1C, weight_C, bias_C),
            "norm, turn, windows": partial(steps.windows, y_NC, key_NC, value_NC, to),
            "linear and GELU": partial(steps.linear_gelu, wide, y_NC),
            "choice of windows": partial(of.choose, steps),
        }
        rows += [Row(size, f"{what}, {kind}", milliseconds(run, device, repeats)) for what, run in runs.items()]
    return rows


@torch.no_grad()
def time_pieces(size: str, device: torch.device, repeats: int = 20) -> list[Row]:
    """Every piece of one layer at a size, checked.

    Raises:
        ArithmeticError: a fast one does not compute what the exact one does.
    """
    from vsr_model.flashvsr.fused_triton import Fused

    kinds: dict[str, Steps] = {"fused": Fused(), "plain": fused.Plain()}
    fused.check(kinds["fused"], kinds["plain"], device, DTYPES[device.type], HEADS * HEAD_WIDTH, HEADS)
    height, width = map(int, size.split("x"))
    of = layer(height, width, device)
    return time_attention(size, of, kinds["fused"], repeats) + time_steps(size, of, kinds, repeats)


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call on the device."""
    for _ in range(min(3, repeats)):
        run()
    taken = []
    for _ in range(repeats):
        if device.type == "cpu":
            start = time.perf_counter()
            run()
            taken.append(1e3 * (time.perf_counter() - start))
            continue
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        run()
        ended.record()
        ended.synchronize()
        taken.append(began.elapsed_time(ended))
    return statistics.median(taken)


def line(row: Row) -> str:
    """As it stands in the table."""
    return f"{row.size:>9}  {row.what:<28} {row.ms:10.3f} ms" + (f" {row.tflops:8.1f} TFLOPS" if row.tflops else "")


def main(words: list[str] | None = None) -> None:
    """Check, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["192x352"], help="rows and columns of a source frame")
    parser.add_argument("--models", nargs="*", default=["flashvsr-v1.1"])
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--device", choices=list(DTYPES), default="cuda")
    arguments = parser.parse_args(words)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "pieces": [], "models": []}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for size in arguments.sizes:
        rows = time_pieces(size, device, repeats=20 if device.type == "cuda" else 1)
        print("\n".join(map(line, rows)), flush=True)
        found["pieces"] += [asdict(row) for row in rows]
        for model in arguments.models:
            upscaler = load_random(model, Placement(str(device)))
            height, width = map(int, size.split("x"))
            whole = measure(upscaler, height, width, SCALE, arguments.chunks)
            print(f"{size:>9}  {model:<28} {whole.milliseconds['all']:10.3f} ms {whole.fps:8.2f} FPS", flush=True)
            found["models"].append(asdict(whole))
            del upscaler
            torch.cuda.empty_cache()
        # After each size: what a call that is cut short has measured is there.
        (arguments.out / "flashvsr.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
