"""OLMoE: queries and keys normed over all heads and clipped, experts in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import LlamaConfig
from workbench.model.family import Family, GgufRules
from workbench.model.layers import AllHeadsNorm
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK


@dataclass(frozen=True, kw_only=True)
class OlmoeConfig(LlamaConfig):
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    clip_qkv: float | None = None
    """Largest size of a number in queries, keys and values."""
    num_experts: int = 64
    num_experts_per_tok: int = 8
    norm_topk_prob: bool = False
    """True: the weights of a row add up to 1."""


class OlmoeForCausalLM(Decoder):
    def __init__(self, config: OlmoeConfig) -> None:
        hidden, num = config.hidden_size, config.num_experts
        choose = TopK(top_k=config.num_experts_per_tok, norm=1 if config.norm_topk_prob else None)

        def block(layer: int) -> Block:
            attention = Attention(
                config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias, clip=config.clip_qkv,
                head_norm=partial(AllHeadsNorm, eps=config.rms_norm_eps),
            )  # fmt: skip
            experts = Experts(num, hidden, config.intermediate_size, plain_mlp(config.hidden_act))
            return Block(config, attention, MoE(Router(hidden, num, choose), experts))

        super().__init__(config, block, ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    return {**gguf_experts.values_of(file), "num_experts": num, "num_experts_per_tok": used}


def _gguf_meta(config: OlmoeConfig) -> dict[str, Any]:
    return gguf_experts.meta_of(config, config.num_experts, config.num_experts_per_tok, config.intermediate_size)


FAMILY = Family(
    config=OlmoeConfig,
    model=OlmoeForCausalLM,
    gguf=GgufRules(names=gguf_experts.NAMES, keys=gguf_experts.KEYS, values=_gguf_values, meta=_gguf_meta),
)
