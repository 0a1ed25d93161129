"""What happens to a clip before anyone wants it enlarged: blur, reduction, noise real compression, twice over.

`draw` turns a seed into a `Recipe`, plain data that can be stored beside the clip; `degrade` applies one. The same
recipe on the same clip gives the same bytes. Compression is done by real encoders (H.264, MPEG-2, VP8), because their
damage depends on motion and on the frames before, which no formula imitates.

Knows nothing of networks. Shape suffixes: T frames, 3 channels (R, G, B), H rows, W columns, K taps.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal, cast

import av
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from av.video.reformatter import Interpolation

UInt8 = npt.NDArray[np.uint8]
Codec = Literal["none", "h264", "mpeg2", "vp8"]
Kernel = Literal["bicubic", "bilinear", "area"]

# Without these swscale makes every picture darker by more than a code, which a network would learn to undo.
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | _FULL_CHROMA
_CODECS = {"h264": ("libx264", "h264"), "mpeg2": ("mpeg2video", "mpeg2video"), "vp8": ("libvpx", "vp8")}


@dataclass(frozen=True)
class Stage:
    """One round of damage, in the order it happens.

    Attributes:
        blur_x, blur_y: standard deviations of a Gaussian along its own axes, in pixels; 0 for none.
        blur_angle: rotation of those axes, radians.
        shrink: factor by which both sides shrink; 1 for none.
        kernel: how the reduction weighs pixels; all are antialiased.
        noise: standard deviation of added noise at mid grey, in code values of 255.
        noise_grey: True if all three channels get the same noise.
        codec: the encoder, "none" for no compression.
        quality: 0 for as good as the encoder goes, 1 for as bad as anyone keeps.
    """

    blur_x: float = 0.0
    blur_y: float = 0.0
    blur_angle: float = 0.0
    shrink: float = 1.0
    kernel: Kernel = "bicubic"
    noise: float = 0.0
    noise_grey: bool = True
    codec: Codec = "none"
    quality: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A seed for the noise and one or two stages; the shrinks of all stages multiply to the whole factor."""

    seed: int
    stages: tuple[Stage, ...]

    def as_data(self) -> dict[str, object]:
        """Plain data, to be stored."""
        return asdict(self)


def clean(scale: int) -> Recipe:
    """The recipe of a clean source: antialiased bicubic reduction, rounded to 8 bits."""
    return Recipe(0, (Stage(shrink=float(scale)),))


