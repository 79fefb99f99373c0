"""A K/V store with numbers of 8 bits: half the memory of bfloat16, a quarter of float32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from workbench.attention.kv import bytes_per_token, kept_parts
from workbench.attention.spec import AttentionSpec
from workbench.kernels.codes import Codes
from workbench.kernels.ops import write_codes


class CodedKV:
    """K and V rounded to `kept` when they are written, and read as `dtype`; two `Codes` per layer,
    or one where values are a part of their keys.

    Every token reads what was rounded, its own K/V included. So a token computed over a cached prefix sees the numbers that
    it would see without the cache.
    """

    def __init__(
        self, specs: Sequence[AttentionSpec], num_slots: int, dtype: torch.dtype, device: torch.device, *,
        kept: torch.dtype, factors: Sequence[float] = (),
    ) -> None:  # fmt: skip
        """Reserves room. `factors` are the scales of float8_e4m3fn, one for each layer; without them all are 1."""

        def room(spec: AttentionSpec, size: int) -> Codes:
            shape = num_slots, spec.num_kv_heads
            if kept == torch.int8:
                scales = torch.empty(shape, dtype=torch.float32, device=device)
            else:
                factor = factors[spec.layer] if factors else 1.0
                scales = torch.tensor(factor, dtype=torch.float32, device=device).expand(shape)
            return Codes(torch.empty((*shape, size), dtype=kept, device=device), scales, dtype)

        def both(spec: AttentionSpec) -> tuple[Codes, Codes]:
            k = room(spec, spec.head_size)
            return k, k.first(spec.v_head_size) if spec.v_in_k else room(spec, spec.v_head_size)

        self._views, self._kept = {spec.layer: both(spec) for spec in specs}, kept_parts(specs)
        self.num_slots = num_slots
        self.num_touched = 0
        self.bytes_per_token = bytes_per_token(specs, kept)
        self.dtype, self.device = kept, device

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        for view, rows in islice(zip(self._views[layer], (k, v), strict=True), self._kept[layer]):
            write_codes(view, slots, rows)

    def read(self, layer: int, slots: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self._views[layer]
        return k.read(slots), v.read(slots)

    def views(self, layer: int) -> tuple[Codes, Codes]:
        return self._views[layer]
