"""GPT-2: learned positions, layer norms, an MLP without a gate, and matrices stored the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

from torch import Tensor

from workbench.attention.base import StepContext
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.checkpoint.weights import Weights
from workbench.model import gguf
from workbench.model.blocks import Attention, Block, UngatedMLP
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import Embedding, LayerNorm


@dataclass(frozen=True, kw_only=True)
class GPT2Config(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {
        "n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings", "n_ctx": "max_position_embeddings", "activation_function": "hidden_act",
    }  # fmt: skip

    max_position_embeddings: int = 1024
    tie_word_embeddings: bool = True
    hidden_act: Activation = "gelu_new"
    layer_norm_epsilon: float = 1e-5

    @classmethod
    def derived(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        return super().derived(stated) | {"intermediate_size": 4 * stated["hidden_size"]}

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=True)  # its biases are no matter of the key


class GPT2LMHeadModel(Decoder):
    def __init__(self, config: GPT2Config) -> None:
        norm = partial(LayerNorm, eps=config.layer_norm_epsilon)

        def block(layer: int) -> Block:
            mlp = UngatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return Block(config, Attention(config, layer, qkv_bias=True, o_bias=True), mlp, norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=None)
        self.embed_positions = Embedding(config.max_position_embeddings, config.hidden_size)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.embed_positions.load(weights.at("embed_positions"))

    def embed(self, token_ids: Tensor, ctx: StepContext) -> Tensor:
        return super().embed(token_ids, ctx) + self.embed_positions(ctx.positions)


NAMES = {
    "embed_tokens": "wte",
    "embed_positions": "wpe",
    "norm": "ln_f",
    "layers.*.input_layernorm": "h.*.ln_1",
    "layers.*.post_attention_layernorm": "h.*.ln_2",
}


def _cuts(config: GPT2Config) -> Mapping[str, Cut]:
    hidden, inner = config.hidden_size, config.intermediate_size
    places = {f"self_attn.{part}_proj": ("attn.c_attn", 3 * hidden, i * hidden, hidden) for i, part in enumerate("qkv")}
    places |= {
        "self_attn.o_proj": ("attn.c_proj", hidden, 0, hidden),
        "mlp.up_proj": ("mlp.c_fc", inner, 0, inner),
        "mlp.down_proj": ("mlp.c_proj", hidden, 0, hidden),
    }
    return {
        f"layers.*.{ours}": Cut(f"h.*.{theirs}", total, start, count, is_transposed=True)
        for ours, (theirs, total, start, count) in places.items()
    }


GGUF_NAMES = gguf.LLAMA_NAMES | {"embed_positions": "position_embd"}


def gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf.layer_normed(gguf.values_of(file), "layer_norm_epsilon")


def gguf_meta(config: GPT2Config) -> dict[str, Any]:
    meta = gguf.layer_normed_meta(gguf.plain_meta(config), config.layer_norm_epsilon)
    return {key: value for key, value in meta.items() if not key.startswith("rope.")}


def _gguf_cuts(config: GPT2Config) -> Mapping[str, Cut]:
    parts = {f"layers.*.self_attn.{part}_proj": config.hidden_size for part in "qkv"}
    return one_after_the_other("blk.*.attn_qkv", parts)


SUMMARY = ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout")
NEUTRAL = COMMON_NEUTRAL | dict.fromkeys(SUMMARY, ("cls_index", True, False, 0.1)) | {"scale_attn_weights": (True,)}
FAMILY = Family(
    config=GPT2Config, model=GPT2LMHeadModel, names=NAMES, cuts=_cuts, neutral=NEUTRAL, prefixes=("transformer.", ""),
    leftovers=r"\.attn\.(masked_)?bias$",
    gguf=GgufRules(names=GGUF_NAMES, keys=gguf.KEYS, values=gguf_values, meta=gguf_meta, cuts=_gguf_cuts),
)  # fmt: skip
