"""Gemma 2: four norms per block, capped scores and logits, a window in every other layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, SandwichBlock
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.families.gemma import plus_one
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import RMSNorm


@dataclass(frozen=True, kw_only=True)
class Gemma2Config(Windowed):
    words: ClassVar[Mapping[str, str]] = {"sliding_window_size": "sliding_window"}

    head_dim: int = 256
    num_key_value_heads: int = 4
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True
    hidden_activation: Activation = "gelu_pytorch_tanh"
    query_pre_attn_scalar: float = 256
    """Attention scores are divided by its root."""
    sliding_window: int | None = 4096
    attn_logit_softcapping: float | None = 50.0
    final_logit_softcapping: float | None = 30.0

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0


class Gemma2ForCausalLM(Decoder):
    def __init__(self, config: Gemma2Config) -> None:
        norm = partial(RMSNorm, eps=config.rms_norm_eps, offset=1.0)

        def block(layer: int) -> SandwichBlock:
            attention = Attention(
                config, layer, scale=config.query_pre_attn_scalar**-0.5, window=config.window(layer),
                softcap=config.attn_logit_softcapping, qkv_bias=config.attention_bias, o_bias=config.attention_bias,
            )  # fmt: skip
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_activation)
            return SandwichBlock(config, attention, mlp, norm)

        super().__init__(
            config, block, norm=norm(config.hidden_size), ropes=config.rope(), embed_scale=config.hidden_size**0.5,
            logit_cap=config.final_logit_softcapping,
        )  # fmt: skip


NEUTRAL = COMMON_NEUTRAL | {"hidden_act": ("gelu_pytorch_tanh",)}
GGUF_NAMES = gguf.NAMES | {
    "layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
    "layers.*.pre_feedforward_layernorm": "blk.*.ffn_norm",
    "layers.*.post_feedforward_layernorm": "blk.*.post_ffw_norm",
}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values, meta = gguf.plain_values(file), file.meta
    # The one size whose attention is scaled by something else than its head size; the file does not say so.
    is_27b = values["num_hidden_layers"] == 46
    return values | {
        "sliding_window": meta.get("gemma2.attention.sliding_window", 4096),
        "attn_logit_softcapping": meta.get("gemma2.attn_logit_softcapping", 50.0),
        "final_logit_softcapping": meta.get("gemma2.final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": values["hidden_size"] // values["num_attention_heads"] if is_27b else values["head_dim"],
    }


def _gguf_meta(config: Gemma2Config) -> dict[str, Any]:
    own = {
        "attention.sliding_window": config.sliding_window, "attn_logit_softcapping": config.attn_logit_softcapping,
        "final_logit_softcapping": config.final_logit_softcapping,
    }  # fmt: skip
    return gguf.plain_meta(config) | {key: value for key, value in own.items() if value is not None}


FAMILY = Family[Gemma2Config](
    config=Gemma2Config, model=Gemma2ForCausalLM, neutral=NEUTRAL,
    gguf=GgufRules[Gemma2Config](
        names=GGUF_NAMES, values=_gguf_values, meta=_gguf_meta, tables=gguf.plain_tables,
        changes=lambda config: plus_one(GGUF_NAMES),
        keys=gguf.KEYS | {"attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"},
    ),
)  # fmt: skip
