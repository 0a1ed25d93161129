"""The diffusion transformer: noise and source tokens in, the negative of the change that makes latents out.

Wan2.1-T2V-1.3B made causal: a chunk of latents attends to itself and to cached keys and values of the slabs before it
(see `attention`). Within the network tokens are in the order of that attention's windows. One step from pure noise, so
the time embedding and the text's keys and values are constants.

Shape suffixes: N tokens, C width, E heads, D head width, P complex pairs, M text tokens, t latent frames, H and W rows
and columns of a latent, W windows, n of them in a slab, L tokens of a window, S slabs of the pool (six modulations
where no window is near).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.flashvsr.attention import (
    WINDOW,
    WINDOW_TOKENS,
    choose_windows,
    from_windows,
    local_mask,
    sparse_attention,
    to_windows,
)
from vsr_model.flashvsr.fused import EPS, Steps, Turned, steps_on
from vsr_model.flashvsr.rope import as_real, rotations
from vsr_model.flashvsr.seen import Seen

PATCH = (1, 2, 2)  # latent frames, rows and columns of one token
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
class Modulation:
    """What a layer's two norms are weighed with and shifted by, and the gates of what follows them, [1, C] each."""

    shift_1C: torch.Tensor
    scale_1C: torch.Tensor
    gate_1C: torch.Tensor
    ffn_shift_1C: torch.Tensor
    ffn_scale_1C: torch.Tensor
    ffn_gate_1C: torch.Tensor


@dataclass(frozen=True)
class Constants:
    """What depends on weights and prompt alone; see `Dit.constants`.

    Attributes:
        time_1C, modulation_1SC: the embedded timestep, and what all layers make of it.
        layers: modulation of each.
        head_scale_1C, head_shift_1C: of the head's norm.
        text_keys, text_values: of each layer's attention to the prompt, [M, C].
    """

    time_1C: torch.Tensor
    modulation_1SC: torch.Tensor
    layers: tuple[Modulation, ...]
    head_scale_1C: torch.Tensor
    head_shift_1C: torch.Tensor
    text_keys: tuple[torch.Tensor, ...]
    text_values: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Chunk:
    """Where the tokens of a chunk are.

    Attributes:
        grid: latents, rows and columns of tokens.
        turn_NP2: cosine and sine of each pair's rotation, in the order of windows.
        near_nn: see `attention.local_mask`.
        written: the slabs of the pool that each layer writes.
        seen_Ks: those that each of the K layers looks at, from the oldest, int32.
    """

    grid: tuple[int, int, int]
    turn_NP2: torch.Tensor
    near_nn: torch.Tensor
    written: list[list[int]]
    seen_Ks: torch.Tensor


@dataclass
class Cache:
    """Keys and values of the latest slabs of all layers, in one pool; empty before the first chunk.

    A layer writes what is new into slabs that are free, and those that it lets go are the next layer's to write: one
    slab for what is being made serves all layers.

    Attributes:
        pool: keys and values [S, E, n, L, D] and the means of the keys over the tokens of each window [S, E, n, D].
        held: slabs of each layer, from the oldest.
        free: slabs that nobody holds.
        kept: how many a layer holds between chunks.
    """

    pool: list[torch.Tensor] = field(default_factory=list)
    held: list[list[int]] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    kept: int = 0

    def make_room(self, like: torch.Tensor, layers: int, kept: int, shape: tuple[int, int, int, int]) -> None:
        """Before the first chunk: slabs of `shape`, [E, n, L, D], in the type and place of `like`."""
        size = layers * kept + 1
        self.pool = [like.new_empty((size, *each)) for each in (shape, shape, (*shape[:2], shape[3]))]
        self.held = [[] for _ in range(layers)]
        self.free, self.kept = list(range(size)), kept

    def turn_over(self, slabs: int) -> tuple[list[list[int]], list[list[int]]]:
        """Room for so many new slabs in each layer: which it writes, and all that it sees, from the oldest.

        Raises:
            ValueError: there are not so many free ones.
        """
        written, seen = [], []
        for held in self.held:
            if slabs > len(self.free):
                raise ValueError(f"{slabs} slabs at once do not fit into a cache with {len(self.free)} free ones")
            written.append([self.free.pop() for _ in range(slabs)])
            held += written[-1]
            seen.append(list(held))
            gone = max(0, len(held) - self.kept)
            self.free += held[:gone]
            del held[:gone]
        return written, seen


