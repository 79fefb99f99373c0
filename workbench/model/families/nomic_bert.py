"""Nomic BERT: an encoder with rotary embeddings, a gated MLP and no biases; its norms stand behind what they norm, as in BERT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.checkpoint.pooling import Pooling
from workbench.model import gguf
from workbench.model.base import Model
from workbench.model.blocks import MLP, Attention
from workbench.model.config import Activation
from workbench.model.families.bert import GGUF_NAMES as BERT_GGUF_NAMES
from workbench.model.families.bert import BertConfig, BertEmbeddings
from workbench.model.family import COMMON_NEUTRAL, INV_FREQ, Family, GgufRules
from workbench.model.layer import Layer
from workbench.model.layers import LayerNorm
from workbench.model.rotary import Rotary, Turn


@dataclass(frozen=True, kw_only=True)
class NomicBertConfig(BertConfig):
    words: ClassVar[Mapping[str, str]] = {
        "n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings", "layer_norm_epsilon": "layer_norm_eps", "rotary_emb_base": "rope_theta",
    }  # fmt: skip

    hidden_act: Activation = "silu"
    max_position_embeddings: int = 2048
    rope_theta: float = 1000.0
    activation_function: Literal["swiglu"] | None = None
    """The gated activation, in configurations as the authors publish them."""

    def settled(self) -> Self:
        return replace(super().settled(), activation_function=None)


class NomicBertLayer(Layer):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: NomicBertConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.post_mlp_layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: Tensor, turn: Turn, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        x = self.post_attention_layernorm(self.self_attn(x, turn, ctx, added=x))
        return self.post_mlp_layernorm(self.mlp(x, added=x))


class NomicBertModel(Model):
    is_encoder = True
    pooling = Pooling("mean", normalise=False)

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__(config)
        self.rope, self.head_size = config.rope(), config.head_dim
        self.embeddings = BertEmbeddings(config, has_positions=False)
        self.layers = nn.ModuleList(NomicBertLayer(config, layer) for layer in range(config.num_hidden_layers))

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.rotary = Rotary(
            self.head_size, self.rope, self.max_positions, dtype=dtype, device=device, num_positions=self.num_positions
        )

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x, turn = self.embeddings(token_ids, ctx), self.rotary.at(ctx.positions)
        for layer in self.layers:
            x = layer(x, turn, ctx)
        return x


NAMES = {
    "embeddings.norm": "emb_ln",
    "layers.*.self_attn.o_proj": "encoder.layers.*.attn.out_proj",
    "layers.*.post_attention_layernorm": "encoder.layers.*.norm1",
    "layers.*.mlp.gate_proj": "encoder.layers.*.mlp.fc12",
    "layers.*.mlp.up_proj": "encoder.layers.*.mlp.fc11",
    "layers.*.mlp.down_proj": "encoder.layers.*.mlp.fc2",
    "layers.*.post_mlp_layernorm": "encoder.layers.*.norm2",
}
"""Names as the authors have them, and transformers writes them."""


def _qkv(config: NomicBertConfig, stored: str) -> Mapping[str, Cut]:
    parts = {f"layers.*.self_attn.{part}_proj": config.num_attention_heads * config.head_dim for part in "qkv"}
    return one_after_the_other(stored, parts)


def _cuts(config: NomicBertConfig) -> Mapping[str, Cut]:
    return _qkv(config, "encoder.layers.*.attn.Wqkv")


GGUF_NAMES = {key: name for key, name in BERT_GGUF_NAMES.items() if not key.startswith("layers.")} | {
    "layers.*.self_attn.o_proj": "blk.*.attn_output",
    "layers.*.post_attention_layernorm": "blk.*.attn_output_norm",
    "layers.*.mlp.gate_proj": "blk.*.ffn_gate",
    "layers.*.mlp.up_proj": "blk.*.ffn_up",
    "layers.*.mlp.down_proj": "blk.*.ffn_down",
    "layers.*.post_mlp_layernorm": "blk.*.layer_output_norm",
}


def _gguf_cuts(config: NomicBertConfig) -> Mapping[str, Cut]:
    return _qkv(config, "blk.*.attn_qkv")


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values = gguf.layer_normed(gguf.plain_values(file), "layer_norm_eps")
    return values | {"type_vocab_size": gguf.num_rows(file, "token_types.weight")}


def _gguf_meta(config: NomicBertConfig) -> dict[str, Any]:
    return gguf.layer_normed_meta(gguf.plain_meta(config), config.layer_norm_eps)


FLAGS = (
    "fused_bias_fc fused_dropout_add_ln use_flash_attn use_xentropy scale_attn_weights dense_seq_output last_layer_subset "
    "reorder_and_upcast_attn scale_attn_by_inverse_layer_idx scale_attn_weights"
)
SUMMARY = ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout")
NEUTRAL = COMMON_NEUTRAL | {
    **dict.fromkeys(FLAGS.split(), (True, False)), **dict.fromkeys(SUMMARY, ("cls_index", True, False, 0.0)),
    "rotary_emb_fraction": (1,), "rotary_scaling_factor": (1,), "max_trained_positions": (2048,),
    "pad_vocab_size_multiple": (64, 8, 1),
}  # fmt: skip
FAMILY = Family[NomicBertConfig](
    config=NomicBertConfig, model=NomicBertModel, names=NAMES, cuts=_cuts, prefixes=("", "nomic_bert.", "bert."),
    leftovers=f"{INV_FREQ}|(^|\\.)pooler\\.|^cls\\.",
    neutral=NEUTRAL,
    gguf=GgufRules[NomicBertConfig](
        names=GGUF_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=_gguf_meta, cuts=_gguf_cuts
    ),
)  # fmt: skip
