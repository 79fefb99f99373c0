"""Multi-head latent attention: keys and values of all heads are products of one short vector, the latent, of each token.

Two forms give the same numbers. Plain: the store keeps the keys and values of every head. Absorbed: it keeps the latent and the
part of the key that all heads share, and the maps from latent to heads are applied to queries and results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from workbench.attention.base import Own, StepContext
from workbench.attention.spec import AttentionSpec
from workbench.checkpoint.weights import Weights
from workbench.model.config import ModelConfig
from workbench.model.layer import Gathered, Layer
from workbench.model.layers import RMSNorm
from workbench.model.linear import FusedLinear, Linear
from workbench.model.rope import Rope, yarn_growth
from workbench.model.rotary import Turn, rotate_part

LATENT_EPS = 1e-6
"""Epsilon of the norms of both latents, whatever the config says for the others."""


@dataclass(frozen=True, kw_only=True)
class LatentConfig(ModelConfig):
    """The keys that multi-head latent attention adds to a config."""

    q_lora_rank: int | None = None
    """Numbers of a query's latent; None: queries are made without one."""
    kv_lora_rank: int = 512
    """Numbers of the latent of keys and values."""
    qk_nope_head_dim: int = 128
    """Numbers of a key that do not turn with its position; each head has its own."""
    qk_rope_head_dim: int = 64
    """Numbers of a key that turn; all heads share them."""
    v_head_dim: int = 128
    qk_head_dim: int | None = None
    """Numbers of a key, the sum of both parts; stated by transformers 5."""
    splits_maps: ClassVar[bool] = False
    """True where GGUF files have a tensor for the keys of all heads and one for their values."""
    disable_mla: bool = False
    """True: the plain form. A setting of the engine, in no config.json."""

    def __post_init__(self) -> None:
        both = self.qk_nope_head_dim + self.qk_rope_head_dim
        if self.qk_head_dim not in (None, both):
            raise ValueError(f"qk_head_dim = {self.qk_head_dim}, and its parts have {both} numbers")

    def settled(self) -> Self:
        own: dict[str, Any] = {"head_dim": self.qk_rope_head_dim, "num_key_value_heads": self.num_attention_heads}
        return replace(super().settled(), qk_head_dim=None, **own)

    def score_scale(self, rope: Rope) -> float:
        """Returns the factor on scores, which a stretched rotary embedding enlarges."""
        size = self.qk_nope_head_dim + self.qk_rope_head_dim
        growth = yarn_growth(rope.factor, rope.mscale_all_dim) if rope.mscale_all_dim else 1.0
        return float(size**-0.5 * growth**2)


