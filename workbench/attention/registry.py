"""Attention backends and K/V stores by name. A backend's module is imported when it is chosen, so the others cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from workbench.attention.base import AttentionBackend
from workbench.attention.kv import DenseKV, KVStore, ViewableKV
from workbench.attention.kv_codes import CodedKV
from workbench.attention.spec import AttentionSpec
from workbench.errors import NotSupported


def _torch(kv: KVStore) -> AttentionBackend:
    from workbench.attention.torch_fast import FastAttention

    if not isinstance(kv, ViewableKV):
        raise NotSupported(f"attention backend torch cannot read {type(kv).__name__}", hint='use attention_backend="reference"')
    return FastAttention(kv)


def _reference(kv: KVStore) -> AttentionBackend:
    from workbench.attention.torch_ref import ReferenceAttention

    return ReferenceAttention(kv)


BACKENDS: dict[str, Callable[[KVStore], AttentionBackend]] = {"torch": _torch, "reference": _reference}


def backend_name(wanted: str) -> str:
    """Returns the backend that "auto" means, or the one wanted."""
    return "torch" if wanted == "auto" else wanted


def create_backend(name: str, kv: KVStore) -> AttentionBackend:
    """Returns the backend of this name over a store. Raises NotSupported where it cannot read such a store."""
    return BACKENDS[name](kv)


def create_store(
    specs: Sequence[AttentionSpec], num_slots: int, dtype: torch.dtype, device: torch.device, *,
    kept: torch.dtype | None = None, factors: Sequence[float] = (),
) -> KVStore:  # fmt: skip
    """Returns a store of `num_slots` tokens for these layers. Raises RuntimeError where memory does not suffice.

    It is read in `dtype`. The numbers are kept in that too, or in 8 bits: `kept`, with a factor for each layer.
    """
    if kept in (None, dtype):
        return DenseKV(specs, num_slots, dtype, device)
    return CodedKV(specs, num_slots, dtype, device, kept=kept, factors=factors)
