"""`python -m tests.benchmarks.warm_up`: how long a stream started in mid-shot takes to agree with an unbroken one.

For each number of warm-up frames, the PSNR of the eight frames after them against those of a stream that has run from
the shot's beginning, on noise and on smooth moving content. Networks of FlashVSR have random weights here:
`flashvsr-test` as it is, with a narrow Wan decoder (`full`) and with all 30 layers of the transformer (`deep`); with
`--random-weights` a mode of real size, which wants a GPU. `--kv-ratio` makes the latter two look back farther.

Shape suffixes: T frames, 3 channels, H rows, W columns.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
import torch.nn.functional as F

from vsr_model.contract import Upscaler
from vsr_model.flashvsr.models import TEST_INFO, TEST_SIZES, random_networks
from vsr_model.flashvsr.pipeline import Settings
from vsr_model.flashvsr.upscaler import FlashVsrUpscaler
from vsr_model.registry import load_for_measuring

START, COMPARED, CHUNK = 160, 8, 8
WARM_UPS = (0, 8, 16, 24, 32, 48, 64, 80, 96, 128)
REDUCED = ("full", "deep")


def content(kind: str, frames: int, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Independent noise, or smooth pictures that pan: [T, 3, H, W] in 0..1."""
    generator = torch.Generator().manual_seed(1)
    if kind == "noise":
        return torch.rand((frames, 3, height, width), generator=generator).to(device)
    coarse_13HW = torch.rand((1, 3, 6, 40), generator=generator)
    wide_13HW = F.interpolate(coarse_13HW, size=(height, width + 2 * frames), mode="bicubic").clamp(0, 1)
    return torch.cat([wide_13HW[..., 2 * t : 2 * t + width] for t in range(frames)]).to(device)


def run(upscaler: Upscaler, clip_T3HW: torch.Tensor, scale: int, first: int, stop: int) -> torch.Tensor:
    """Frames `first` to `stop` of a stream that begins at `first`."""
    height, width = clip_T3HW.shape[-2:]
    stream = upscaler.stream(height, width, scale, seed=1, first_frame=first)
    parts = [stream.push(clip_T3HW[t : t + CHUNK]) for t in range(first, stop, CHUNK)]
    return torch.cat([*parts, stream.finish()])


def psnr(a_T3HW: torch.Tensor, b_T3HW: torch.Tensor) -> float:
    """Lowest PSNR over frames."""
    error_T = (a_T3HW - b_T3HW).square().mean(dim=(1, 2, 3)).clamp_min(1e-12)
    return float((-10.0 * error_T.log10()).min())


def curve(upscaler: Upscaler, kind: str, height: int, width: int, scale: int) -> dict[int, float]:
    """Warm-up frames to dB."""
    ahead = upscaler.info.look_ahead + COMPARED
    stop = START + -(-ahead // CHUNK) * CHUNK
    clip_T3HW = content(kind, stop, height, width, upscaler.device)
    whole_T3HW = run(upscaler, clip_T3HW, scale, 0, stop)[START : START + COMPARED]
    found = {}
    for warm_up in WARM_UPS:
        late_T3HW = run(upscaler, clip_T3HW, scale, START - warm_up, stop)
        found[warm_up] = round(psnr(late_T3HW[warm_up : warm_up + COMPARED], whole_T3HW), 1)
    return found


def reduced(name: str, settings: Settings) -> FlashVsrUpscaler:
    """One of `REDUCED`."""
    sizes = replace(TEST_SIZES, dit=replace(TEST_SIZES.dit, layers=30)) if name == "deep" else TEST_SIZES
    device = torch.device("cpu")
    networks = random_networks(sizes, 1, device, torch.float32, full=name == "full")
    return FlashVsrUpscaler(networks, settings, TEST_INFO, device)


def main() -> None:
    """Print a row for each network and kind of content."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["swift", "flashvsr-test", *REDUCED])
    parser.add_argument("--size", default="32x48", help="rows and columns of a source frame")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--kv-ratio", type=float, default=Settings.kv_ratio)
    parser.add_argument("--random-weights", action="store_true")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    print("network, content: " + ", ".join(f"{n}" for n in WARM_UPS) + " frames of warm-up, dB")
    with torch.inference_mode():
        for name in arguments.models:
            if name in REDUCED:
                upscaler: Upscaler = reduced(name, Settings(kv_ratio=arguments.kv_ratio))
            else:
                upscaler = load_for_measuring(name, "auto", arguments.random_weights)
            for kind in ("noise", "smooth"):
                found = curve(upscaler, kind, height, width, arguments.scale)
                print(f"{name}, {kind}: " + ", ".join(str(value) for value in found.values()), flush=True)


if __name__ == "__main__":
    main()
