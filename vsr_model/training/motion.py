"""Clips from still pictures: a camera that pans, zooms, turns and shakes, a surface that bends, an object in front.

Everything is drawn from a CPU generator (so a clip depends on its seed alone) and rendered on whatever device the
pictures are on, in one sampling call a layer. The object is cut from another picture with a soft random outline and
moves by itself, so it hides and uncovers what is behind it.

Knows nothing of files or networks.

Shape suffixes: B clips, T frames, 3 colours, 4 colours and mask, S picture side, R result side, 2 x and y, G nodes of
a coarse grid.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

LARGEST_PIXEL = 2.0  # of a result, in pixels of the picture it is sampled from
NODES = 5  # of the coarse grid that bends a surface
BLOBS = 8  # of the coarse noise that outlines an object
# Shares of pictures that do not move at all, and that bend before a camera on a tripod. A network that is shown too few
# of the former goes on sharpening what stands still, frame after frame.
STILL, TRIPOD = 0.15, 0.12


def moving_clips(
    back_B3SS: torch.Tensor, front_B3SS: torch.Tensor, frames: int, side: int, reach: float, generator: torch.Generator
) -> torch.Tensor:
    """Render clips of a camera over `back` with, in about half of them, an object cut from `front`.

    Args:
        back_B3SS: square pictures, uint8 or float in 0..255.
        front_B3SS: as many others of the same size.
        frames: length of each clip.
        side: rows and columns of each frame, in pixels 1 to `LARGEST_PIXEL` times as large as the pictures' own.
        reach: the fastest ordinary motion, in result pixels a frame.
        generator: CPU source of every random choice.

    Returns:
        [B, frames, 3, side, side] float32 in 0..1 on the pictures' device.
    """
    b, _, picture_side, _ = back_B3SS.shape
    outline_B1SS = _outline(b, picture_side, generator, back_B3SS.device)
    front_B4SS = torch.cat((front_B3SS.float() / 255.0, outline_B1SS), dim=1)
    back_BT3RR = _render(back_B3SS.float() / 255.0, frames, side, reach, generator)
    front_BT4RR = _render(front_B4SS, frames, side, reach, generator)
    mask_BT1RR = front_BT4RR[:, :, 3:].clamp(0.0, 1.0)
    clip_BT3RR = back_BT3RR + mask_BT1RR * (front_BT4RR[:, :, :3] - back_BT3RR)
    flicker_BT = 1.0 + 0.004 * torch.randn((b, frames), generator=generator)
    return (clip_BT3RR * flicker_BT[:, :, None, None, None].to(clip_BT3RR.device)).clamp(0.0, 1.0)


def _render(
    picture_BCSS: torch.Tensor, frames: int, side: int, reach: float, generator: torch.Generator
) -> torch.Tensor:
    """Sample the pictures along random paths: [B, frames, C, side, side]."""
    b, channels, picture_side, _ = picture_BCSS.shape
    device = picture_BCSS.device
    kind_B = torch.rand((b,), generator=generator)
    matrix_BT22, centre_BT2 = _paths((kind_B > STILL + TRIPOD).float(), frames, side, picture_side, reach, generator)
    bend_B2GG = torch.randn((b, 2, NODES, NODES), generator=generator)
    bend_B2GG *= _log_uniform((b, 1, 1, 1), 0.01, 0.06 * reach, generator)
    bend_B2GG *= (kind_B > STILL)[:, None, None, None]
    bend_BRR2 = F.interpolate(bend_B2GG.to(device), size=(side, side), mode="bicubic", align_corners=True)
    bend_BRR2 = bend_BRR2.permute(0, 2, 3, 1)
    pixel_R = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
    point_RR2 = torch.stack(torch.meshgrid(pixel_R, pixel_R, indexing="xy"), dim=-1)
    time_T = torch.arange(frames, device=device, dtype=torch.float32) - frames / 2
    point_BTRR2 = point_RR2 + time_T[None, :, None, None, None] * bend_BRR2[:, None]
    matrix_BT22, centre_BT2 = matrix_BT22.to(device), centre_BT2.to(device)
    grid_BTRR2 = torch.einsum("btij,btrcj->btrci", matrix_BT22, point_BTRR2) + centre_BT2[:, :, None, None, :]
    grid_BR2 = (grid_BTRR2 * (2.0 / picture_side)).reshape(b, frames * side, side, 2)
    frames_BCRR = F.grid_sample(picture_BCSS, grid_BR2, mode="bicubic", padding_mode="reflection", align_corners=False)
    return frames_BCRR.reshape(b, channels, frames, side, side).transpose(1, 2)


def _paths(
    moves_B: torch.Tensor, frames: int, side: int, picture_side: int, reach: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw where cameras look that move (1) or not (0).

    Returns:
        Result pixels to picture pixels, as matrices [B, T, 2, 2] and centres [B, T, 2].
    """
    b, moves_B1 = len(moves_B), moves_B[:, None]

    def uniform(low: float, high: float, *size: int) -> torch.Tensor:
        return torch.rand(size, generator=generator) * (high - low) + low

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    direction_B = uniform(0, 2 * math.pi, b)
    speed_B2 = _log_uniform((b, 1), 0.05, reach, generator) * torch.stack((direction_B.cos(), direction_B.sin()), -1)
    shake_BT2 = normal(b, frames, 2) * _log_uniform((b, 1, 1), 0.02, 0.12 * reach, generator)
    for t in range(1, frames):  # a hand shakes smoothly
        shake_BT2[:, t] = 0.7 * shake_BT2[:, t - 1] + 0.7 * shake_BT2[:, t]
    travel_BT2 = ((speed_B2[:, None] + shake_BT2) * moves_B1[:, None]).cumsum(dim=1)
    # Result pixels are as large as the pictures' own or larger: drawn smaller, they would be softer than any camera's.
    zoom_B1 = uniform(0.0, math.log(LARGEST_PIXEL), b, 1)
    room_B12 = ((picture_side - side * zoom_B1.exp()) / 2).clamp_min(0.0)[:, None]
    centre_BT2 = uniform(-1.0, 1.0, b, 1, 2) * room_B12 + travel_BT2 - travel_BT2[:, frames // 2 : frames // 2 + 1]

    time_T = torch.arange(frames) - frames / 2
    quarter_B1 = torch.randint(0, 4, (b, 1), generator=generator) * (math.pi / 2)
    angle_BT = quarter_B1 + 0.15 * normal(b, 1) + 0.006 * normal(b, 1) * moves_B1 * time_T
    zoom_BT = zoom_B1 + 0.006 * normal(b, 1) * moves_B1 * time_T
    mirror_B1 = torch.randint(0, 2, (b, 1), generator=generator) * 2.0 - 1.0
    cos_BT, sin_BT = angle_BT.cos() * zoom_BT.exp(), angle_BT.sin() * zoom_BT.exp()
    rows = (torch.stack((cos_BT * mirror_B1, -sin_BT), -1), torch.stack((sin_BT * mirror_B1, cos_BT), -1))
    return torch.stack(rows, dim=-2), centre_BT2


def _outline(b: int, side: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Masks of one or more soft-edged blobs, [B, 1, side, side] in 0..1; about half of them empty."""
    noise_B1GG = torch.randn((b, 1, BLOBS, BLOBS), generator=generator)
    present_B = torch.rand(b, generator=generator) < 0.55
    level_B = torch.where(present_B, torch.rand(b, generator=generator) * 1.2, torch.full((b,), 99.0))
    hardness_B = _log_uniform((b,), 0.2, 1.0, generator) * side / BLOBS
    noise_B1SS = F.interpolate(noise_B1GG.to(device), size=(side, side), mode="bicubic", align_corners=True)
    level_B111, hardness_B111 = (x.to(device)[:, None, None, None] for x in (level_B, hardness_B))
    return torch.sigmoid((noise_B1SS - level_B111) * hardness_B111)


def _log_uniform(size: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw between `low` and `high`, every octave as likely as every other."""
    return torch.exp(torch.rand(size, generator=generator) * (math.log(high) - math.log(low)) + math.log(low))
