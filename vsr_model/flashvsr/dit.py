"""The diffusion transformer: noise and source tokens in, the negative of the change that makes latents out.

Wan2.1-T2V-1.3B made causal: a chunk of latents attends to itself and to cached keys and values of the slabs before it
(see `attention`). One step from pure noise, so the time embedding and the text's keys and values are constants.

Shape suffixes: N tokens, C width, E heads, D head width, P complex pairs, M text tokens, t latent frames, H and W rows
and columns of a latent, W windows, L tokens of a window, S six modulations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.flashvsr.attention import (
    WINDOW,
    choose_windows,
    from_windows,
    local_mask,
    sparse_attention,
    to_windows,
)
from vsr_model.flashvsr.rope import rotate, rotations

PATCH = (1, 2, 2)  # latent frames, rows and columns of one token
EPS = 1e-6
TIMESTEP = 1000.0  # pure noise


@dataclass(frozen=True)
class DitShape:
    """Sizes of the network; the defaults are the published ones."""

    width: int = 1536
    heads: int = 12
    layers: int = 30
    ffn: int = 8960
    latent_channels: int = 16
    text_width: int = 4096
    frequencies: int = 256


@dataclass(frozen=True)
class Sparsity:
    """How attention is thinned out.

    Attributes:
        keep_ratio: pairs of windows kept of a query slab, in units of the square of its windows.
        kv_slabs: slabs of keys and values kept for the chunks to come.
        local_range: windows a window may see along either axis.
    """

    keep_ratio: float
    kv_slabs: int = 3
    local_range: int = 11


@dataclass(frozen=True)
class Constants:
    """What depends on weights and prompt alone; see `Dit.constants`."""

    time_1C: torch.Tensor
    modulation_1SC: torch.Tensor
    text_keys: tuple[torch.Tensor, ...]
    text_values: tuple[torch.Tensor, ...]


@dataclass
class Cache:
    """Keys and values of earlier slabs, layer by layer, [E, W, L, D] each; empty before the first chunk."""

    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)


class RmsNorm(nn.Module):
    """x / rms(x) * weight over all channels; the division in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        """Same shape and type out as in."""
        x = x_NC.float()
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)).to(x_NC.dtype) * self.weight


class Attention(nn.Module):
    """The projections of an attention; what attends to what is up to the block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RmsNorm(width), RmsNorm(width)


class Block(nn.Module):
    """Sparse self-attention, attention to the text, feed-forward."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.self_attn, self.cross_attn = Attention(shape.width), Attention(shape.width)
        self.norm3 = nn.LayerNorm(shape.width, eps=EPS)
        self.ffn = nn.Sequential(
            nn.Linear(shape.width, shape.ffn), nn.GELU(approximate="tanh"), nn.Linear(shape.ffn, shape.width)
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, shape.width))

    def text(self, text_MC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the prompt, which never change."""
        attention = self.cross_attn
        return attention.norm_k(attention.k(text_MC)), attention.v(text_MC)

    def query_key_value(self, y_NC: torch.Tensor, rotation_NP: torch.Tensor, grid: tuple[int, int, int]) -> tuple[
        torch.Tensor, torch.Tensor, torch.Tensor
    ]:  # fmt: skip
        """Self-attention's inputs as windows [E, W, L, D], positions turned in."""
        attention = self.self_attn
        q_NED, k_NED, v_NED = (
            x_NC.unflatten(-1, (self.heads, -1))
            for x_NC in (attention.norm_q(attention.q(y_NC)), attention.norm_k(attention.k(y_NC)), attention.v(y_NC))
        )
        windows = (to_windows(x, *grid) for x in (rotate(q_NED, rotation_NP), rotate(k_NED, rotation_NP), v_NED))
        query_EWLD, key_EWLD, value_EWLD = windows
        return query_EWLD, key_EWLD, value_EWLD

    def look_at_text(self, x_NC: torch.Tensor, key_MC: torch.Tensor, value_MC: torch.Tensor) -> torch.Tensor:
        """Dense attention to the prompt."""
        attention = self.cross_attn
        query_NC = attention.norm_q(attention.q(x_NC))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(0, 1)[None] for x in (query_NC, key_MC, value_MC))
        seen_NC = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        out_NC: torch.Tensor = attention.o(seen_NC)
        return out_NC


