"""Exaone 3 and 3.5: Llama in the words of GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.model import gguf
from workbench.model.families.llama import LlamaConfig, LlamaForCausalLM
from workbench.model.family import Family, GgufRules


@dataclass(frozen=True, kw_only=True)
class ExaoneConfig(LlamaConfig):
    words: ClassVar[Mapping[str, str]] = {
        "num_layers": "num_hidden_layers", "layer_norm_epsilon": "rms_norm_eps", "activation_function": "hidden_act",
    }  # fmt: skip

    rms_norm_eps: float = 1e-5


class ExaoneForCausalLM(LlamaForCausalLM):
    pass


NAMES = {
    "embed_tokens": "wte",
    "norm": "ln_f",
    "layers.*.input_layernorm": "h.*.ln_1",
    **{f"layers.*.self_attn.{one}_proj": f"h.*.attn.attention.{one}_proj" for one in "qkv"},
    "layers.*.self_attn.o_proj": "h.*.attn.attention.out_proj",
    "layers.*.post_attention_layernorm": "h.*.ln_2",
    "layers.*.mlp.gate_proj": "h.*.mlp.c_fc_0",
    "layers.*.mlp.up_proj": "h.*.mlp.c_fc_1",
    "layers.*.mlp.down_proj": "h.*.mlp.c_proj",
}
LEFTOVERS = r"(^|\.)rotary(_emb)?\.inv_freq$"
FAMILY = Family[ExaoneConfig](
    config=ExaoneConfig, model=ExaoneForCausalLM, names=NAMES, prefixes=("transformer.", ""), leftovers=LEFTOVERS,
    gguf=GgufRules[ExaoneConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, meta=gguf.plain_meta, tables=gguf.plain_tables
    ),
)  # fmt: skip
