"""OLMo 1: norms without weights, and clipped queries, keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.weights import Weights
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.layers import LayerNorm
from workbench.model.rows import neighbours

NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class OlmoConfig(ModelConfig):
    hidden_act: Activation = "silu"
    clip_qkv: float | None = None
    """Largest size of a number in queries, keys and values."""


class BareNorm(LayerNorm):
    """(x - mean) / deviation."""

    def load(self, weights: Weights) -> None:
        """Reads nothing: a file has no tensor of it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.size,), eps=self.eps)


class OlmoForCausalLM(Decoder):
    def __init__(self, config: OlmoConfig) -> None:
        norm = partial(BareNorm, eps=NORM_EPS)

        def block(layer: int) -> Block:
            bias = config.attention_bias
            attention = Attention(config, layer, qkv_bias=bias, o_bias=bias, clip=config.clip_qkv)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act), norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values = {key: value for key, value in gguf.plain_values(file).items() if key != "rms_norm_eps"}
    return values | {"clip_qkv": file.meta.get("olmo.attention.clamp_kqv") or None}


def _gguf_meta(config: OlmoConfig) -> dict[str, Any]:
    clip = {} if config.clip_qkv is None else {"attention.clamp_kqv": float(config.clip_qkv)}
    return gguf.layer_normed_meta(gguf.plain_meta(config), NORM_EPS) | clip


FAMILY = Family[OlmoConfig](
    config=OlmoConfig, model=OlmoForCausalLM,
    gguf=GgufRules[OlmoConfig](
        names=gguf.NAMES, keys=gguf.KEYS | {"attention.clamp_kqv"}, values=_gguf_values, meta=_gguf_meta, changes=neighbours,
        tables=gguf.plain_tables,
    ),
)  # fmt: skip
