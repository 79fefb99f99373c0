"""Jina BERT 2: BERT with slopes by distance (ALiBi) in the place of positions, and a gated MLP.

The model for code has norms of queries and keys too, and one more behind its attention. config.json shows it by the name of the
code that it was published with, a GGUF file by its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.bias import LinearBias
from workbench.checkpoint.gguf_file import GgufFile, open_gguf_file
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.checkpoint.pooling import Pooling
from workbench.model import gguf
from workbench.model.base import Model
from workbench.model.blocks import MLP, Attention
from workbench.model.config import Labels
from workbench.model.families.bert import GGUF_NAMES as BERT_GGUF_NAMES
from workbench.model.families.bert import BertConfig, BertEmbeddings, FirstTokenScores
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layer import Layer
from workbench.model.layers import LayerNorm
from workbench.model.linear import Linear

CODE_OF_NORMED = "jina-bert-v2-qk-post-norm"
"""The repository whose code the model for code names."""


@dataclass(frozen=True, kw_only=True)
class JinaBertConfig(BertConfig):
    is_normed: ClassVar[bool] = False
    """True: queries and keys have norms, and so has what the attention and its norm were added to."""

    position_embedding_type: Literal["alibi"]
    feed_forward_type: Literal["geglu", "reglu"]


@dataclass(frozen=True, kw_only=True)
class NormedConfig(JinaBertConfig):
    is_normed: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class JinaBertLabelsConfig(Labels, JinaBertConfig):
    pass


class AllHeadsLayerNorm(LayerNorm):
    """One norm over the numbers of all heads."""

    def forward(self, x: Tensor) -> Tensor:  # [T, heads, D]
        return super().forward(x.flatten(1)).view_as(x)


class JinaBertLayer(Layer):
    """norm(x + attention(x)), then norm(x + mlp(x)). Of the model for code the first is norm(x + norm(x + attention(x)))."""

    def __init__(self, config: JinaBertConfig, layer: int) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.layer_norm_eps

        def head_norm(num_heads: int, size: int) -> Layer:
            return AllHeadsLayerNorm(num_heads * size, eps)

        self.self_attn = Attention(
            config, layer, qkv_bias=True, o_bias=True, head_norm=head_norm if config.is_normed else None,
            bias=LinearBias.of(config.num_attention_heads),
        )  # fmt: skip
        self.attention_norm = LayerNorm(hidden, eps)
        self.second_norm = LayerNorm(hidden, eps) if config.is_normed else None
        self.mlp = MLP(hidden, config.intermediate_size, "gelu" if config.feed_forward_type == "geglu" else "relu")
        self.mlp.down_proj = Linear(config.intermediate_size, hidden, bias=True)
        self.norm = LayerNorm(hidden, eps)

    def forward(self, x: Tensor, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        before, x = x, self.attention_norm(self.self_attn(x, None, ctx, added=x))
        if self.second_norm is not None:
            x = self.second_norm(before + x)
        return self.norm(self.mlp(x, added=x))


class JinaBertModel(Model):
    is_encoder = True
    pooling = Pooling("mean", normalise=False)

    def __init__(self, config: JinaBertConfig) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config, has_positions=False)
        self.layers = nn.ModuleList(JinaBertLayer(config, layer) for layer in range(config.num_hidden_layers))

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embeddings(token_ids, ctx)
        for layer in self.layers:
            x = layer(x, ctx)
        return x


class JinaBertForSequenceClassification(FirstTokenScores, JinaBertModel):
    pass


GATED, NORMED_GATED = "encoder.layer.*.mlp.gated_layers", "encoder.layer.*.mlp.up_gated_layer"
NAMES = {
    "embeddings.norm": "embeddings.LayerNorm",
    **{f"layers.*.self_attn.{part[0]}_proj": f"encoder.layer.*.attention.self.{part}" for part in ("query", "key", "value")},
    "layers.*.self_attn.o_proj": "encoder.layer.*.attention.output.dense",
    "layers.*.attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    "layers.*.mlp.down_proj": "encoder.layer.*.mlp.wo",
    "layers.*.norm": "encoder.layer.*.mlp.layernorm",
    "pooler": "pooler.dense",
}
NORMED_NAMES = NAMES | {
    "layers.*.self_attn.q_norm": "encoder.layer.*.attention.self.layer_norm_q",
    "layers.*.self_attn.k_norm": "encoder.layer.*.attention.self.layer_norm_k",
    "layers.*.second_norm": "encoder.layer.*.layer_norm_1",
    "layers.*.mlp.down_proj": "encoder.layer.*.mlp.down_layer",
    "layers.*.norm": "encoder.layer.*.layer_norm_2",
}
GGUF_NAMES = {key: name for key, name in BERT_GGUF_NAMES.items() if not key.startswith("layers.")} | {
    **{f"layers.*.self_attn.{part}_proj": f"blk.*.attn_{part}" for part in "qkv"},
    "layers.*.self_attn.o_proj": "blk.*.attn_output",
    "layers.*.self_attn.q_norm": "blk.*.attn_q_norm",
    "layers.*.self_attn.k_norm": "blk.*.attn_k_norm",
    "layers.*.attention_norm": "blk.*.attn_output_norm",
    "layers.*.second_norm": "blk.*.attn_norm_2",
    "layers.*.mlp.gate_proj": "blk.*.ffn_gate",
    "layers.*.mlp.up_proj": "blk.*.ffn_up",
    "layers.*.mlp.down_proj": "blk.*.ffn_down",
    "layers.*.norm": "blk.*.layer_output_norm",
}


def _gate_and_up(config: JinaBertConfig, stored: str) -> Mapping[str, Cut]:
    parts = ("up", "gate") if config.is_normed else ("gate", "up")
    return one_after_the_other(stored, {f"layers.*.mlp.{part}_proj": config.intermediate_size for part in parts})


def _cuts(config: JinaBertConfig) -> Mapping[str, Cut]:
    return _gate_and_up(config, NORMED_GATED if config.is_normed else GATED)


def _gguf_cuts(config: JinaBertConfig) -> Mapping[str, Cut]:
    """Returns the cuts of a file that has both halves of the gated product in one, as the model's own files have them."""
    return _gate_and_up(config, "blk.*.ffn_up")


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values = gguf.layer_normed(gguf.values_of(file), "layer_norm_eps")
    own = {"position_embedding_type": "alibi", "feed_forward_type": "geglu"}
    return values | own | {"type_vocab_size": gguf.num_rows(file, "token_types.weight")}


