"""How good a network is on material it never saw: PSNR of luma against the truth, beside bicubic's.

Held-out pictures in synthetic motion and held-out film scenes, the same clips every time. Knows nothing of training.

Shape suffixes: B clips, T frames, 3 colours, H rows, W columns.
"""

from __future__ import annotations

import torch

from vsr_model.swift.network import Swift
from vsr_model.training.data import Clips, Pairs


@torch.no_grad()
def validate(net: Swift, held_out: Clips | Pairs) -> dict[str, float]:
    """Return mean PSNR-Y in dB over clips and frames: `psnr4`, `psnr2`, and bicubic's `bicubic4`, `bicubic2`."""
    scores: dict[str, float] = {}
    for factor in (4, 2):
        truth_BT3HW, source_BT3HW = held_out.exam(factor)
        state = net.start(source_BT3HW[:, 0])
        psnr, plain = [], []
        for t in range(source_BT3HW.shape[1]):
            frame_B3HW = source_BT3HW[:, t]
            out_B3HW, state = net(frame_B3HW, state, factor)
            base_B3HW = torch.nn.functional.pixel_shuffle(net.enlarge(frame_B3HW, factor), factor)
            psnr.append(psnr_y(out_B3HW, truth_BT3HW[:, t]))
            plain.append(psnr_y(base_B3HW, truth_BT3HW[:, t]))
        scores[f"psnr{factor}"] = float(torch.stack(psnr).mean())
        scores[f"bicubic{factor}"] = float(torch.stack(plain).mean())
    return scores


def psnr_y(a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of BT.601 luma at 8 bits (16..235, peak 255), for RGB in 0..1; one value a clip: [B]."""
    weights_3 = torch.tensor([65.481, 128.553, 24.966], device=a_B3HW.device)
    luma_a, luma_b = (
        torch.einsum("bchw,c->bhw", (x.clamp(0, 1) * 255.0).round() / 255.0, weights_3) for x in (a_B3HW, b_B3HW)
    )
    error_B = (luma_a - luma_b).square().mean(dim=(1, 2)).clamp_min(1e-3)  # a blank clip must not outweigh the rest
    return 10.0 * torch.log10(255.0**2 / error_B)
