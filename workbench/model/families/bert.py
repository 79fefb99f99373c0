"""BERT, RoBERTa and XLM-RoBERTa: encoders, which make vectors or scores of texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from workbench.attention.base import StepContext
from workbench.attention.spec import AttentionSpec
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.pooling import Pooling
from workbench.model import gguf
from workbench.model.base import Model
from workbench.model.config import Activation, Labels, ModelConfig
from workbench.model.family import COMMON_NEUTRAL, INV_FREQ, Family, GgufRules
from workbench.model.layer import Layer
from workbench.model.layers import ACTIVATIONS, Embedding, LayerNorm
from workbench.model.linear import FusedLinear, Linear


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = 1e-12
    type_vocab_size: int = 2
    max_position_embeddings: int = 512

    @property
    def first_position(self) -> int:
        """The row of the table of positions that a text's first token has."""
        return 0

    def settled(self) -> Self:
        # Keys of decoders, which mean nothing here.
        return replace(super().settled(), tie_word_embeddings=False, attention_bias=False, is_causal=False)


@dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    pad_token_id: int = 1
    """Id of the padding; the first positions, up to this number, stand for it."""

    @property
    def first_position(self) -> int:
        return self.pad_token_id + 1


class BertEmbeddings(Layer):
    """The sum of a token's, its position's and its segment's vector. The second text of a pair is the second segment.

    A model that rotates queries and keys has no vectors of positions.
    """

    def __init__(self, config: BertConfig, *, has_positions: bool = True) -> None:
        super().__init__()
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = Embedding(config.max_position_embeddings, config.hidden_size) if has_positions else None
        self.token_type_embeddings = Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.first_position, self.num_segments = config.first_position, config.type_vocab_size

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        has_pairs = ctx.in_second is not None and self.num_segments > 1
        segments = ctx.in_second if has_pairs else torch.zeros_like(token_ids[:1])
        x = self.word_embeddings(token_ids)
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(ctx.positions + self.first_position)
        return self.norm(x + self.token_type_embeddings(segments))


class BertLayer(Layer):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        size, num_heads = config.head_dim, config.num_attention_heads
        self.spec = AttentionSpec(
            layer=layer, num_heads=num_heads, num_kv_heads=num_heads, head_size=size, v_head_size=size, scale=size**-0.5
        )
        self.qkv = FusedLinear(config.hidden_size, dict.fromkeys(("query", "key", "value"), num_heads * size), bias=True)
        self.out = Linear(num_heads * size, config.hidden_size, bias=True)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.up = Linear(config.hidden_size, config.intermediate_size, bias=True)
        self.down = Linear(config.intermediate_size, config.hidden_size, bias=True)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.activate = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor, ctx: StepContext) -> Tensor:  # [T, H] -> [T, H]
        q, k, v = (part.unflatten(-1, (-1, self.spec.head_size)) for part in self.qkv.split(x))
        x = self.attention_norm(x + self.out(ctx.attention.attend(self.spec, q, k, v).flatten(1)))
        return self.norm(x + self.down(self.activate(self.up(x))))


class BertModel(Model):
    is_encoder = True
    pooling = Pooling("mean", normalise=False)  # as sentence-transformers pools a model without files of its own

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.max_positions -= config.first_position
        self.embeddings = BertEmbeddings(config)
        self.layers = nn.ModuleList(BertLayer(config, layer) for layer in range(config.num_hidden_layers))

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        x = self.embeddings(token_ids, ctx)
        for layer in self.layers:
            x = layer(x, ctx)
        return x


@dataclass(frozen=True, kw_only=True)
class BertLabelsConfig(Labels, BertConfig):
    pass


@dataclass(frozen=True, kw_only=True)
class RobertaLabelsConfig(Labels, RobertaConfig):
    pass


class FirstTokenScores(Model):
    """A head of scores before an encoder's class: those of the first token, through a layer between. `pooler` and `classifier`
    of BERT are both in RoBERTa's classifier."""

    pooling = Pooling("cls", normalise=False)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.label_count
        self.pooler = Linear(config.hidden_size, config.hidden_size, bias=True)
        self.classifier = Linear(config.hidden_size, config.label_count, bias=True, is_head=True)

    def scores(self, pooled: Tensor) -> Tensor:
        return self.classifier(torch.tanh(self.pooler(pooled)))


class BertForSequenceClassification(FirstTokenScores, BertModel):
    pass


NAMES = {
    "embeddings.norm": "embeddings.LayerNorm",
    **{f"layers.*.{part}": f"encoder.layer.*.attention.self.{part}" for part in ("query", "key", "value")},
    "layers.*.out": "encoder.layer.*.attention.output.dense",
    "layers.*.attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    "layers.*.up": "encoder.layer.*.intermediate.dense",
    "layers.*.down": "encoder.layer.*.output.dense",
    "layers.*.norm": "encoder.layer.*.output.LayerNorm",
    "pooler": "pooler.dense",
}
ROBERTA_NAMES = NAMES | {"pooler": "classifier.dense", "classifier": "classifier.out_proj"}
GGUF_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.norm": "token_embd_norm",
    "layers.*.query": "blk.*.attn_q",
    "layers.*.key": "blk.*.attn_k",
    "layers.*.value": "blk.*.attn_v",
    "layers.*.out": "blk.*.attn_output",
    "layers.*.attention_norm": "blk.*.attn_output_norm",
    "layers.*.up": "blk.*.ffn_up",
    "layers.*.down": "blk.*.ffn_down",
    "layers.*.norm": "blk.*.layer_output_norm",
}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    """Returns the values of a file, also of RoBERTa, whose table of positions is written without the rows before the first."""
    return gguf.layer_normed(gguf.values_of(file), "layer_norm_eps") | {
        "max_position_embeddings": gguf.num_rows(file, "position_embd.weight"),
        "type_vocab_size": gguf.num_rows(file, "token_types.weight"),
    }


def _gguf_meta(config: BertConfig) -> dict[str, Any]:
    meta = gguf.layer_normed_meta(gguf.plain_meta(config), config.layer_norm_eps)
    return {key: value for key, value in meta.items() if not key.startswith("rope.")}


GGUF = GgufRules[BertConfig](names=GGUF_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=_gguf_meta)
POSITION_IDS = r"(^|\.)embeddings\.position_ids$"


def _family(
    config: Any, model: Any, names: dict[str, str], leftovers: str, rules: GgufRules[BertConfig] | None = None
) -> Family[Any]:
    return Family(
        config=config, model=model, names=names, gguf=rules, prefixes=("", "bert.", "roberta."),
        leftovers=f"{INV_FREQ}|{POSITION_IDS}|{leftovers}",
        neutral=COMMON_NEUTRAL | {"position_embedding_type": ("absolute",)},
    )  # fmt: skip


FAMILY = _family(BertConfig, BertModel, NAMES, r"(^|\.)pooler\.|^cls\.", GGUF)
CLASSIFIER = _family(BertLabelsConfig, BertForSequenceClassification, NAMES, r"(?!)")
ROBERTA = _family(RobertaConfig, BertModel, ROBERTA_NAMES, r"(^|\.)pooler\.|^lm_head\.")
ROBERTA_CLASSIFIER = _family(RobertaLabelsConfig, BertForSequenceClassification, ROBERTA_NAMES, r"(?!)")
