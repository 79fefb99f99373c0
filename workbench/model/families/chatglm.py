"""ChatGLM 2 and 3 and GLM-4 9B as their authors publish them: GLM in the words of Megatron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.model import gguf
from workbench.model.families.glm import GlmForCausalLM, GlmForm, changes, cuts, gguf_cuts
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.rope import Rope


@dataclass(frozen=True, kw_only=True)
class ChatGLMConfig(GlmForm):
    words: ClassVar[Mapping[str, str]] = {
        "padded_vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "ffn_hidden_size": "intermediate_size",
        "kv_channels": "head_dim", "seq_length": "max_position_embeddings", "layernorm_epsilon": "rms_norm_eps",
        "add_qkv_bias": "attention_bias",
    }  # fmt: skip

    multi_query_attention: bool = False
    """True: there are `multi_query_group_num` heads of keys and values."""
    multi_query_group_num: int = 1
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    rope_ratio: float = 1.0
    """The base of the rotary embedding is multiplied by it."""

    @classmethod
    def derived(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        usual = super().derived(stated)
        groups = stated.get("multi_query_group_num", 1) if stated.get("multi_query_attention") else usual["num_key_value_heads"]
        return usual | {"num_key_value_heads": groups}

    def rope(self) -> Rope:
        part = {"partial_rotary_factor": self.partial_rotary_factor}
        return Rope.make(self.rope_theta * self.rope_ratio, part, self.rope_scaling)

    def settled(self) -> Self:
        own: dict[str, Any] = {"multi_query_attention": False, "multi_query_group_num": 1, "rope_ratio": 1.0}
        return replace(super().settled(), **own)


class ChatGLMModel(GlmForCausalLM):
    pass


class ChatGLMForConditionalGeneration(ChatGLMModel):
    pass


NAMES = {
    "embed_tokens": "embedding.word_embeddings",
    "norm": "encoder.final_layernorm",
    "lm_head": "output_layer",
    "layers.*.input_layernorm": "encoder.layers.*.input_layernorm",
    "layers.*.self_attn.o_proj": "encoder.layers.*.self_attention.dense",
    "layers.*.post_attention_layernorm": "encoder.layers.*.post_attention_layernorm",
    "layers.*.mlp.down_proj": "encoder.layers.*.mlp.dense_4h_to_h",
}


def _qkv(config: ChatGLMConfig, stored: str) -> Mapping[str, Cut]:
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    parts = {"layers.*.self_attn.q_proj": queries, "layers.*.self_attn.k_proj": keys, "layers.*.self_attn.v_proj": keys}
    return one_after_the_other(stored, parts)


def _cuts(config: ChatGLMConfig) -> Mapping[str, Cut]:
    own = "encoder.layers.*.self_attention.query_key_value", "encoder.layers.*.mlp.dense_h_to_4h"
    return {**_qkv(config, own[0]), **cuts(config, own[1])}


def _gguf_cuts(config: ChatGLMConfig) -> Mapping[str, Cut]:
    return {**_qkv(config, "blk.*.attn_qkv"), **gguf_cuts(config)}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf.partly_rotated_values(file) | {"attention_bias": "blk.0.attn_qkv.bias" in file.tensors}


HOW = "apply_query_key_layer_scaling attention_softmax_in_fp32 bias_dropout_fusion fp32_residual_connection original_rope"
NEUTRAL = COMMON_NEUTRAL | dict.fromkeys(HOW.split(), (True, False)) | {
    "rmsnorm": (True,), "post_layer_norm": (True,), "quantization_bit": (0,),
}  # fmt: skip


def _family(model: type[ChatGLMModel]) -> Family[ChatGLMConfig]:
    return Family(
        config=ChatGLMConfig, model=model, names=NAMES, cuts=_cuts, changes=changes, neutral=NEUTRAL,
        prefixes=("transformer.", ""), leftovers=r"(^|\.)rotary_pos_emb\.inv_freq$",
        gguf=GgufRules(
            names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=_gguf_values, changes=changes, cuts=_gguf_cuts,
            meta=gguf.partly_rotated_meta,
        ),
    )  # fmt: skip


FAMILY = _family(ChatGLMModel)
GENERATION = _family(ChatGLMForConditionalGeneration)
