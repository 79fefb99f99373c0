"""Phi 3.5 MoE: Mixtral with biased norms, biases, and two experts chosen one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.mixtral import NAMES, MixtralConfig
from workbench.model.families.phi3 import GGUF_KEYS, GGUF_LEFTOVERS, gguf_values, longrope_meta, longrope_tables
from workbench.model.family import Family, GgufRules
from workbench.model.layers import LayerNorm
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.rope import Rope
from workbench.model.routing import SparseMixer


@dataclass(frozen=True, kw_only=True)
class PhimoeConfig(MixtralConfig):
    num_local_experts: int = 16
    lm_head_bias: bool = False
    router_jitter_noise: float = 0.01
    """Width of the band in which logits of experts count as close."""
    original_max_position_embeddings: int | None = None
    """Positions in training, for the long rotary embedding."""

    def settled(self) -> Self:
        config = super().settled()
        return replace(config, original_max_position_embeddings=(config.rope_scaling or {})["original_max_position_embeddings"])

    def rope(self) -> Rope:
        trained = {"original_max_position_embeddings": self.original_max_position_embeddings}
        return Rope.make(self.rope_theta, trained, self.rope_scaling or self.rope_parameters)


class PhimoeForCausalLM(Decoder):
    def __init__(self, config: PhimoeConfig) -> None:
        hidden, num, biased = config.hidden_size, config.num_local_experts, config.attention_bias
        norm = partial(LayerNorm, eps=config.rms_norm_eps)
        choose = SparseMixer(config.num_experts_per_tok, config.router_jitter_noise)

        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.sliding_window, qkv_bias=biased, o_bias=biased)
            experts = Experts(num, hidden, config.intermediate_size, plain_mlp(config.hidden_act))
            return Block(
                config,
                attention,
                MoE(Router(hidden, num, choose), experts),
                norm,
            )

        super().__init__(config, block, norm=norm(hidden), ropes=config.rope(), head_bias=config.lm_head_bias)


class PhiMoEForCausalLM(PhimoeForCausalLM):
    """The same under the name in the published folder."""


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    return gguf_values(file) | {
        "num_local_experts": num,
        "num_experts_per_tok": used,
        "intermediate_size": gguf_experts.expert_size(file),
        "lm_head_bias": "output.bias" in file.tensors,
    }


def _gguf_meta(config: PhimoeConfig) -> dict[str, Any]:
    window = {} if config.sliding_window is None else {"attention.sliding_window": config.sliding_window}
    experts = gguf_experts.meta_of(config, config.num_local_experts, config.num_experts_per_tok, config.intermediate_size)
    return experts | window | longrope_meta(config)


def _family(model: type[PhimoeForCausalLM]) -> Family[PhimoeConfig]:
    rules = GgufRules[PhimoeConfig](
        names=gguf_experts.NAMES,
        keys=GGUF_KEYS | gguf_experts.KEYS,
        values=_gguf_values,
        leftovers=GGUF_LEFTOVERS,
        meta=_gguf_meta,
        tables=longrope_tables,
    )
    return Family(config=PhimoeConfig, model=model, names=NAMES, gguf=rules)


FAMILY, PUBLISHED = _family(PhimoeForCausalLM), _family(PhiMoEForCausalLM)
