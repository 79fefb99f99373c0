"""Qwen 1: Llama in the words of GPT-2, with biases of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch

from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.errors import ModelUnsupported
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules


@dataclass(frozen=True, kw_only=True)
class QWenConfig(ModelConfig):
    words: ClassVar[Mapping[str, str]] = {
        "kv_channels": "head_dim", "layer_norm_epsilon": "rms_norm_eps", "rotary_emb_base": "rope_theta",
    }  # fmt: skip

    seq_length: int = 8192
    """Positions in training."""
    use_dynamic_ntk: bool = False
    """True stretches the rotary embedding beyond these, which is not computed; nor are scaled queries there."""
    use_logn_attn: bool = False

    @property
    def adapts(self) -> bool:
        """True where positions beyond those of training would be computed in another way."""
        return self.use_dynamic_ntk or self.use_logn_attn

    @property
    def num_positions(self) -> int:
        """Positions up to which it is computed."""
        return min(self.seq_length, self.max_position_embeddings) if self.adapts else self.max_position_embeddings

    def settled(self) -> Self:
        num = self.num_positions
        own: dict[str, Any] = {
            "seq_length": num,
            "max_position_embeddings": num,
            "use_dynamic_ntk": False,
            "use_logn_attn": False,
        }
        return replace(super().settled(), attention_bias=True, **own)  # its biases are no matter of the key


class QWenLMHeadModel(Decoder):
    def __init__(self, config: QWenConfig) -> None:
        def block(layer: int) -> Block:
            # The configuration counts the gate with the rest.
            mlp = MLP(config.hidden_size, config.intermediate_size // 2, "silu")
            return Block(config, Attention(config, layer, qkv_bias=True), mlp)

        super().__init__(config, block, ropes=config.rope())
        self.adapts, self.max_positions = config.adapts, config.num_positions

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        if self.adapts and (self.num_positions or 0) > self.max_positions:
            message = f"{self.num_positions} positions are more than the {self.max_positions} up to which Qwen 1 is computed here"
            raise ModelUnsupported(message, hint=f"open it with context_length={self.max_positions} or less")
        super().build_tables(dtype, device)


NAMES = {
    "embed_tokens": "wte",
    "norm": "ln_f",
    "layers.*.input_layernorm": "h.*.ln_1",
    "layers.*.self_attn.o_proj": "h.*.attn.c_proj",
    "layers.*.post_attention_layernorm": "h.*.ln_2",
    "layers.*.mlp.gate_proj": "h.*.mlp.w2",
    "layers.*.mlp.up_proj": "h.*.mlp.w1",
    "layers.*.mlp.down_proj": "h.*.mlp.c_proj",
}


def _cuts(config: QWenConfig, stored: str = "h.*.attn.c_attn") -> Mapping[str, Cut]:
    rows = config.num_attention_heads * config.head_dim
    return one_after_the_other(stored, {f"layers.*.self_attn.{part}_proj": rows for part in "qkv"})


def _gguf_cuts(config: QWenConfig) -> Mapping[str, Cut]:
    return _cuts(config, "blk.*.attn_qkv")


FLAGS = ("bf16", "fp16", "fp32", "scale_attn_weights", "softmax_in_fp32", "use_flash_attn", "use_cache_kernel")
NEUTRAL = COMMON_NEUTRAL | dict.fromkeys(FLAGS, (True, False, "auto")) | {"no_bias": (True,), "rotary_pct": (1,)}
FAMILY = Family(
    config=QWenConfig, model=QWenLMHeadModel, names=NAMES, cuts=_cuts, neutral=NEUTRAL, prefixes=("transformer.", ""),
    leftovers=r"(^|\.)rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$",
    gguf=GgufRules(names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, cuts=_gguf_cuts, meta=gguf.plain_meta),
)  # fmt: skip
