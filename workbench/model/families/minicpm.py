"""MiniCPM 1 and 2: Llama with a scaled embedding, scaled additions to the residual, and logits of a narrower model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class MiniCPMConfig(ModelConfig):
    tie_word_embeddings: bool = True
    hidden_act: Activation = "silu"
    scale_emb: float = 1.0
    scale_depth: float = 1.0
    """The factor on what a block adds, before it is divided by the root of the number of layers."""
    dim_model_base: int = 1
    """Logits are divided by the hidden size over this."""


class MiniCPMForCausalLM(Decoder):
    def __init__(self, config: MiniCPMConfig) -> None:
        added_scale = config.scale_depth / config.num_hidden_layers**0.5

        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, attention, mlp, added_scale=added_scale)

        super().__init__(
            config, block, ropes=config.rope(), embed_scale=config.scale_emb,
            logit_scale=config.dim_model_base / config.hidden_size,
        )  # fmt: skip


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values, meta = gguf.plain_values(file), file.meta
    return values | {
        "scale_emb": meta.need("minicpm.embedding_scale"),
        "scale_depth": meta.need("minicpm.residual_scale") * values["num_hidden_layers"] ** 0.5,
        "dim_model_base": round(values["hidden_size"] / meta.need("minicpm.logit_scale")),
    }


def _gguf_meta(config: MiniCPMConfig) -> dict[str, Any]:
    return gguf.plain_meta(config) | {
        "embedding_scale": float(config.scale_emb),
        "residual_scale": config.scale_depth / config.num_hidden_layers**0.5,
        "logit_scale": config.hidden_size / config.dim_model_base,
    }


FAMILY = Family[MiniCPMConfig](
    config=MiniCPMConfig, model=MiniCPMForCausalLM,
    gguf=GgufRules[MiniCPMConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS | {"embedding_scale", "residual_scale", "logit_scale"}, values=_gguf_values,
        changes=neighbours, meta=_gguf_meta, tables=gguf.plain_tables,
    ),
)  # fmt: skip
