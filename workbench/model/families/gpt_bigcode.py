"""StarCoder 1 and SantaCoder: GPT-2 with matrices as other families store them, and one head of keys and values for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, group_by_group, one_after_the_other
from workbench.model import gguf
from workbench.model.config import Activation
from workbench.model.families.gpt2 import GGUF_NAMES, GPT2Config, GPT2LMHeadModel, gguf_meta, gguf_values
from workbench.model.families.gpt2 import NAMES as GPT2_NAMES
from workbench.model.families.gpt2 import NEUTRAL as GPT2_NEUTRAL
from workbench.model.family import Family, GgufRules


@dataclass(frozen=True, kw_only=True)
class GPTBigCodeConfig(GPT2Config):
    hidden_act: Activation = "gelu_pytorch_tanh"
    multi_query: bool = True
    """True: all heads share one of keys and values."""

    @classmethod
    def derived(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        usual = super().derived(stated)
        return usual | {"num_key_value_heads": 1 if stated.get("multi_query", True) else usual["num_key_value_heads"]}

    def settled(self) -> Self:
        return replace(super().settled(), multi_query=self.num_key_value_heads == 1)


class GPTBigCodeForCausalLM(GPT2LMHeadModel):
    pass


NAMES = GPT2_NAMES | {
    "layers.*.self_attn.o_proj": "h.*.attn.c_proj",
    "layers.*.mlp.up_proj": "h.*.mlp.c_fc",
    "layers.*.mlp.down_proj": "h.*.mlp.c_proj",
}


def _cuts(config: GPTBigCodeConfig, stored: str = "h.*.attn.c_attn") -> Mapping[str, Cut]:
    heads, size = config.num_attention_heads, config.head_dim
    if config.num_key_value_heads > 1:
        return group_by_group(stored, heads, heads, size)
    parts = {"q": heads, "k": 1, "v": 1}
    return one_after_the_other(stored, {f"layers.*.self_attn.{part}_proj": num * size for part, num in parts.items()})


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf_values(file) | {"hidden_act": "gelu_pytorch_tanh"}


HOW = ("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
NEUTRAL = GPT2_NEUTRAL | dict.fromkeys(HOW, (True, False)) | {"inference_runner": (0,), "pre_allocate_kv_cache": (True, False)}
FAMILY = Family[GPTBigCodeConfig](
    config=GPTBigCodeConfig, model=GPTBigCodeForCausalLM, names=NAMES, cuts=_cuts, neutral=NEUTRAL, prefixes=("transformer.", ""),
    leftovers=r"\.attn\.(masked_)?bias$",
    gguf=GgufRules[GPTBigCodeConfig](
        names=GGUF_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=gguf_meta, cuts=partial(_cuts, stored="blk.*.attn_qkv")
    ),
)  # fmt: skip