class HeadMaps(Layer):
    """The maps from the latent to each head's keys and values, dense."""

    keys: Tensor  # [Hq, nope, rank]
    values: Tensor  # [Hq, Dv, rank]

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.num_heads, self.rank = config.num_attention_heads, config.kv_lora_rank
        self.sizes, self.splits = (config.qk_nope_head_dim, config.v_head_dim), config.splits_maps

    def load(self, weights: Weights) -> None:
        keys, values = weights.beside("k_b_proj"), weights.beside("v_b_proj")
        if keys.has("weight"):  # in newer GGUF files, with keys as they are absorbed
            self.keys = keys.tensor("weight", self.num_heads, self.rank, self.sizes[0]).transpose(1, 2).contiguous()
            self.values = values.tensor("weight", self.num_heads, self.sizes[1], self.rank)
        else:
            whole = weights.tensor("weight", self.num_heads * sum(self.sizes), self.rank).view(-1, sum(self.sizes), self.rank)
            self.keys, self.values = (part.contiguous() for part in whole.split(self.sizes, 1))
        self.num_bytes = self.keys.nbytes + self.values.nbytes

    def gathered(self, weights: Weights) -> Mapping[str, Gathered] | None:
        if not self.splits:
            return None
        (nope, value), shape = self.sizes, (self.num_heads, sum(self.sizes), self.rank)

        def part(index: int) -> Tensor:
            whole = weights.tensor("weight", shape[0] * shape[1], self.rank).view(shape)
            keys, values = whole.split(self.sizes, 1)
            return values if index else keys.transpose(1, 2)

        sizes = {"keys": (self.num_heads, self.rank, nope), "values": (self.num_heads, value, self.rank)}
        return {name: Gathered(size, [partial(part, index)]) for index, (name, size) in enumerate(sizes.items())}

    def heads(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys [T, Hq, nope] and values [T, Hq, Dv] of a latent [T, rank]."""
        keys, values = (latent @ part.flatten(0, 1).T for part in (self.keys, self.values))
        return keys.unflatten(-1, (self.num_heads, -1)), values.unflatten(-1, (self.num_heads, -1))

    def absorb(self, q: Tensor) -> Tensor:
        """Returns queries of latents [T, Hq, rank] of queries of keys [T, Hq, nope]."""
        return torch.bmm(q.transpose(0, 1), self.keys).transpose(0, 1)

    def results(self, latents: Tensor) -> Tensor:
        """Returns sums of values [T, Hq, Dv] of sums of latents [T, Hq, rank]."""
        return torch.bmm(latents.transpose(0, 1), self.values.transpose(1, 2)).transpose(0, 1)


class LatentAttention(Layer):
    """Attention over latents."""

    def __init__(self, config: LatentConfig, layer: int, rope: Rope, *, interleaved: bool = False) -> None:
        """Makes the projections. `interleaved`: the numbers that turn together are neighbours, not half a head apart."""
        super().__init__()
        num_heads, rank, q_rank = config.num_attention_heads, config.kv_lora_rank, config.q_lora_rank
        self.rank, self.nope, self.turned = rank, config.qk_nope_head_dim, config.qk_rope_head_dim
        self.interleaved, self.is_absorbed = interleaved, not config.disable_mla
        size = self.nope + self.turned
        shape = (1, rank + self.turned, rank) if self.is_absorbed else (num_heads, size, config.v_head_dim)
        num_kv_heads, head_size, v_head_size = shape
        self.spec = AttentionSpec(
            layer=layer, num_heads=num_heads, num_kv_heads=num_kv_heads, head_size=head_size, v_head_size=v_head_size,
            v_in_k=self.is_absorbed, scale=config.score_scale(rope),
        )  # fmt: skip
        first = {"q_a_proj": q_rank} if q_rank else {"q_proj": num_heads * size}
        self.down = FusedLinear(config.hidden_size, first | {"kv_a_proj_with_mqa": rank + self.turned}, config.attention_bias)
        self.q_a_layernorm = RMSNorm(q_rank, LATENT_EPS) if q_rank else None
        self.q_b_proj = Linear(q_rank, num_heads * size) if q_rank else None
        self.kv_a_layernorm = RMSNorm(rank, LATENT_EPS)
        self.kv_b_proj = HeadMaps(config)
        self.o_proj = Linear(num_heads * config.v_head_dim, config.hidden_size, config.attention_bias)

    def forward(self, x: Tensor, turn: Turn | None, ctx: StepContext, norm: RMSNorm, added: Tensor | None = None) -> Tensor:
        """Returns attention of norm(x) [T, H], plus `added`."""
        q, latent, shared = self._projected(x, norm)
        q, turned = q[..., : self.nope], self._turned(q[..., self.nope :], turn)
        shared = self._turned(shared[:, None], turn)  # [T, 1, rope]
        maps, attention = self.kv_b_proj, ctx.attention

        def plain() -> Own:
            keys, values = maps.heads(latent)
            return Own(torch.cat((q, turned), -1), torch.cat((keys, shared.expand(-1, keys.shape[1], -1)), -1), values)

        if self.is_absorbed:
            kept = torch.cat((latent[:, None], shared), -1)
            # A head's scores and values have fewer numbers in the plain form, so tokens without older ones are computed in that.
            out = attention.attend_alone(self.spec, kept, kept[..., : self.rank], plain)
            if out is None:
                queries = torch.cat((maps.absorb(q), turned), -1)
                out = maps.results(attention.attend(self.spec, queries, kept, kept[..., : self.rank]))
        else:
            out = attention.attend(self.spec, *plain())
        return self.o_proj(out.flatten(1), added=added)

    def _projected(self, x: Tensor, norm: RMSNorm) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries [T, Hq, nope + rope], the latent [T, rank] and the shared part of the keys [T, rope]."""
        q, kv = self.down.split(x, norm.norm)
        if self.q_a_layernorm is not None and self.q_b_proj is not None:
            q = self.q_b_proj(q.contiguous(), self.q_a_layernorm.norm)
        latent, shared = kv.split((self.rank, self.turned), -1)
        return q.unflatten(-1, (-1, self.nope + self.turned)), self.kv_a_layernorm(latent), shared

    def _turned(self, x: Tensor, turn: Turn | None) -> Tensor:
        """Returns x [T, heads, rope] turned by its position, in an order that queries and keys share."""
        if self.interleaved:
            x = torch.cat((x[..., 0::2], x[..., 1::2]), -1)
        return rotate_part(x, turn)