def draw(seed: int, scale: int, strength: float = 1.0) -> Recipe:
    """Draw a recipe.

    Args:
        seed: decides everything.
        scale: whole factor by which sides shrink.
        strength: 0 for none to 1 for the worst in common use; scales every range. A recipe in four is hardly damaged.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < 0.25:
        strength *= 0.15  # a network that never sees a good source sharpens it like a bad one
    stages = []
    second = rng.random() < 0.4 * strength  # uploaded, downloaded, encoded again
    first_shrink = float(rng.uniform(1.0, scale)) if second else float(scale)
    for shrink in (first_shrink, scale / first_shrink) if second else (first_shrink,):
        blur = float(rng.uniform(0.0, 1.2) * strength) * shrink if rng.random() < 0.7 else 0.0
        stages.append(
            Stage(
                blur_x=blur,
                blur_y=blur * float(rng.uniform(0.6, 1.0)),
                blur_angle=float(rng.uniform(0.0, math.pi)),
                shrink=shrink,
                kernel=("bicubic", "bilinear", "area")[int(rng.integers(3))],
                noise=float(rng.uniform(0.0, 10.0) * strength) if rng.random() < 0.5 else 0.0,
                noise_grey=bool(rng.random() < 0.5),
                codec=("none", "h264", "h264", "h264", "mpeg2", "vp8")[int(rng.integers(6))],
                quality=float(rng.uniform(0.0, 1.0) * strength),
            )
        )
    return Recipe(seed, tuple(stages))


def degrade(clip_T3HW: UInt8, recipe: Recipe) -> UInt8:
    """Apply a recipe to RGB uint8 [T, 3, H, W]; the sides are divided by the product of the shrinks."""
    height, width = clip_T3HW.shape[-2:]
    rng = np.random.default_rng((recipe.seed, 1))
    total = 1.0
    for stage in recipe.stages:
        total *= stage.shrink
        size = (round(height / total), round(width / total))
        x_T3HW = _shrink(_blur(torch.from_numpy(clip_T3HW).float(), stage), size, stage.kernel).numpy()
        clip_T3HW = np.clip(np.rint(x_T3HW + _noise(x_T3HW, stage, rng)), 0, 255).astype(np.uint8)
        clip_T3HW = compress(clip_T3HW, stage.codec, stage.quality)
    return clip_T3HW


def compress(clip_T3HW: UInt8, codec: Codec, quality: float) -> UInt8:
    """Encode and decode a clip; odd sides are padded for the encoder and cut again."""
    if codec == "none":
        return clip_T3HW
    encoder_name, decoder_name = _CODECS[codec]
    height, width = clip_T3HW.shape[-2:]
    even_T3HW = np.pad(clip_T3HW, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(encoder_name, "w"))
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(decoder_name, "r"))
    encoder.height, encoder.width = even_T3HW.shape[-2:]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.gop_size = 48
    encoder.thread_count = decoder.thread_count = 1  # the same bytes on every machine
    _set_quality(encoder, codec, quality)
    packets = []
    for n, frame_3HW in enumerate(even_T3HW):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_3HW.transpose(1, 2, 0)), format="rgb24")
        coded = picture.reformat(format="yuv420p", interpolation=_EXACT)
        coded.pts = n
        packets += encoder.encode(coded)
    packets += encoder.encode(None)
    pictures = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    frames = [picture.reformat(format="rgb24", interpolation=_EXACT).to_ndarray() for picture in pictures]
    if len(frames) != len(clip_T3HW):
        raise RuntimeError(f"{encoder_name} gave {len(frames)} frames for {len(clip_T3HW)}")
    return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2)[..., :height, :width])


def _set_quality(encoder: av.VideoCodecContext, codec: Codec, quality: float) -> None:
    if codec == "h264":
        # Without lookahead: looking ahead in very small pictures, x264 decides differently from run to run.
        encoder.options = {
            "crf": f"{18 + 17 * quality:.1f}",
            "preset": "medium",
            "x264-params": "rc-lookahead=0:sync-lookahead=0:mbtree=0",
        }
    elif codec == "mpeg2":
        encoder.qmin = encoder.qmax = 2 + round(10 * quality)
    else:
        encoder.options = {"deadline": "good", "cpu-used": "4", "lag-in-frames": "0"}
        # It counts in thousands, and makes no frames of none.
        encoder.bit_rate = max(1000, int(encoder.width * encoder.height * 25 * 0.25 * 0.1**quality))


def _blur(x_T3HW: torch.Tensor, stage: Stage) -> torch.Tensor:
    """Blur with a rotated Gaussian; edges are repeated."""
    if max(stage.blur_x, stage.blur_y) <= 0.05:
        return x_T3HW
    reach = math.ceil(3 * max(stage.blur_x, stage.blur_y))
    at_K = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y_KK, x_KK = torch.meshgrid(at_K, at_K, indexing="ij")
    cos, sin = math.cos(stage.blur_angle), math.sin(stage.blur_angle)
    u_KK, v_KK = cos * x_KK + sin * y_KK, cos * y_KK - sin * x_KK
    kernel_KK = torch.exp(-0.5 * ((u_KK / max(stage.blur_x, 0.05)) ** 2 + (v_KK / max(stage.blur_y, 0.05)) ** 2))
    kernel_31KK = (kernel_KK / kernel_KK.sum()).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(x_T3HW, (reach,) * 4, mode="replicate"), kernel_31KK, groups=3)


def _shrink(x_T3HW: torch.Tensor, size: tuple[int, int], kernel: Kernel) -> torch.Tensor:
    if tuple(x_T3HW.shape[-2:]) == size:
        return x_T3HW
    if kernel == "area":
        return F.interpolate(x_T3HW, size=size, mode="area")
    return F.interpolate(x_T3HW, size=size, mode=kernel, antialias=True, align_corners=False)


def _noise(x_T3HW: npt.NDArray[np.float32], stage: Stage, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Noise that grows with the square root of the light, as a sensor's does."""
    if stage.noise <= 0.0:
        return np.zeros((), np.float32)
    frames, channels, height, width = x_T3HW.shape
    grain = rng.standard_normal((frames, 1 if stage.noise_grey else channels, height, width), dtype=np.float32)
    level: npt.NDArray[np.float32] = np.sqrt(np.clip(x_T3HW, 8, 255) / 128.0).astype(np.float32)
    result: npt.NDArray[np.float32] = grain * level * np.float32(stage.noise)
    return result
