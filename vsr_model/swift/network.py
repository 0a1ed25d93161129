"""The arithmetic of `swift`: one frame and the memory of the frames before it become one larger frame.

A step looks at the present frame and the previous one, estimates how the picture moved (a coarse-to-fine pyramid, the
same few convolutions at every level), moves the memory along, trusts it less where the two frames disagree, and
refines frame and memory together with residual blocks at source resolution. A head adds the missing detail to a
bicubic enlargement, one head for each factor.

The memory is moved as a picture of `canvas` times the source resolution: its channels are unfolded into sub-pixels
first, so a motion by half a source pixel shifts detail to another sub-pixel instead of averaging it away.

Knows nothing of streams, files or devices; it is a pure function of its arguments.

Shape suffixes: B clips, C memory channels, 3 colours, H rows, W columns, F flow components (dx, dy), h and w the same
at a lower level of the pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.convolution import conv_relu

SCALES = (2, 4)
PYRAMID_LEVELS = 4  # 1/2, 1/4, 1/8 and 1/16 of the source: reaches motions of about 40 source pixels a frame


@dataclass(frozen=True)
class Shape:
    """The sizes that make a `Swift`.

    Attributes:
        channels: channels of the memory and of every residual block; a multiple of `canvas` squared.
        blocks: residual blocks.
        flow_channels: channels of the motion estimator.
        canvas: sub-pixels per source pixel and axis at which the memory is moved.
    """

    channels: int = 64
    blocks: int = 5
    flow_channels: int = 48
    canvas: int = 2


class State(NamedTuple):
    """What a step leaves for the next one."""

    frame_B3HW: torch.Tensor  # the source frame just seen
    memory_BCHW: torch.Tensor


class Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # near the identity at first: memory must survive many steps

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Same shape out as in."""
        out_BCHW: torch.Tensor = x_BCHW + self.second(conv_relu(self.first, x_BCHW))
        return out_BCHW


class Motion(nn.Module):
    """Estimates where each pixel of the present frame was in the previous one, and how far that can be trusted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (8, channels, channels, channels, channels, 3)
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(sizes))
        with torch.no_grad():
            self._layers()[-1].weight.mul_(0.1)

    def _layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def forward(self, now_B3HW: torch.Tensor, before_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return flow_BFhw in pixels of half resolution, float32, and trust_B1hw as a logit; h = ceil(H / 16) * 8."""
        layers = self._layers()
        multiple = 2**PYRAMID_LEVELS
        height, width = now_B3HW.shape[-2:]
        pad = (0, -width % multiple, 0, -height % multiple)
        pyramid: list[tuple[torch.Tensor, torch.Tensor]] = []
        now_B3hw, before_B3hw = (F.pad(x, pad, mode="replicate") for x in (now_B3HW, before_B3HW))
        for _ in range(PYRAMID_LEVELS):
            now_B3hw, before_B3hw = F.avg_pool2d(now_B3hw, 2), F.avg_pool2d(before_B3hw, 2)
            pyramid.append((now_B3hw, before_B3hw))
        flow_BFhw = torch.zeros_like(pyramid[-1][0][:, :2], dtype=torch.float32)
        for level, (now_B3hw, before_B3hw) in enumerate(reversed(pyramid)):
            if level > 0:
                flow_BFhw = 2.0 * F.interpolate(flow_BFhw, scale_factor=2.0, mode="bilinear", align_corners=False)
            moved_B3hw = warp(before_B3hw, flow_BFhw)
            x = torch.cat((now_B3hw, moved_B3hw, flow_BFhw.to(now_B3hw.dtype)), dim=1)
            x = x.to(layers[0].weight.dtype, memory_format=torch.channels_last)
            for layer in layers[:-1]:
                x = conv_relu(layer, x)
            x = layers[-1](x).float()
            flow_BFhw = flow_BFhw + x[:, :2]
        return flow_BFhw, x[:, 2:]


