"""Granite MoE: Granite 3 with stacked experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.granite import FACTORS, GraniteConfig
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class GraniteMoeConfig(GraniteConfig):
    num_local_experts: int = 8
    num_experts_per_tok: int = 2


class GraniteMoeForCausalLM(Decoder):
    def __init__(self, config: GraniteMoeConfig) -> None:
        hidden, num, biased = config.hidden_size, config.num_local_experts, config.attention_bias
        choose = TopK(top_k=config.num_experts_per_tok, norm=1)

        def block(layer: int) -> Block:
            attention = Attention(config, layer, scale=config.attention_multiplier, qkv_bias=biased, o_bias=biased)
            experts = Experts(num, hidden, config.intermediate_size, plain_mlp(config.hidden_act))
            return Block(config, attention, MoE(Router(hidden, num, choose), experts), added_scale=config.residual_multiplier)

        super().__init__(
            config, block, ropes=config.rope(),
            embed_scale=config.embedding_multiplier, logit_scale=1 / config.logits_scaling,
        )  # fmt: skip


NAMES = {
    "layers.*.mlp.gate": "layers.*.block_sparse_moe.router.layer",
    "layers.*.mlp.experts.gate_up_proj": "layers.*.block_sparse_moe.input_linear",
    "layers.*.mlp.experts.down_proj": "layers.*.block_sparse_moe.output_linear",
}


def _gguf_meta(config: GraniteMoeConfig) -> dict[str, Any]:
    experts = gguf_experts.meta_of(config, config.num_local_experts, config.num_experts_per_tok, config.intermediate_size)
    return experts | {key: float(getattr(config, ours)) for key, ours in FACTORS.items()}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    stated = {ours: file.meta.get(f"granitemoe.{key}") for key, ours in FACTORS.items()}
    return {**gguf_experts.values_of(file), **stated, "num_local_experts": num, "num_experts_per_tok": used}


FAMILY = Family(
    gguf=GgufRules[GraniteMoeConfig](
        names=gguf_experts.NAMES,
        keys=gguf_experts.KEYS | FACTORS.keys(),
        values=_gguf_values,
        meta=_gguf_meta,
        changes=neighbours,
    ),
    config=GraniteMoeConfig,
    model=GraniteMoeForCausalLM,
    names=NAMES,
    neutral=COMMON_NEUTRAL | {"normalization_function": ("rmsnorm",), "position_embedding_type": ("rope",)},
)
