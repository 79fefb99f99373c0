"""StableLM: layer norms, rotary embeddings of a quarter of each head; the larger ones norm each head and add in parallel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.weights import Weights
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block, ParallelBlock
from workbench.model.config import Activation, PartlyRotated
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layer import Gathered
from workbench.model.layers import HeadsLayerNorm, LayerNorm


@dataclass(frozen=True, kw_only=True)
class StableLmConfig(PartlyRotated):
    words: ClassVar[Mapping[str, str]] = {"norm_eps": "layer_norm_eps", "rope_pct": "partial_rotary_factor"}

    num_key_value_heads: int = 32
    max_position_embeddings: int = 4096
    partial_rotary_factor: float = 0.25
    hidden_act: Activation = "silu"
    layer_norm_eps: float = 1e-5
    use_qkv_bias: bool = False
    qk_layernorm: bool = False
    use_parallel_residual: bool = False

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=self.use_qkv_bias)  # its biases have a key of their own


class ListedHeadsNorm(HeadsLayerNorm):
    """One tensor in the file for each head."""

    def load(self, weights: Weights) -> None:
        if weights.has("weight"):  # of a GGUF file
            super().load(weights)
            return
        heads = [weights.at("norms").at(str(head)).tensor("weight", self.size, neutral=1.0) for head in range(self.num_heads)]
        self.weight = torch.stack(heads)
        self.num_bytes = self.weight.nbytes

    def gathered(self, weights: Weights) -> Mapping[str, Gathered]:
        norms = weights.at("norms")
        reads = [partial(norms.at(str(head)).tensor, "weight", self.size) for head in range(self.num_heads)]
        return {"weight": Gathered((self.num_heads, self.size), reads)}


class StableLmForCausalLM(Decoder):
    def __init__(self, config: StableLmConfig) -> None:
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        head_norm = partial(ListedHeadsNorm, eps=config.layer_norm_eps) if config.qk_layernorm else None

        def block(layer: int) -> Block | ParallelBlock:
            attention = Attention(config, layer, qkv_bias=config.use_qkv_bias, head_norm=head_norm)
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            form = ParallelBlock if config.use_parallel_residual else Block
            return form(config, attention, mlp, norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values = gguf.layer_normed(gguf.partly_rotated_values(file), "layer_norm_eps")
    return values | {
        "use_parallel_residual": file.meta.get("stablelm.use_parallel_residual", False),
        "use_qkv_bias": values["attention_bias"],
        "qk_layernorm": "blk.0.attn_q_norm.weight" in file.tensors,
    }


def _gguf_meta(config: StableLmConfig) -> dict[str, Any]:
    meta = gguf.layer_normed_meta(gguf.partly_rotated_meta(config), config.layer_norm_eps)
    return meta | {"use_parallel_residual": config.use_parallel_residual}


FAMILY = Family(
    config=StableLmConfig,
    model=StableLmForCausalLM,
    neutral=COMMON_NEUTRAL | {"rotary_scaling_factor": (1,)},
    names={f"layers.*.self_attn.{one}_norm.norms.*": f"layers.*.self_attn.{one}_layernorm.norms.*" for one in "qk"},
    gguf=GgufRules(
        names=gguf.LLAMA_NAMES | gguf.HEAD_NORMS, keys=gguf.KEYS | {"use_parallel_residual"}, values=_gguf_values, meta=_gguf_meta
    ),
)
