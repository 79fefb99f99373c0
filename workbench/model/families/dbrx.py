"""DBRX: keys in two objects of config.json, one matrix for queries, keys and values, norms without biases, stacked experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.checkpoint.weights import Weights
from workbench.model import gguf, gguf_experts
from workbench.model.blocks import Attention, Block
from workbench.model.config import ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import LayerNorm
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK

NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class DbrxConfig(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "n_layers": "num_hidden_layers",
        "max_seq_len": "max_position_embeddings",
        "attn_config.kv_n_heads": "num_key_value_heads",
        "attn_config.clip_qkv": "clip_qkv",
        "attn_config.rope_theta": "rope_theta",
        "ffn_config.hidden_size": "hidden_size",
        "ffn_config.ffn_hidden_size": "intermediate_size",
        "ffn_config.moe_num_experts": "moe_num_experts",
        "ffn_config.moe_top_k": "moe_top_k",
        "ffn_config.moe_normalize_expert_weights": "moe_normalize_expert_weights",
    }

    clip_qkv: float | None = None
    """Largest size of a number in queries, keys and values."""
    moe_num_experts: int = 4
    moe_top_k: int = 1
    moe_normalize_expert_weights: float | None = 1.0
    """Order of the norm by which the weights of a row are divided."""


class DbrxExperts(Experts):
    """Experts whose matrices lie below each other in a file; that of the way down is transposed."""

    def matrices(self, weights: Weights, index: int) -> tuple[list[Tensor | Blocks], Tensor | Blocks]:
        if not weights.has("w1"):
            return super().matrices(weights, index)
        rows = slice(index * self.intermediate_size, (index + 1) * self.intermediate_size)

        def part(name: str) -> Tensor | Blocks:
            return weights.stored(name, self.num * self.intermediate_size, self.hidden_size, rows=rows)

        down = part("w2")
        transposed = (down.dense() if isinstance(down, Blocks) else down).T.contiguous()
        return [weights.formed(part(name)) for name in ("w1", "v1")], weights.formed(transposed)


class DbrxForCausalLM(Decoder):
    def __init__(self, config: DbrxConfig) -> None:
        hidden, num = config.hidden_size, config.moe_num_experts
        choose = TopK(top_k=config.moe_top_k, norm=config.moe_normalize_expert_weights)
        norm = partial(LayerNorm, eps=NORM_EPS, bias=False)

        def block(layer: int) -> Block:
            experts = DbrxExperts(num, hidden, config.intermediate_size, plain_mlp("silu"))
            return Block(config, Attention(config, layer, clip=config.clip_qkv), MoE(Router(hidden, num, choose), experts), norm)

        super().__init__(config, block, norm=norm(hidden), ropes=config.rope())


NAMES = {
    "embed_tokens": "wte",
    "norm": "norm_f",
    "layers.*.input_layernorm": "blocks.*.norm_attn_norm.norm_1",
    "layers.*.self_attn.o_proj": "blocks.*.norm_attn_norm.attn.out_proj",
    "layers.*.post_attention_layernorm": "blocks.*.norm_attn_norm.norm_2",
    "layers.*.mlp.gate": "blocks.*.ffn.router.layer",
    "layers.*.mlp.experts": "blocks.*.ffn.experts.mlp",
}


def _cuts(config: DbrxConfig, stored: str = "blocks.*.norm_attn_norm.attn.Wqkv") -> dict[str, Cut]:
    """Returns the places of queries, keys and values in the one matrix of a file."""
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads, "v": config.num_key_value_heads}
    parts = {f"layers.*.self_attn.{name}_proj": num * config.head_dim for name, num in heads.items()}
    return one_after_the_other(stored, parts)


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    own = {"moe_num_experts": num, "moe_top_k": used, "clip_qkv": file.meta.get("dbrx.attention.clamp_kqv")}
    values = gguf_experts.values_of(file)
    return {key: value for key, value in values.items() if key not in ("rms_norm_eps", "attention_bias")} | own


def _gguf_meta(config: DbrxConfig) -> dict[str, Any]:
    meta = gguf_experts.meta_of(config, config.moe_num_experts, config.moe_top_k, config.intermediate_size)
    clip = {} if config.clip_qkv is None else {"attention.clamp_kqv": float(config.clip_qkv)}
    return gguf.layer_normed_meta(meta, NORM_EPS) | clip


FAMILY = Family(
    gguf=GgufRules(
        names=gguf_experts.NAMES | {"layers.*.post_attention_layernorm": "blk.*.attn_output_norm"},
        keys=gguf_experts.KEYS | {"attention.clamp_kqv", "attention.layer_norm_epsilon"},
        values=_gguf_values,
        meta=_gguf_meta,
        cuts=partial(_cuts, stored="blk.*.attn_qkv"),
    ),
    config=DbrxConfig,
    model=DbrxForCausalLM,
    names=NAMES,
    cuts=_cuts,
    prefixes=("transformer.", ""),
    neutral=COMMON_NEUTRAL | {"ffn_config.ffn_act_fn": ({"name": "silu"},)},
)
