"""`python -m tests.benchmarks.flashvsr_gpu OUT`: FlashVSR's pieces and the whole of it on one GPU, checked, then timed.

One call builds everything, holds each fast piece against the exact one on fresh random inputs, times it (medians of
replays after warming up), prints a table and writes `flashvsr.json` into OUT. Work: 192x352 to 768x1408, bfloat16, the
published settings, random weights; `--sizes` adds others.

Shape suffixes: E heads, W windows, L tokens of a window, D head width, T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vsr_model.contract import Placement
from vsr_model.flashvsr import attention
from vsr_model.flashvsr.attention import WINDOW, choose_windows, exact_attention, local_mask
from vsr_model.flashvsr.models import load_random
from vsr_model.flashvsr.pipeline import LATENTS, Settings
from vsr_model.measure import measure

SCALE, HEADS, HEAD_WIDTH = 4, 12, 128
LATENT_PIXELS = 16  # of the result a token is wide


def milliseconds(run: Callable[[], object], repeats: int = 20) -> float:
    """Median time of a call on the device."""
    for _ in range(3):
        run()
    taken = []
    for _ in range(repeats):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        run()
        ended.record()
        ended.synchronize()
        taken.append(began.elapsed_time(ended))
    return statistics.median(taken)


def time_attention(height: int, width: int) -> dict[str, Any]:
    """The sparse attention of one layer in a steady chunk, by kernel and, over the same keys, dense by torch."""
    rows, columns = height * SCALE // LATENT_PIXELS // WINDOW[1], width * SCALE // LATENT_PIXELS // WINDOW[2]
    settings, tokens = Settings(), WINDOW[0] * WINDOW[1] * WINDOW[2]
    sparsity = settings.sparsity(height * SCALE, width * SCALE)
    near_nn = local_mask(rows, columns, sparsity.local_range, torch.device("cuda"))
    slabs = sparsity.kv_slabs + LATENTS // WINDOW[0]

    def drawn(windows: int) -> torch.Tensor:
        return torch.randn((HEADS, windows, tokens, HEAD_WIDTH), device="cuda", dtype=torch.bfloat16)

    query, key, value = drawn(rows * columns), drawn(rows * columns * slabs), drawn(rows * columns * slabs)
    chosen = choose_windows(query.mean(2), key.mean(2), near_nn, sparsity.keep_ratio)
    kernel = attention._kernel(query.device, query.dtype, tokens, HEAD_WIDTH)
    found: dict[str, Any] = {"windows": rows * columns, "keys": key.shape[1], "chosen": float(chosen.float().mean())}
    operations = 4.0 * float(chosen.sum()) * tokens * tokens * HEAD_WIDTH
    if kernel is not None:
        few = slice(0, 2)
        wanted = exact_attention(query[few].float(), key[few].float(), value[few].float(), chosen[few])
        found["error"] = float((kernel(query, key, value, chosen)[few].float() - wanted).abs().max())
        found["kernel_ms"] = milliseconds(lambda: kernel(query, key, value, chosen))
        found["kernel_tflops"] = operations / found["kernel_ms"] / 1e9
    found["choose_ms"] = milliseconds(lambda: choose_windows(query.mean(2), key.mean(2), near_nn, sparsity.keep_ratio))
    q, k, v = (x.flatten(1, 2)[None] for x in (query, key, value))
    found["dense_ms"] = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v), 5)
    return found


def main() -> None:
    """Check, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["192x352"], help="rows and columns of a source frame")
    parser.add_argument("--models", nargs="+", default=["flashvsr-v1.1"])
    parser.add_argument("--chunks", type=int, default=8)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        found[size] = {"attention of a layer": time_attention(height, width)}
        print(size, json.dumps(found[size]), flush=True)
        for model in arguments.models:
            upscaler = load_random(model, Placement("cuda", "bfloat16"))
            found[size][model] = asdict(measure(upscaler, height, width, SCALE, arguments.chunks))
            print(size, json.dumps(found[size][model]), flush=True)
            del upscaler
            torch.cuda.empty_cache()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "flashvsr.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
