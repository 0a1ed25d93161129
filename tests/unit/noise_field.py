"""What tests of tiles ask of the noise that streams of FlashVSR draw: that all of it is one field."""

from __future__ import annotations

import pytest
import torch

from vsr_model.flashvsr.noise import noise

FRAMES = [0, 4, 8, 12, 16, 20]  # that the latents of a short stream are named by
CHANNELS = 16


def watch_noise(monkeypatch: pytest.MonkeyPatch, seed: int, height: int, width: int) -> list[tuple[int, int]]:
    """Hold all noise that is drawn from now on against one field of that size; returns the corners asked for so far."""
    whole_CtHW = noise(seed, FRAMES, CHANNELS, height, width)
    seen: list[tuple[int, int]] = []

    def watched(seed: int, frames: list[int], *size: int) -> torch.Tensor:
        _, height, width, top, left, *_ = size
        field_CtHW = noise(seed, frames, *size)
        seen.append((top, left))
        inside_CtHW = whole_CtHW[..., top : top + height, left : left + width]
        assert torch.equal(field_CtHW[..., : inside_CtHW.shape[2], : inside_CtHW.shape[3]], inside_CtHW)
        return field_CtHW

    monkeypatch.setattr("vsr_model.flashvsr.upscaler.noise", watched)
    return seen
