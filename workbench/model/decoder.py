"""A decoder of blocks that differ at most in how they rotate: tokens in, hidden states out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.model.base import CausalLM
from workbench.model.config import ModelConfig
from workbench.model.decode import AtOnce, one_by_one
from workbench.model.layer import Layer
from workbench.model.layers import RMSNorm
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary, Turn


class Decoder(CausalLM):
    """Embedding, blocks, norm and head, with the factors that some families have around the blocks."""

    def __init__(
        self,
        config: ModelConfig,
        block: Callable[[int], Layer],
        *,
        norm: Layer | None = None,
        ropes: Rope | Sequence[Rope | None] | None,
        rotary_size: int | None = None,
        embed_scale: float = 1.0,
        logit_scale: float = 1.0,
        logit_cap: float | None = None,
        head_bias: bool = False,
    ) -> None:
        """Makes the layers by `block`, from their index.

        `ropes` is the rotary embedding of all layers, or that of each; None is none. It is made for heads of `rotary_size`, by
        default those of the config. `norm` is by default one by the root mean square. Embeddings and logits are multiplied by
        their scales; `logit_cap` is c in c * tanh(logits / c).
        """
        num_layers = config.num_hidden_layers
        norm = norm or RMSNorm(config.hidden_size, config.rms_norm_eps)
        super().__init__(config, map(block, range(num_layers)), norm, head_bias)
        self.ropes = [ropes] * num_layers if ropes is None or isinstance(ropes, Rope) else list(ropes)
        self.embed_scale, self.logit_scale, self.logit_cap = embed_scale, logit_scale, logit_cap
        self.rotary_size = rotary_size or config.head_dim
        self.at_once = AtOnce(self.layers, self.ropes)

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        size, longest = self.rotary_size, self.num_positions
        self.rotaries = {
            rope: Rotary(size, rope, self.max_positions, dtype=dtype, device=device, num_positions=longest)
            for rope in dict.fromkeys(self.ropes)  # as a rule all layers have one
            if rope is not None
        }
        # The scale is rounded to the weights' type, as models were trained.
        self._embed_scale = torch.tensor(self.embed_scale, dtype=dtype, device=device)

    def scaled(self, x: Tensor) -> Tensor:
        return x if self.embed_scale == 1 else x * self._embed_scale

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embed(token_ids, ctx)
        made = {rope: rotary.at(ctx.positions, ctx.axes) for rope, rotary in self.rotaries.items()}
        turns = [None if rope is None else made[rope] for rope in self.ropes]
        out: Tensor = self.norm(self.through(x, turns, ctx))
        return out

    def through(self, x: Tensor, turns: Sequence[Turn | None], ctx: StepContext) -> Tensor:
        """Returns x [T, H] after all layers; it may be x itself, changed. `turns` has one entry for each."""
        done = self.at_once(x, turns, ctx)
        return one_by_one(self.layers, x, turns, ctx) if done is None else done

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        if self.logit_scale != 1:
            logits = logits * self.logit_scale
        return logits if self.logit_cap is None else self.logit_cap * torch.tanh(logits.float() / self.logit_cap)