def _gguf_meta(config: JinaBertConfig) -> dict[str, Any]:
    meta = gguf.layer_normed_meta(gguf.meta_of(config, config.rope()), config.layer_norm_eps)
    return {key: value for key, value in meta.items() if not key.startswith("rope.")}


def _compose(values: Mapping[str, Any], place: Path | None) -> tuple[Family[Any], dict[str, Any]]:
    if place is not None and place.is_file():
        tensors = open_gguf_file(place).tensors
        is_normed, has_gate = "blk.0.attn_q_norm.weight" in tensors, "blk.0.ffn_gate.weight" in tensors
        return _family(is_normed=is_normed, has_gate=has_gate), dict(values)
    named = [values.get("_name_or_path"), *(values.get("auto_map") or {}).values()]
    return _family(is_normed=any(CODE_OF_NORMED in str(name) for name in named)), dict(values)


def _family(*, is_normed: bool, has_gate: bool = True) -> Family[Any]:
    rules = GgufRules[JinaBertConfig](
        names=GGUF_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=_gguf_meta,
        cuts=(lambda config: {}) if has_gate else _gguf_cuts,
    )  # fmt: skip
    return Family(
        config=NormedConfig if is_normed else JinaBertConfig, model=JinaBertModel, gguf=rules,
        names=NORMED_NAMES if is_normed else NAMES, cuts=_cuts, prefixes=("", "bert."),
        leftovers=r"(^|\.)pooler\.|^cls\.", neutral=COMMON_NEUTRAL | {"emb_pooler": ("mean",)},
    )  # fmt: skip


PLAIN = _family(is_normed=False)
FAMILY = replace(PLAIN, composed=_compose)
CLASSIFIER = replace(PLAIN, config=JinaBertLabelsConfig, model=JinaBertForSequenceClassification, gguf=None, leftovers=r"(?!)")
