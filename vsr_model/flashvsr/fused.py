"""What the transformer does between its matrix products, each step in one pass over memory where a kernel can.

`Plain` is what every step promises, in ordinary torch, anywhere. On a GPU `steps_on` gives `fused_triton.Fused`, which
computes the same but rounds once at the end, after it has shown so on that device.

Tokens are in the order of windows (see `attention.to_windows`).

Shape suffixes: N tokens, C width, E heads, D head width, P = D / 2 complex pairs, W windows, n of a slab, s slabs that
are seen, S of a pool, L tokens of a window, M scores of a slab.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from vsr_model.flashvsr.attention import WINDOW_TOKENS, above_kth, of_heads, shares
from vsr_model.flashvsr.rope import rotate
from vsr_model.trial import agree, proven

EPS = 1e-6  # of every norm


@dataclass(frozen=True)
class Turned:
    """Where to put keys, their means and values, and what queries and keys are made with.

    Attributes:
        query_weight_C, key_weight_C: of their root mean square norms.
        turn_NP2: cosine and sine of each pair's rotation, float32.
        key_EWLD, value_EWLD, mean_EWD: written to; any stride between heads, dense within one.
    """

    query_weight_C: torch.Tensor
    key_weight_C: torch.Tensor
    turn_NP2: torch.Tensor
    key_EWLD: torch.Tensor
    value_EWLD: torch.Tensor
    mean_EWD: torch.Tensor


class Steps(Protocol):
    """The steps; one object serves all layers."""

    def add_norm(
        self, x_NC: torch.Tensor, y_NC: torch.Tensor, gate_1C: torch.Tensor | None, weight_C: torch.Tensor,
        bias_C: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Add `y_NC`, times a gate, to `x_NC` in place; returns the layer norm of that, weighed and shifted."""

    def windows(
        self, query_NC: torch.Tensor, key_NC: torch.Tensor, value_NC: torch.Tensor, to: Turned
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Norm queries and keys, turn them by their places, and lay all three out by heads; with the means of windows.

        Returns:
            The queries [E, W, L, D] and their means [E, W, D].
        """

    def linear_gelu(self, linear: nn.Linear, x_NC: torch.Tensor) -> torch.Tensor:
        """A linear layer and the tanh form of GELU after it."""

    def shares(
        self, query_EWD: torch.Tensor, key_SEnD: torch.Tensor, slabs_s: torch.Tensor, near_nn: torch.Tensor
    ) -> torch.Tensor:
        """See `attention.shares`."""

    def above_kth(self, x_RM: torch.Tensor, k: int) -> torch.Tensor:
        """See `attention.above_kth`; rows of float32 in 0..1."""


class Plain:
    """The steps in ordinary torch."""

    def add_norm(
        self, x_NC: torch.Tensor, y_NC: torch.Tensor, gate_1C: torch.Tensor | None, weight_C: torch.Tensor,
        bias_C: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """See `Steps`."""
        x_NC += y_NC if gate_1C is None else gate_1C * y_NC
        return F.layer_norm(x_NC, x_NC.shape[-1:], eps=EPS) * weight_C + bias_C

    def windows(
        self, query_NC: torch.Tensor, key_NC: torch.Tensor, value_NC: torch.Tensor, to: Turned
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Steps`."""
        heads = to.key_EWLD.shape[0]
        query_NC = F.rms_norm(query_NC, query_NC.shape[-1:], to.query_weight_C, EPS)
        key_NC = F.rms_norm(key_NC, key_NC.shape[-1:], to.key_weight_C, EPS)
        query_NED, key_NED, value_NED = (x.reshape(len(x), heads, -1) for x in (query_NC, key_NC, value_NC))
        to.key_EWLD.copy_(of_heads(rotate(key_NED, to.turn_NP2)))
        to.value_EWLD.copy_(of_heads(value_NED))
        to.mean_EWD.copy_(to.key_EWLD.mean(2))
        query_EWLD = of_heads(rotate(query_NED, to.turn_NP2))
        return query_EWLD, query_EWLD.mean(2)

    def linear_gelu(self, linear: nn.Linear, x_NC: torch.Tensor) -> torch.Tensor:
        """See `Steps`."""
        return F.gelu(linear(x_NC), approximate="tanh")

    def shares(
        self, query_EWD: torch.Tensor, key_SEnD: torch.Tensor, slabs_s: torch.Tensor, near_nn: torch.Tensor
    ) -> torch.Tensor:
        """See `Steps`."""
        return shares(query_EWD, key_SEnD, slabs_s, near_nn)

    def above_kth(self, x_RM: torch.Tensor, k: int) -> torch.Tensor:
        """See `Steps`."""
        return above_kth(x_RM, k)


@lru_cache(maxsize=8)
def steps_on(device: torch.device, dtype: torch.dtype, width: int, heads: int) -> Steps:
    """The fastest steps that are right on a device for a network of that width."""
    plain = Plain()
    if device.type != "cuda":
        return plain

    def make() -> Steps:
        from vsr_model.flashvsr.fused_triton import Fused

        return Fused()

    what = "the fused steps of the transformer are"
    return proven(what, device, make, lambda steps: check(steps, plain, device, dtype, width, heads)) or plain


@torch.no_grad()
def check(fused: Steps, plain: Steps, device: torch.device, dtype: torch.dtype, width: int, heads: int) -> None:
    """Compute every step both ways on fresh noise.

    Raises:
        ArithmeticError: they differ by more than rounding explains.
    """
    tokens, windows, head_width = 2 * WINDOW_TOKENS, 2, width // heads

    def drawn(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(shape, device=device).to(kind)

    x, y, (gate, weight, bias) = drawn(tokens, width), drawn(tokens, width), drawn(3, 1, width)
    for g in (gate, None):
        ours, theirs = x.clone(), x.float()
        normed = fused.add_norm(ours, y, g, weight, bias)
        wanted = plain.add_norm(theirs, y.float(), None if g is None else g.float(), weight.float(), bias.float())
        agree("the sum", ours, theirs, dtype)
        agree("the norm", normed, wanted, dtype)
    angle = drawn(tokens, head_width // 2, kind=torch.float32)
    turn = torch.stack((angle.cos(), angle.sin()), dim=-1)
    inputs = drawn(tokens, width), drawn(tokens, width), drawn(tokens, width)
    weights = [drawn(width) for _ in range(2)]

    def room(kind: torch.dtype) -> Turned:
        key, value = (drawn(heads, 2 * windows, WINDOW_TOKENS, head_width, kind=kind)[:, :windows] for _ in range(2))
        mean = drawn(heads, 2 * windows, head_width, kind=kind)[:, :windows]
        return Turned(weights[0].to(kind), weights[1].to(kind), turn, key, value, mean)

    ours_to, theirs_to = room(dtype), room(torch.float32)
    wanted_query, wanted_mean = plain.windows(inputs[0].float(), inputs[1].float(), inputs[2].float(), theirs_to)
    query, mean = fused.windows(*inputs, ours_to)
    agree("a query", query, wanted_query, dtype)
    agree("a mean of queries", mean, wanted_mean, dtype)
    agree("a mean of keys", ours_to.mean_EWD, theirs_to.mean_EWD, dtype)
    agree("a key", ours_to.key_EWLD, theirs_to.key_EWLD, dtype)
    agree("a value", ours_to.value_EWLD, theirs_to.value_EWLD, dtype)
    linear = nn.Linear(width, width, device=device, dtype=dtype)
    linear_32 = nn.Linear(width, width, device=device)
    linear_32.load_state_dict(linear.state_dict())
    agree("gelu", fused.linear_gelu(linear, x), plain.linear_gelu(linear_32, x.float()), dtype)
    near = torch.rand((5, 5), device=device) < 0.5
    near.fill_diagonal_(True)  # a window sees itself
    queries, keys = drawn(heads, 10, head_width), drawn(4, heads, 5, head_width)
    slabs = torch.tensor([3, 0, 2], dtype=torch.int32, device=device)
    wanted = plain.shares(queries.float(), keys.float(), slabs, near)
    agree("a share", fused.shares(queries, keys, slabs, near), wanted, dtype)
    scores = torch.rand((heads, 700), device=device).square()
    scores[:, ::3] = scores[:, :1]  # ties
    for k in (1, 300, 700):
        agree("what is above a threshold", fused.above_kth(scores, k), plain.above_kth(scores, k), None)
