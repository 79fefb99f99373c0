"""InternLM 2 and 2.5: Llama with other names, and queries, keys and values of each group of heads in turn in one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.checkpoint.names import Cut, group_by_group
from workbench.model import gguf
from workbench.model.families.llama import LlamaConfig, LlamaForCausalLM
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class InternLM2Config(LlamaConfig):
    words: ClassVar[Mapping[str, str]] = {"bias": "attention_bias"}

    attention_bias: bool = True


class InternLM2ForCausalLM(LlamaForCausalLM):
    pass


NAMES = {
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
    "layers.*.input_layernorm": "layers.*.attention_norm",
    "layers.*.self_attn.o_proj": "layers.*.attention.wo",
    "layers.*.post_attention_layernorm": "layers.*.ffn_norm",
    "layers.*.mlp.gate_proj": "layers.*.feed_forward.w1",
    "layers.*.mlp.up_proj": "layers.*.feed_forward.w3",
    "layers.*.mlp.down_proj": "layers.*.feed_forward.w2",
}


def cuts(config: InternLM2Config) -> Mapping[str, Cut]:
    return group_by_group("layers.*.attention.wqkv", config.num_attention_heads, config.num_key_value_heads, config.head_dim)


FAMILY = Family[InternLM2Config](
    config=InternLM2Config, model=InternLM2ForCausalLM, names=NAMES, cuts=cuts,
    gguf=GgufRules[InternLM2Config](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, changes=neighbours,
        meta=gguf.plain_meta, tables=gguf.plain_tables,
    ),
)  # fmt: skip
