"""What a GGUF architecture means in Hugging Face terms: names, shapes, configuration. One entry of `RULES` per family.

Two things llama.cpp changed on the way in are changed back: the rows of q and k of `llama`, which it interleaves for
its own rotary embedding, and the norms of `gemma3`, which it stores plus one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import ModelUnsupported
from workbench.model.gguf_file import GgufFile
from workbench.model.gguf_tokenizer import token_id

COMMON_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
LLAMA_NAMES = {**COMMON_NAMES, "ffn_norm": "post_attention_layernorm"}
GEMMA3_NAMES = {
    **COMMON_NAMES,
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
TOP_LEVEL = {"token_embd", "output_norm", "output"}
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class Rules:
    """What one GGUF architecture means in Hugging Face terms."""

    names: dict[str, str]
    config: Callable[[GgufFile], dict[str, Any]]
    undo: Callable[[str, np.ndarray, dict[str, Any]], np.ndarray]
    """(GGUF leaf name such as `attn_q.weight`, values, config) -> values as transformers stores them."""


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each kind of tensor, outermost first, by its GGUF name."""
    hidden, wide, vocab, head_dim = (config[name] for name in ("hidden_size", "intermediate_size", "vocab_size", "head_dim"))
    q, kv = head_dim * config["num_attention_heads"], head_dim * config["num_key_value_heads"]
    norms = ("output_norm", "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
    return {
        **dict.fromkeys(norms, (hidden,)),
        **dict.fromkeys(("attn_q_norm", "attn_k_norm"), (head_dim,)),
        **dict.fromkeys(("token_embd", "output"), (vocab, hidden)),
        **dict.fromkeys(("attn_k", "attn_v"), (kv, hidden)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (wide, hidden)),
        "attn_q": (q, hidden),
        "attn_output": (hidden, q),
        "ffn_down": (hidden, wide),
    }


def _base_config(gguf: GgufFile, head_dim_key: str) -> dict[str, Any]:
    """What the two families share, under the names that Hugging Face gives it."""
    arch, meta = gguf.architecture, gguf.meta
    hidden, heads = meta.need(f"{arch}.embedding_length"), meta.need(f"{arch}.attention.head_count")
    if num_experts := meta.get(f"{arch}.expert_count", 0):
        raise ModelUnsupported(f"{gguf.path} is a mixture of {num_experts} experts", hint="use a dense model")
    return {
        "hidden_size": hidden,
        "intermediate_size": meta.need(f"{arch}.feed_forward_length"),
        "num_hidden_layers": meta.need(f"{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.get(f"{arch}.attention.head_count_kv", heads),
        "head_dim": meta.get(f"{arch}.{head_dim_key}", hidden // heads),
        "max_position_embeddings": meta.need(f"{arch}.context_length"),
        "rms_norm_eps": meta.need(f"{arch}.attention.layer_norm_rms_epsilon"),
        "vocab_size": gguf.shape("token_embd.weight")[0] if "token_embd.weight" in gguf.tensors else 0,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensors,
        "bos_token_id": token_id(gguf, "bos"),
        "eos_token_id": token_id(gguf, "eos"),
        "pad_token_id": token_id(gguf, "padding"),
        "dtype": "float32",
    }


def _llama_config(gguf: GgufFile) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **_base_config(gguf, "rope.dimension_count"),
        "hidden_act": "silu",
        "mlp_bias": "blk.0.ffn_up.bias" in gguf.tensors,
        "rope_theta": gguf.meta.get("llama.rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(gguf) or _llama3_scaling(gguf),
    }


def _gemma3_config(gguf: GgufFile) -> dict[str, Any]:
    base = _base_config(gguf, "attention.key_length")
    pattern = gguf.meta.get("gemma3.attention.sliding_window_pattern", 6)
    is_full = [layer % pattern == pattern - 1 for layer in range(base["num_hidden_layers"])]
    # The one size whose attention is scaled by something else than its head size; the file does not say so.
    is_27b = base["num_hidden_layers"] == 62
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        **base,
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": ["full_attention" if full else "sliding_attention" for full in is_full],
        "sliding_window": gguf.meta.need("gemma3.attention.sliding_window"),
        "query_pre_attn_scalar": base["hidden_size"] // base["num_attention_heads"] if is_27b else base["head_dim"],
        "attn_logit_softcapping": None,
        "final_logit_softcapping": gguf.meta.get("gemma3.final_logit_softcapping"),
        "rope_theta": gguf.meta.get("gemma3.rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": gguf.meta.get("gemma3.rope.freq_base_swa", 10_000.0),
        "rope_scaling": _rope_scaling(gguf),
    }


def _rope_scaling(gguf: GgufFile) -> dict[str, Any] | None:
    kind = gguf.meta.get(f"{gguf.architecture}.rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind != "linear":
        raise ModelUnsupported(f"{gguf.path} scales its rotary embedding by {kind!r}", hint="supported: linear, llama3")
    return {"rope_type": "linear", "factor": gguf.meta.need(f"{gguf.architecture}.rope.scaling.factor")}


def _llama3_scaling(gguf: GgufFile) -> dict[str, Any] | None:
    """Llama 3.1 and later: the file has one divisor per frequency in place of the four numbers they came from.

    The largest divisor is the factor; the other three are those of every published Llama 3, and if they do not
    give the file's divisors it is refused.
    """
    if ROPE_FACTORS not in gguf.tensors:
        return None
    divisors = gguf.read(ROPE_FACTORS).reshape(-1)
    scaling = {"rope_type": "llama3", "factor": float(divisors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 8192
    theta = gguf.meta.get("llama.rope.freq_base", 10000.0)
    if not np.allclose(divisors, llama3_divisors(scaling, theta, len(divisors)), rtol=1e-3):
        raise ModelUnsupported(f"{gguf.path}: the divisors in {ROPE_FACTORS} are not those of Llama 3")
    return scaling


def llama3_divisors(scaling: dict[str, Any], theta: float, num: int) -> np.ndarray:
    """[num] by how much each rotary frequency is divided: long waves by the factor, short ones by 1, smooth between."""
    frequencies = theta ** (-np.arange(num) / num)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    divisors: np.ndarray = 1 / ((1 - smooth) / scaling["factor"] + smooth)
    return divisors


def _undo_llama(leaf: str, values: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(leaf.split(".")[0])
    if heads is None:
        return values
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])  # [heads, D / 2, (first half, second half), ...]
    return pairs.swapaxes(1, 2).reshape(values.shape)


def _undo_gemma3(leaf: str, values: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    return values - np.float32(1) if leaf.endswith("norm.weight") else values


RULES = {
    "llama": Rules(LLAMA_NAMES, _llama_config, _undo_llama),
    "gemma3": Rules(GEMMA3_NAMES, _gemma3_config, _undo_gemma3),
}
