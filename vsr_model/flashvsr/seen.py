"""Where the keys and values lie that an attention looks at. Knows nothing of who computes it.

Shape suffixes: E heads, W windows (Wk of keys), L tokens of a window, D head width, n windows of a slab, s slabs that
are seen, S of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Seen:
    """What queries may look at: slabs of keys and values that lie anywhere in a pool.

    Attributes:
        keys_SEnLD, values_SEnLD: the pool, dense.
        slabs_s: numbers of its slabs, int32: key window w is window w % n of slab number `slabs_s[w // n]`.
    """

    keys_SEnLD: torch.Tensor
    values_SEnLD: torch.Tensor
    slabs_s: torch.Tensor

    @classmethod
    def alone(cls, key_EWLD: torch.Tensor, value_EWLD: torch.Tensor) -> Seen:
        """Keys and values of a single slab that is a pool of its own."""
        slabs_s = torch.zeros(1, dtype=torch.int32, device=key_EWLD.device)
        return cls(key_EWLD[None].contiguous(), value_EWLD[None].contiguous(), slabs_s)

    def gathered(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all that is seen, [E, Wk, L, D] each; copies."""
        slabs_s = self.slabs_s.long()
        key_EWLD, value_EWLD = (x[slabs_s].transpose(0, 1).flatten(1, 2) for x in (self.keys_SEnLD, self.values_SEnLD))
        return key_EWLD, value_EWLD
