"""What a family has in common with the others: sizes from the config, the head, and how its checkpoint is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.model.layers import Embedding, Linear, RMSNorm


@dataclass(frozen=True, slots=True)
class Fused:
    """A layer whose weight is several checkpoint tensors, one below the other."""

    name: str
    parts: tuple[str, ...]


class CausalLM(nn.Module):
    """Base of every family. A subclass sets `embed_tokens`, `layers`, `norm`, `lm_head`, and writes `forward`."""

    fused: ClassVar[tuple[Fused, ...]] = ()
    embed_tokens: Embedding
    lm_head: Linear
    num_bytes: int = 0
    """Memory of the weights, tied ones counted once."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is what `config.settings` returns: every key that the family reads has a value."""
        super().__init__()
        self.config = config
        self.vocab_size: int = config["vocab_size"]
        self.num_layers: int = config["num_hidden_layers"]
        self.head_dim: int = config["head_dim"]
        self.num_kv_heads: int = config["num_key_value_heads"]
        self.max_positions: int = config["max_position_embeddings"]
        self.ties_embeddings: bool = config["tie_word_embeddings"]

    def stored_names(self, name: str) -> list[str]:
        """Names in a checkpoint, without its prefix, of the tensors that make our parameter `name`."""
        for fused in self.fused:
            if f".{fused.name}." in name:
                return [name.replace(fused.name, part) for part in fused.parts]
        return [name]

    def attention_specs(self) -> tuple[AttentionSpec, ...]:
        """Returns the specs of all layers that attend: from them the K/V store is made."""
        found = (getattr(module, "spec", None) for module in self.modules())
        return tuple(spec for spec in found if isinstance(spec, AttentionSpec))

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:
        """[T] -> [T, H]"""
        raise NotImplementedError

    def logits(self, hidden: Tensor) -> Tensor:
        """[R, H] -> [R, V]"""
        return self.lm_head(hidden)

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        """Changes: what is derived from the config once dtype and device are known."""

    def prepare(self) -> None:
        """Changes: after loading, folds norm offsets and packs weights for the CPU."""
        self.num_bytes = sum({p.data_ptr(): p.numel() * p.element_size() for p in self.parameters()}.values())
        for module in self.modules():
            if isinstance(module, RMSNorm):
                module.prepare()
            elif isinstance(module, Linear):
                module.pack()
