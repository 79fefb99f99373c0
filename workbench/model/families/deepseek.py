"""DeepSeek V1: Llama with routed experts, and shared experts for all rows, after some dense layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import LlamaConfig
from workbench.model.family import Family, GgufRules
from workbench.model.layer import Layer
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import Chooser, TopK
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class DeepseekConfig(LlamaConfig):
    n_routed_experts: int = 64
    n_shared_experts: int | None = 2
    """Times that the shared MLP is as large as an expert."""
    num_experts_per_tok: int = 6
    moe_intermediate_size: int = 1407
    first_k_dense_replace: int = 0
    """First layers, which have no experts."""
    moe_layer_freq: int = 1
    """Every so many layers one has experts."""

    def settled(self) -> Self:
        return replace(super().settled(), n_shared_experts=self.n_shared_experts or 0)

    @property
    def expert_size(self) -> int:
        """Numbers between the two products of an expert."""
        return self.moe_intermediate_size

    def mlp(self, layer: int, choose: Chooser, *, corrects: bool = False) -> Layer:
        """Returns the MLP or the experts of a layer."""
        hidden, inner, activation = self.hidden_size, self.expert_size, self.hidden_act
        if layer < self.first_k_dense_replace or layer % self.moe_layer_freq:
            return MLP(hidden, self.intermediate_size, activation)
        router = Router(hidden, self.n_routed_experts, choose, corrects=corrects)
        shared = MLP(hidden, inner * self.n_shared_experts, activation) if self.n_shared_experts else None
        return MoE(router, Experts(self.n_routed_experts, hidden, inner, plain_mlp(activation)), shared)


@dataclass(frozen=True, kw_only=True)
class DeepseekV1Config(DeepseekConfig):
    norm_topk_prob: bool = False
    """True: the weights of a row add up to 1."""
    scoring_func: Literal["softmax"] = "softmax"


class DeepseekForCausalLM(Decoder):
    def __init__(self, config: DeepseekV1Config) -> None:
        top_k = config.num_experts_per_tok
        choose = TopK(top_k=top_k, norm=1 if config.norm_topk_prob and top_k > 1 else None)

        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return Block(config, attention, config.mlp(layer, choose))

        super().__init__(config, block, ropes=config.rope())


def gguf_layout(file: GgufFile) -> dict[str, Any]:
    """Returns how many layers have experts and how large those are."""
    arch, meta = file.architecture, file.meta
    num, used = gguf_experts.counts(file)
    return {
        "n_routed_experts": num,
        "num_experts_per_tok": used,
        "n_shared_experts": meta.get(f"{arch}.expert_shared_count", 0),
        "moe_intermediate_size": gguf_experts.expert_size(file),
        "first_k_dense_replace": meta.get(f"{arch}.leading_dense_block_count", 0),
    }


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return {**gguf_experts.values_of(file), **gguf_layout(file)}


def gguf_layout_meta(config: DeepseekConfig) -> dict[str, Any]:
    """Returns the metadata of the layout of layers, and of their experts: the inverse of `gguf_layout`."""
    experts = gguf_experts.meta_of(config, config.n_routed_experts, config.num_experts_per_tok, config.expert_size)
    own = {"expert_shared_count": config.n_shared_experts or 0, "leading_dense_block_count": config.first_k_dense_replace}
    return experts | own


def _gguf_meta(config: DeepseekV1Config) -> dict[str, Any]:
    return gguf_layout_meta(config) | {"expert_weights_scale": 1.0}


FAMILY = Family(
    config=DeepseekV1Config,
    model=DeepseekForCausalLM,
    gguf=GgufRules[DeepseekV1Config](
        names=gguf_experts.NAMES, keys=gguf_experts.KEYS, values=_gguf_values, meta=_gguf_meta, changes=neighbours
    ),
)
