"""Grok 1: norms before and after each part, capped scores, experts whose weights do not add up to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import Attention, SandwichBlock
from workbench.model.config import ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.families.mixtral import NAMES as EXPERTS
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK


@dataclass(frozen=True, kw_only=True)
class GrokConfig(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {"num_experts": "num_local_experts"}

    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    attn_output_multiplier: float = 128**-0.5
    """Factor on scores."""
    max_attn_value: float = 30.0
    """The cap on the size of a score."""
    router_logit_softcapping: float = 30.0
    """The cap on the size of a router's logit."""
    embedding_multiplier_scale: float = 6144**0.5
    output_multiplier_scale: float = 3**-0.5
    """Factor on the logits."""
    num_local_experts: int = 8
    num_experts_per_tok: int = 2


class Grok1ForCausalLM(Decoder):
    def __init__(self, config: GrokConfig) -> None:
        hidden, num = config.hidden_size, config.num_local_experts
        choose = TopK(top_k=config.num_experts_per_tok, softcap=config.router_logit_softcapping)

        def block(layer: int) -> SandwichBlock:
            attention = Attention(config, layer, scale=config.attn_output_multiplier, softcap=config.max_attn_value)
            moe = MoE(Router(hidden, num, choose), Experts(num, hidden, config.intermediate_size, plain_mlp("gelu_pytorch_tanh")))
            return SandwichBlock(config, attention, moe, partial(RMSNorm, eps=config.rms_norm_eps))

        super().__init__(
            config, block, ropes=config.rope(),
            embed_scale=config.embedding_multiplier_scale, logit_scale=config.output_multiplier_scale,
        )  # fmt: skip


class Grok1ModelForCausalLM(Grok1ForCausalLM):
    """The same under the name of the first conversion from JAX."""


NAMES = EXPERTS | {
    "layers.*.input_layernorm": "layers.*.pre_attn_norm",
    "layers.*.post_attention_layernorm": "layers.*.post_attn_norm",
    "layers.*.pre_feedforward_layernorm": "layers.*.pre_moe_norm",
    "layers.*.post_feedforward_layernorm": "layers.*.post_moe_norm",
}


GGUF_FACTORS = {
    "attn_output_multiplier": "attention.output_scale",
    "max_attn_value": "attn_logit_softcapping",
    "router_logit_softcapping": "router_logit_softcapping",
    "embedding_multiplier_scale": "embedding_scale",
    "output_multiplier_scale": "logit_scale",
}
"""Our word -> a key of newer files; older ones leave the published values to their readers."""
GGUF_NAMES = gguf_experts.NAMES | {
    "layers.*.post_attention_layernorm": "blk.*.attn_output_norm",
    "layers.*.pre_feedforward_layernorm": "blk.*.ffn_norm",
    "layers.*.post_feedforward_layernorm": "blk.*.layer_output_norm",
}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    stated = {word: file.meta.get(f"grok.{key}") for word, key in GGUF_FACTORS.items()}
    values = gguf_experts.values_of(file) | {"num_local_experts": num, "num_experts_per_tok": used}
    return values | {word: value for word, value in stated.items() if value}


def _gguf_meta(config: GrokConfig) -> dict[str, Any]:
    experts = gguf_experts.meta_of(config, config.num_local_experts, config.num_experts_per_tok, config.intermediate_size)
    return experts | {key: float(getattr(config, word)) for word, key in GGUF_FACTORS.items()}


GGUF = GgufRules[GrokConfig](
    names=GGUF_NAMES, keys=gguf_experts.KEYS | frozenset(GGUF_FACTORS.values()), values=_gguf_values, meta=_gguf_meta
)
FAMILY = Family(config=GrokConfig, model=Grok1ForCausalLM, names=NAMES, gguf=GGUF)
FIRST = Family(config=GrokConfig, model=Grok1ModelForCausalLM, names=NAMES, gguf=GGUF)
