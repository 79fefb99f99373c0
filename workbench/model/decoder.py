"""A decoder of blocks that share one rotary embedding, with a factor on the embedding and on the logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.model.base import CausalLM
from workbench.model.config import ModelConfig
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary


class Decoder(CausalLM):
    """Embedding, blocks, norm and head."""

    embed_factor = 1.0
    """Factor on the embedding."""
    logit_factor = 1.0
    """Factor on the logits."""

    def __init__(
        self, config: ModelConfig, blocks: Iterable[Layer], norm: RMSNorm, rope: Rope, rope_dim: int | None = None
    ) -> None:
        """Joins the parts. `rope_dim` is the number of dimensions of a head that turn, by default all."""
        super().__init__(config, blocks, norm)
        self.rope, self.rope_dim = rope, rope_dim or config.head_dim

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary = Rotary(self.rope_dim, self.rope, self.max_positions, dtype=dtype, device=device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed_tokens(token_ids)
        x = x if self.embed_factor == 1 else x * self.embed_factor
        turn = self.rotary.at(ctx.positions)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        return logits if self.logit_factor == 1 else logits * self.logit_factor