class Head(nn.Module):
    """Tokens to the values of their patches."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        self.head = nn.Linear(shape.width, shape.latent_channels * PATCH[1] * PATCH[2])
        self.modulation = nn.Parameter(torch.zeros(1, 2, shape.width))

    def forward(self, x_NC: torch.Tensor, time_1C: torch.Tensor) -> torch.Tensor:
        """[N, values of a patch], channel fastest."""
        shift_1C, scale_1C = (self.modulation + time_1C[:, None]).unbind(1)
        out_NV: torch.Tensor = self.head(_plain_norm(x_NC) * (1 + scale_1C) + shift_1C)
        return out_NV


class Dit(nn.Module):
    """The network. `constants` once, then `forward` chunk by chunk with a `Cache` of the stream's own."""

    def __init__(self, shape: DitShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or DitShape()
        width = shape.width
        self.patch_embedding = nn.Conv3d(shape.latent_channels, width, PATCH, PATCH)
        self.text_embedding = nn.Sequential(
            nn.Linear(shape.text_width, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.time_embedding = nn.Sequential(nn.Linear(shape.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.head = Head(shape)

    def constants(self, prompt_MT: torch.Tensor) -> Constants:
        """Everything that depends on weights and the prompt's embedding [M, text width] alone."""
        weight = self.patch_embedding.weight
        time_1C = self.time_embedding(sinusoid(self.shape.frequencies, weight.device).to(weight.dtype))
        text_MC = self.text_embedding(prompt_MT.to(weight))
        texts = [block.text(text_MC) for block in self._blocks()]
        return Constants(
            time_1C, self.time_projection(time_1C).unflatten(1, (6, -1)),
            tuple(key for key, _ in texts), tuple(value for _, value in texts),
        )  # fmt: skip

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(
        self,
        noise_CtHW: torch.Tensor,
        source_NC: torch.Tensor,
        first_time: int,
        constants: Constants,
        sparsity: Sparsity,
        cache: Cache,
    ) -> torch.Tensor:
        """One chunk.

        Args:
            noise_CtHW: standard normal latents [channels, t, H, W]; t even, H and W multiples of 16.
            source_NC: tokens of the source for the same latents (`lq_projection`).
            first_time: number of the first of these latents in the stream.
            constants: see `constants`.
            sparsity: how attention is thinned out.
            cache: of the stream; becomes that for the next chunk.

        Returns:
            What the noise is to be reduced by, [channels, t, H, W].
        """
        times, height, width = (n // p for n, p in zip(noise_CtHW.shape[1:], PATCH, strict=True))
        grid = times, height, width
        rotation_NP = rotations(first_time, *grid, self.shape.width // self.shape.heads, noise_CtHW.device)
        near_nn = local_mask(height // WINDOW[1], width // WINDOW[2], sparsity.local_range, noise_CtHW.device)
        x_NC = self.patch_embedding(noise_CtHW[None])[0].flatten(1).T + source_NC
        is_first = not cache.keys
        for n, block in enumerate(self._blocks()):
            shift, scale, gate, shift_2, scale_2, gate_2 = (block.modulation + constants.modulation_1SC).unbind(1)
            y_NC = _plain_norm(x_NC) * (1 + scale) + shift
            query_EWLD, key_EWLD, value_EWLD = block.query_key_value(y_NC, rotation_NP, grid)
            if not is_first:
                key_EWLD = torch.cat((cache.keys[n], key_EWLD), dim=1)
                value_EWLD = torch.cat((cache.values[n], value_EWLD), dim=1)
            chosen_EWW = choose_windows(query_EWLD.mean(2), key_EWLD.mean(2), near_nn, sparsity.keep_ratio)
            seen_EWLD = sparse_attention(query_EWLD, key_EWLD, value_EWLD, chosen_EWW)
            x_NC = x_NC + gate * block.self_attn.o(from_windows(seen_EWLD, *grid))
            x_NC = x_NC + block.look_at_text(block.norm3(x_NC), constants.text_keys[n], constants.text_values[n])
            y_NC = _plain_norm(x_NC) * (1 + scale_2) + shift_2
            x_NC = x_NC + gate_2 * block.ffn(y_NC)
            drop = len(near_nn) if key_EWLD.shape[1] // len(near_nn) > sparsity.kv_slabs else 0
            # At once and as copies: what is dropped shall not be held, and no layer twice.
            cache.keys[n:] = [key_EWLD[:, drop:].clone(), *cache.keys[n + 1 :]]
            cache.values[n:] = [value_EWLD[:, drop:].clone(), *cache.values[n + 1 :]]
        return self._unpatch(self.head(x_NC, constants.time_1C), grid)

    def _unpatch(self, x_NV: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        times, height, width = grid
        x = x_NV.reshape(times, height, width, PATCH[1], PATCH[2], self.shape.latent_channels)
        return x.permute(5, 0, 1, 3, 2, 4).reshape(self.shape.latent_channels, times, height * 2, width * 2)


def sinusoid(size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The embedding of `TIMESTEP`, [1, size] in float64: cosines, then sines, at 10000 ** (-i / half)."""
    half = size // 2
    frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
    return torch.cat(((TIMESTEP * frequency).cos(), (TIMESTEP * frequency).sin()))[None]


def _plain_norm(x_NC: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x_NC, x_NC.shape[-1:], eps=EPS)