class RmsNorm(nn.Module):
    """x / rms(x) * weight over all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_NC: torch.Tensor) -> torch.Tensor:
        """Same shape and type out as in."""
        return F.rms_norm(x_NC, x_NC.shape[-1:], self.weight, EPS)


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

    def look_around(
        self, y_NC: torch.Tensor, at: Chunk, layer: int, cache: Cache, steps: Steps, keep_ratio: float
    ) -> torch.Tensor:
        """Sparse self-attention over the cache; what this chunk adds to it is written into its pool."""
        attention = self.self_attn
        keys_SEnLD, values_SEnLD, means_SEnD = cache.pool
        query_NC, key_NC, value_NC = attention.q(y_NC), attention.k(y_NC), attention.v(y_NC)
        tokens = len(y_NC) // len(at.written[layer])
        queries, means = [], []
        for n, slab in enumerate(at.written[layer]):
            part = slice(n * tokens, (n + 1) * tokens)
            to = Turned(
                attention.norm_q.weight, attention.norm_k.weight, at.turn_NP2[part], keys_SEnLD[slab],
                values_SEnLD[slab], means_SEnD[slab],
            )  # fmt: skip
            query_EWLD, mean_EWD = steps.windows(query_NC[part], key_NC[part], value_NC[part], to)
            queries.append(query_EWLD)
            means.append(mean_EWD)
        query_EWLD, mean_EWD = (x[0] if len(x) == 1 else torch.cat(x, dim=1) for x in (queries, means))
        seen = Seen(keys_SEnLD, values_SEnLD, at.seen_Ks[layer])
        chosen_EWW = choose_windows(
            mean_EWD, means_SEnD, seen.slabs_s, at.near_nn, keep_ratio, steps.shares, steps.above_kth
        )
        out_NC: torch.Tensor = attention.o(sparse_attention(query_EWLD, seen, chosen_EWW))
        return out_NC

    def look_at_text(self, x_NC: torch.Tensor, key_MC: torch.Tensor, value_MC: torch.Tensor) -> torch.Tensor:
        """Dense attention to the prompt."""
        attention = self.cross_attn
        query_NC = attention.norm_q(attention.q(x_NC))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(0, 1)[None] for x in (query_NC, key_MC, value_MC))
        seen_NC = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        out_NC: torch.Tensor = attention.o(seen_NC)
        return out_NC

    def feed_forward(self, y_NC: torch.Tensor, steps: Steps) -> torch.Tensor:
        """Wider, bent, and back."""
        wide, _, back = self.ffn
        assert isinstance(wide, nn.Linear)
        out_NC: torch.Tensor = back(steps.linear_gelu(wide, y_NC))
        return out_NC


class Head(nn.Module):
    """Normed and modulated tokens to the values of their patches."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        self.head = nn.Linear(shape.width, shape.latent_channels * PATCH[1] * PATCH[2])
        self.modulation = nn.Parameter(torch.zeros(1, 2, shape.width))

    def forward(self, y_NC: torch.Tensor) -> torch.Tensor:
        """[N, values of a patch], channel fastest."""
        out_NV: torch.Tensor = self.head(y_NC)
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
        modulation_1SC = self.time_projection(time_1C).unflatten(1, (6, -1))
        layers = []
        for block in self._blocks():
            shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.modulation + modulation_1SC).unbind(1)
            layers.append(Modulation(shift, 1 + scale, gate, ffn_shift, 1 + ffn_scale, ffn_gate))
        head_shift_1C, head_scale_1C = (self.head.modulation + time_1C[:, None]).unbind(1)
        return Constants(
            time_1C, modulation_1SC, tuple(layers), 1 + head_scale_1C, head_shift_1C,
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
        at = self._place(noise_CtHW, first_time, sparsity, cache)
        steps = steps_on(noise_CtHW.device, noise_CtHW.dtype, self.shape.width, self.shape.heads)
        x_NC = to_windows(self.patch_embedding(noise_CtHW[None])[0].flatten(1).T + source_NC, *at.grid)
        norms = [(layer.scale_1C, layer.shift_1C) for layer in constants.layers]
        norms.append((constants.head_scale_1C, constants.head_shift_1C))
        y_NC = F.layer_norm(x_NC, x_NC.shape[-1:], eps=EPS) * norms[0][0] + norms[0][1]
        for n, (block, layer) in enumerate(zip(self._blocks(), constants.layers, strict=True)):
            y_NC = block.look_around(y_NC, at, n, cache, steps, sparsity.keep_ratio)
            y_NC = steps.add_norm(x_NC, y_NC, layer.gate_1C, block.norm3.weight, block.norm3.bias)
            y_NC = block.look_at_text(y_NC, constants.text_keys[n], constants.text_values[n])
            y_NC = steps.add_norm(x_NC, y_NC, None, layer.ffn_scale_1C, layer.ffn_shift_1C)
            y_NC = block.feed_forward(y_NC, steps)
            y_NC = steps.add_norm(x_NC, y_NC, layer.ffn_gate_1C, *norms[n + 1])
        return self._unpatch(from_windows(self.head(y_NC), *at.grid), at.grid)

    def _place(self, noise_CtHW: torch.Tensor, first_time: int, sparsity: Sparsity, cache: Cache) -> Chunk:
        """Where a chunk is, with room for it in the cache."""
        times, height, width = (n // p for n, p in zip(noise_CtHW.shape[1:], PATCH, strict=True))
        device, head_width = noise_CtHW.device, self.shape.width // self.shape.heads
        near_nn = local_mask(height // WINDOW[1], width // WINDOW[2], sparsity.local_range, device)
        slabs = times // WINDOW[0]
        if not cache.pool:
            # The first chunk, of several slabs, is seen with as many as it has from then on.
            kept = max(sparsity.kv_slabs, slabs - 1)
            shape = (self.shape.heads, len(near_nn), WINDOW_TOKENS, head_width)
            cache.make_room(noise_CtHW, self.shape.layers, kept, shape)
        grid = (times, height, width)
        turn_NP2 = to_windows(as_real(rotations(first_time, *grid, head_width, device)), *grid)
        written, seen = cache.turn_over(slabs)
        seen_Ks = torch.tensor(seen, dtype=torch.int32)
        if device.type == "cuda":  # from pinned memory, so that nobody waits for the device
            seen_Ks = seen_Ks.pin_memory().to(device, non_blocking=True)
        return Chunk(grid, turn_NP2, near_nn, written, seen_Ks)

    def _unpatch(self, x_NV: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        times, height, width = grid
        x = x_NV.reshape(times, height, width, PATCH[1], PATCH[2], self.shape.latent_channels)
        return x.permute(5, 0, 1, 3, 2, 4).reshape(self.shape.latent_channels, times, height * 2, width * 2)


def sinusoid(size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The embedding of `TIMESTEP`, [1, size] in float64: cosines, then sines, at 10000 ** (-i / half)."""
    half = size // 2
    frequency = 10_000.0 ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
    return torch.cat(((TIMESTEP * frequency).cos(), (TIMESTEP * frequency).sin()))[None]
