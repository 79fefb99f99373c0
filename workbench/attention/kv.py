"""The K/V tensors: one row per slot, slot = page * page_size + offset.

The whole capacity is reserved at once and untouched memory costs nothing: a CPU's operating system commits pages when
they are first written, and the page pool hands out low numbers first. So the store grows with what is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels.ops import write_slots


class KVStore:
    def __init__(
        self, num_layers: int, num_slots: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_layers, num_slots, num_kv_heads, head_dim)
        self.k = torch.empty(shape, dtype=dtype, device=device)  # [L, slots, Hkv, D]
        self.v = torch.empty(shape, dtype=dtype, device=device)
        self.num_slots = num_slots
        self.num_touched = 0
        """One more than the highest slot ever written."""

    @property
    def bytes_per_token(self) -> int:
        layers, _, heads, dim = self.k.shape
        return 2 * layers * heads * dim * self.k.element_size()

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Changes: k, v [T, Hkv, D] go to `slots` [T] of one layer."""
        write_slots(self.k[layer], slots, k)
        write_slots(self.v[layer], slots, v)
