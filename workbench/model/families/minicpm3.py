"""MiniCPM 3: attention over latents, with factors on the embedding, on each result and on the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_latent
from workbench.model.blocks import MLP, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import LlamaConfig
from workbench.model.families.phi3 import longrope_meta, longrope_tables
from workbench.model.family import Family, GgufRules
from workbench.model.mla import LatentAttention, LatentConfig


@dataclass(frozen=True, kw_only=True)
class MiniCPM3Config(LlamaConfig, LatentConfig):
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    kv_lora_rank: int = 256
    qk_nope_head_dim: int = 64
    qk_rope_head_dim: int = 32
    v_head_dim: int = 64
    scale_emb: float = 12
    """Factor on the embedding."""
    scale_depth: float = 1.4
    """Factor on each result, times the root of the number of layers."""
    dim_model_base: int = 256
    """Hidden size at which the logits have the factor 1."""


class MiniCPM3ForCausalLM(Decoder):
    def __init__(self, config: MiniCPM3Config) -> None:
        rope, factor = config.rope(), config.scale_depth / config.num_hidden_layers**0.5

        def block(layer: int) -> Block:
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias)
            return Block(config, LatentAttention(config, layer, rope), mlp, added_scale=factor)

        super().__init__(
            config, block, ropes=rope, rotary_size=config.qk_rope_head_dim,
            embed_scale=config.scale_emb, logit_scale=config.dim_model_base / config.hidden_size,
        )  # fmt: skip


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values, tables = gguf_latent.values_of(file), ("short", "long")
    if "rope_factors_long.weight" in file.tensors:
        divisors = {f"{name}_factor": file.floats(f"rope_factors_{name}.weight") for name in tables}
        trained = {"original_max_position_embeddings": values["max_position_embeddings"]}
        values["rope_scaling"] = {"rope_type": "longrope", **divisors, **trained}
    return values


def _gguf_meta(config: MiniCPM3Config) -> dict[str, Any]:
    meta = gguf_latent.meta_of(config)
    return {key: value for key, value in meta.items() if key != "attention.value_length"} | longrope_meta(config)


FAMILY = Family(
    config=MiniCPM3Config,
    model=MiniCPM3ForCausalLM,
    gguf=GgufRules(
        names=gguf_latent.NAMES,
        keys=gguf_latent.KEYS,
        values=_gguf_values,
        meta=_gguf_meta,
        tables=longrope_tables,
        leftovers=r"^rope_factors_(long|short)\.weight$",
    ),
)
