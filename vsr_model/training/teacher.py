"""SPAN, a small single-image network that has seen far more pictures than `datasets/` can gather: the teacher.

Its published weights travel as a pair of files for the ncnn library, `NAME.param` (a list of layers) and `NAME.bin`
(their weights, in the same order, half precision); this module reads them into torch, where a GPU can run them. The
architecture is that of Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution" (2023),
section 3, in its re-parameterised form: every convolution is one 3x3 kernel.

Knows nothing of training. It is not needed, nor shipped, where pictures are only enlarged.

Shape suffixes: B pictures, C features, 3 colours, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.errors import WeightsError

BLOCKS = 6
_HALF = 0x01306B47  # the tag before weights in half precision


class Span(nn.Module):
    """Enlarges pictures by 2 or 4."""

    def __init__(self, channels: int, scale: int, mean_3: torch.Tensor) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, size, padding=size // 2)

        self.scale = scale
        self.first = conv(3, channels)
        self.blocks = nn.ModuleList(conv(channels, channels) for _ in range(3 * BLOCKS))
        self.last = conv(channels, channels)
        self.join = conv(4 * channels, channels, 1)
        self.draw = conv(channels, 3 * scale * scale)
        self.register_buffer("mean_3", mean_3)

    def forward(self, picture_B3HW: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] in 0..1 to [B, 3, H*scale, W*scale], nominally 0..1."""
        x_BCHW = first_BCHW = self.first((picture_B3HW - self.get_buffer("mean_3")[:, None, None]) * 255.0)
        kept = []
        for n in range(0, 3 * BLOCKS, 3):
            inner_BCHW = F.silu(self.blocks[n](x_BCHW))
            out_BCHW = self.blocks[n + 2](F.silu(self.blocks[n + 1](inner_BCHW)))
            x_BCHW = (out_BCHW + x_BCHW) * (out_BCHW.sigmoid() - 0.5)  # its attention has no parameters
            kept.append(x_BCHW)
        joined_BCHW = self.join(torch.cat((first_BCHW, self.last(x_BCHW), kept[0], inner_BCHW), dim=1))
        return F.pixel_shuffle(self.draw(joined_BCHW), self.scale)


def read_span(param: Path) -> Span:
    """Read the network whose layers `param` lists, and whose weights lie beside it in a file ending in `.bin`.

    Raises:
        WeightsError: the pair is no SPAN of six blocks, or its weights do not end where the list says.
    """
    layers = [line.split() for line in param.read_text().splitlines()[2:]]
    data = param.with_suffix(".bin").read_bytes()
    convs = []
    at = 0
    mean_3 = torch.zeros(3)
    try:
        for kind, _, inputs, outputs, *rest in layers:
            sizes = dict(part.split("=") for part in rest[int(inputs) + int(outputs) :] if "=" in part)
            if kind == "MemoryData":
                mean_3 = torch.from_numpy(np.frombuffer(data, np.float32, 3, at).copy())
                at += 12
            elif kind == "Convolution":
                count, out = int(sizes["6"]), int(sizes["0"])
                half = int(np.frombuffer(data, np.uint32, 1, at)[0]) == _HALF
                weight = np.frombuffer(data, np.float16 if half else np.float32, count, at + 4).astype(np.float32)
                at += 4 + (count * (2 if half else 4) + 3) // 4 * 4
                bias = np.frombuffer(data, np.float32, out, at).copy()
                at += 4 * out
                side = int(sizes["1"])
                convs.append((torch.from_numpy(weight.reshape(out, -1, side, side)), torch.from_numpy(bias)))

        span = Span(convs[0][0].shape[0], round((convs[-1][0].shape[0] / 3) ** 0.5), mean_3)
        targets = [m for m in span.modules() if isinstance(m, nn.Conv2d)]
        for target, (weight_OIHW, bias_O) in zip(targets, convs, strict=True):
            target.load_state_dict({"weight": weight_OIHW, "bias": bias_O})
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise WeightsError(f"{param}: not a SPAN network as ncnn keeps it ({error}); get spanx4_ch52 again") from error
    if at != len(data):
        raise WeightsError(f"{param}: its weights have {len(data)} bytes instead of {at}; get them again")
    return span.eval()