class Swift(nn.Module):
    """The network. Weights of any float type; frames are best given in float32 (the enlargement is made from them)."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        channels = shape.channels
        self.motion = Motion(shape.flow_channels)
        self.fuse = nn.Conv2d(3 + channels, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(channels) for _ in range(shape.blocks)))
        self.heads = nn.ModuleDict({str(s): nn.Conv2d(channels, 3 * s * s, 3, padding=1) for s in SCALES})
        for scale in SCALES:
            self.register_buffer(f"bicubic{scale}", _bicubic_phases(scale), persistent=False)
            with torch.no_grad():
                self.heads[str(scale)].weight.mul_(0.1)  # type: ignore[operator]

    def start(self, frame_B3HW: torch.Tensor) -> State:
        """The state before a shot's first frame: nothing remembered, nothing moved."""
        b, _, height, width = frame_B3HW.shape
        memory_BCHW = torch.zeros(
            (b, self.shape.channels, height, width), dtype=self.fuse.weight.dtype, device=frame_B3HW.device
        )
        return State(frame_B3HW, memory_BCHW.contiguous(memory_format=torch.channels_last))

    def forward(self, frame_B3HW: torch.Tensor, state: State, scale: int) -> tuple[torch.Tensor, State]:
        """One step.

        Args:
            frame_B3HW: gamma-coded RGB, nominally 0..1, any height and width.
            state: what the step before returned, or `start(frame_B3HW)`.
            scale: 2 or 4.

        Returns:
            [B, 3, H*scale, W*scale] in the frame's type, not clamped; and the next state.
        """
        flow_BFhw, trust_B1hw = self.motion(frame_B3HW, state.frame_B3HW)
        memory_BCHW = self.refine(frame_B3HW, state.memory_BCHW, flow_BFhw, trust_B1hw)
        return self.draw(frame_B3HW, memory_BCHW, scale), State(frame_B3HW, memory_BCHW)

    def refine(
        self, frame_B3HW: torch.Tensor, memory_BCHW: torch.Tensor, flow_BFhw: torch.Tensor, trust_B1hw: torch.Tensor
    ) -> torch.Tensor:
        """The part of a step that needs the step before: the memory, moved (see `Motion.forward`) and renewed."""
        height, width = frame_B3HW.shape[-2:]
        canvas = self.shape.canvas
        trust_B1HW = resize_flow(trust_B1hw.sigmoid(), 2, height, width)
        flow_BFYX = resize_flow(flow_BFhw, 2 * canvas, height * canvas, width * canvas) * (2 * canvas)
        moved_BCHW = warp(F.pixel_shuffle(memory_BCHW, canvas), flow_BFYX)
        moved_BCHW = F.pixel_unshuffle(moved_BCHW, canvas) * trust_B1HW.to(memory_BCHW.dtype)
        x_BCHW = torch.cat(((frame_B3HW - 0.5).to(memory_BCHW.dtype), moved_BCHW), dim=1)
        refined_BCHW: torch.Tensor = self.blocks(
            conv_relu(self.fuse, x_BCHW.contiguous(memory_format=torch.channels_last))
        )
        return refined_BCHW

    def draw(self, frame_B3HW: torch.Tensor, memory_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
        """The large frame, [B, 3, H*scale, W*scale]: the bicubic enlargement and the detail the memory holds."""
        detail_BPHW = self.heads[str(scale)](memory_BCHW)
        return F.pixel_shuffle(detail_BPHW.to(frame_B3HW.dtype) + self.enlarge(frame_B3HW, scale), scale)

    def enlarge(self, frame_B3HW: torch.Tensor, scale: int) -> torch.Tensor:
        """Bicubic enlargement, still folded: [B, 3*scale*scale, H, W], as `pixel_shuffle` wants it."""
        phases = self.get_buffer(f"bicubic{scale}").to(frame_B3HW.dtype)
        with torch.autocast(frame_B3HW.device.type, enabled=False):  # bf16 would cost the picture its low bits
            return F.conv2d(F.pad(frame_B3HW, (2, 2, 2, 2), mode="replicate"), phases, groups=3)


def channels_last(network: Swift) -> Swift:
    """Lay out the weights as convolutions like them best, on every device."""
    moved: Swift = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def warp(picture_BCHW: torch.Tensor, flow_BFHW: torch.Tensor) -> torch.Tensor:
    """Fetch each pixel from where it was: out(x, y) = picture(x + dx, y + dy), bilinear, edges repeated.

    Positions and sums are float32 whatever the picture's type: half precision cannot name a pixel of a large picture.
    """
    height, width = picture_BCHW.shape[-2:]
    x_W = torch.arange(width, device=flow_BFHW.device, dtype=torch.float32)
    y_H1 = torch.arange(height, device=flow_BFHW.device, dtype=torch.float32)[:, None]
    with torch.autocast(picture_BCHW.device.type, enabled=False):
        grid_BHWF = torch.stack(
            ((x_W + flow_BFHW[:, 0]) * (2.0 / width) + (1.0 / width - 1.0),
             (y_H1 + flow_BFHW[:, 1]) * (2.0 / height) + (1.0 / height - 1.0)), dim=-1,
        )  # fmt: skip
        moved = F.grid_sample(picture_BCHW.float(), grid_BHWF, padding_mode="border", align_corners=False)
    return moved.to(picture_BCHW.dtype)


def resize_flow(x_BFhw: torch.Tensor, factor: int, height: int, width: int) -> torch.Tensor:
    """Bilinear enlargement of a half-resolution map by a whole factor, cut to height x width (the padding goes)."""
    return F.interpolate(x_BFhw, scale_factor=float(factor), mode="bilinear", align_corners=False)[..., :height, :width]


def _bicubic_phases(scale: int) -> torch.Tensor:
    """Bicubic (Keys, a = -0.5) enlargement as the kernels of a grouped 5x5 convolution: [3 * scale**2, 1, 5, 5]."""
    offset_P1 = ((torch.arange(scale) + 0.5) / scale - 0.5)[:, None]
    d_P5 = (torch.arange(-2, 3) - offset_P1).abs()
    near, far = (1.5 * d_P5 - 2.5) * d_P5 * d_P5 + 1.0, ((-0.5 * d_P5 + 2.5) * d_P5 - 4.0) * d_P5 + 2.0
    tap_P5 = torch.where(d_P5 < 1.0, near, torch.where(d_P5 < 2.0, far, torch.zeros(())))
    kernel_PP55 = tap_P5[:, None, :, None] * tap_P5[None, :, None, :]
    return kernel_PP55.reshape(1, scale * scale, 5, 5).repeat(3, 1, 1, 1).reshape(3 * scale * scale, 1, 5, 5)
