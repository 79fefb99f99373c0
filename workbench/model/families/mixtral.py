"""Mixtral: Llama with a mixture of experts in the place of each MLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import LlamaConfig
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class MixtralConfig(LlamaConfig):
    max_position_embeddings: int = 131_072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 1_000_000.0
    sliding_window: int | None = None
    num_local_experts: int = 8
    num_experts_per_tok: int = 2


class MixtralForCausalLM(Decoder):
    def __init__(self, config: MixtralConfig) -> None:
        hidden, num = config.hidden_size, config.num_local_experts

        def block(layer: int) -> Block:
            router = Router(hidden, num, TopK(top_k=config.num_experts_per_tok, norm=1))
            moe = MoE(router, Experts(num, hidden, config.intermediate_size, plain_mlp(config.hidden_act)))
            return Block(config, Attention(config, layer, window=config.sliding_window), moe)

        super().__init__(config, block, ropes=config.rope())


NAMES = {
    "layers.*.mlp.gate": "layers.*.block_sparse_moe.gate",
    "layers.*.mlp.experts.*.gate_proj": "layers.*.block_sparse_moe.experts.*.w1",
    "layers.*.mlp.experts.*.up_proj": "layers.*.block_sparse_moe.experts.*.w3",
    "layers.*.mlp.experts.*.down_proj": "layers.*.block_sparse_moe.experts.*.w2",
}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    return {**gguf_experts.values_of(file), "num_local_experts": num, "num_experts_per_tok": used}


def _gguf_meta(config: MixtralConfig) -> dict[str, Any]:
    return gguf_experts.meta_of(config, config.num_local_experts, config.num_experts_per_tok, config.intermediate_size)


FAMILY = Family(
    config=MixtralConfig,
    model=MixtralForCausalLM,
    names=NAMES,
    neutral=COMMON_NEUTRAL,
    gguf=GgufRules[MixtralConfig](
        names=gguf_experts.NAMES, keys=gguf_experts.KEYS, values=_gguf_values, changes=neighbours, meta=_gguf_meta
    ),
)
