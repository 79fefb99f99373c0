"""What a GGUF architecture means in Hugging Face terms: names, shapes, configuration. One entry of `RULES` per family.

Two things llama.cpp changed on the way in are changed back: the rows of q and k of `llama`, which it interleaves for
its own rotary embedding, and the norms of `gemma3`, which it stores plus one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import ModelUnsupported, shown
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
# Keys of a GGUF file below the name of its architecture.
KEYS_READ = frozenset(
    "embedding_length feed_forward_length block_count context_length expert_count attention.head_count attention.head_count_kv "
    "attention.key_length attention.value_length attention.layer_norm_rms_epsilon "
    "rope.dimension_count rope.freq_base rope.scaling.type rope.scaling.factor rope.scale_linear".split()
)
KEYS_OF_GEMMA3 = frozenset(
    "attention.sliding_window attention.sliding_window_pattern rope.freq_base_swa final_logit_softcapping".split()
)
KEYS_WITHOUT_EFFECT = frozenset("vocab_size expert_used_count rope.scaling.finetuned rope.scaling.original_context_length "
                                "tensor_data_layout".split())  # fmt: skip
NEUTRAL: dict[str, tuple[Any, ...]] = {"attention.causal": (True,), "logit_scale": (0, 1), "rope.scaling.attn_factor": (0, 1)}
"""Values that change nothing, of keys for which this is not as plain as for others: nothing, 0 or false."""


@dataclass(frozen=True)
class Rules:
    """What one GGUF architecture means in Hugging Face terms."""

    names: dict[str, str]
    keys: frozenset[str]
    """Keys below the architecture's name that are read."""
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


def check_kind(gguf: GgufFile) -> None:
    """Raises for a GGUF that is no model by itself, and for a key of its architecture that is neither read nor known."""
    kind, num_parts = gguf.meta.get("general.type", "model"), gguf.meta.get("split.count", 0)
    if kind != "model":
        raise ModelUnsupported(f"{gguf.path} holds no model, its general.type is {shown(kind)}", hint="give the model's own GGUF")
    if num_parts > 1:
        hint = "join them first: llama-gguf-split --merge FIRST OUT"
        raise ModelUnsupported(f"{gguf.path} is one of {num_parts} parts of a model", hint=hint)
    prefix = f"{gguf.architecture}."
    for key in gguf.meta:
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name in RULES[gguf.architecture].keys | KEYS_WITHOUT_EFFECT:
            continue
        value = gguf.meta.get(key)
        if value not in NEUTRAL[name] if name in NEUTRAL else value:
            raise ModelUnsupported(f"{gguf.path} has {key} = {shown(value)}, which is not computed here")


def _base_config(gguf: GgufFile) -> dict[str, Any]:
    """What the two families share, under the names that Hugging Face gives it."""
    arch, meta = gguf.architecture, gguf.meta
    hidden, heads = meta.number(f"{arch}.embedding_length"), meta.number(f"{arch}.attention.head_count")
    if num_experts := meta.get(f"{arch}.expert_count", 0):
        raise ModelUnsupported(f"{gguf.path} is a mixture of {num_experts} experts", hint="use a dense model")
    return {
        "hidden_size": hidden,
        "intermediate_size": meta.number(f"{arch}.feed_forward_length"),
        "num_hidden_layers": meta.number(f"{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.number(f"{arch}.attention.head_count_kv", heads),
        "head_dim": _head_dim(gguf, hidden // heads),
        "max_position_embeddings": meta.number(f"{arch}.context_length"),
        "rms_norm_eps": meta.need(f"{arch}.attention.layer_norm_rms_epsilon"),
        "vocab_size": gguf.shape("token_embd.weight")[0] if "token_embd.weight" in gguf.tensors else 0,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensors,
        "bos_token_id": token_id(gguf, "bos"),
        "eos_token_id": token_id(gguf, "eos"),
        "pad_token_id": token_id(gguf, "padding"),
        "dtype": "float32",
    }


def _head_dim(gguf: GgufFile, usual: int) -> int:
    """Size of a head, of which keys, values and the rotary embedding all make the same use."""
    arch, meta = gguf.architecture, gguf.meta
    head_dim: int = meta.number(f"{arch}.attention.key_length", meta.number(f"{arch}.rope.dimension_count", usual))
    for key in ("attention.value_length", "rope.dimension_count"):
        other = meta.number(f"{arch}.{key}", head_dim)
        if other != head_dim:
            raise ModelUnsupported(f"{gguf.path} has {arch}.{key} = {other} for heads of {head_dim}: they must be the same")
    return head_dim


def _llama_config(gguf: GgufFile) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **_base_config(gguf),
        "hidden_act": "silu",
        "mlp_bias": "blk.0.ffn_up.bias" in gguf.tensors,
        "rope_theta": gguf.meta.get("llama.rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(gguf) or _llama3_scaling(gguf),
    }


def _gemma3_config(gguf: GgufFile) -> dict[str, Any]:
    base = _base_config(gguf)
    pattern = gguf.meta.get("gemma3.attention.sliding_window_pattern", 6)
    if isinstance(pattern, list):  # one for each layer: whether it slides
        is_full = [not slides for slides in pattern]
    else:
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
        "final_logit_softcapping": gguf.meta.get("gemma3.final_logit_softcapping"),
        "rope_theta": gguf.meta.get("gemma3.rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": gguf.meta.get("gemma3.rope.freq_base_swa", 10_000.0),
        "rope_scaling": _rope_scaling(gguf),
    }


def _rope_scaling(gguf: GgufFile) -> dict[str, Any] | None:
    """Linear scaling, also by the older key and without a type, which llama.cpp then takes for linear."""
    arch, meta = gguf.architecture, gguf.meta
    kind = meta.get(f"{arch}.rope.scaling.type", "linear")
    factor = meta.get(f"{arch}.rope.scaling.factor", meta.get(f"{arch}.rope.scale_linear", 0)) or 1
    if kind == "none" or (kind == "linear" and factor == 1):
        return None
    if kind != "linear" or ROPE_FACTORS in gguf.tensors:
        what = repr(kind) if kind != "linear" else "'linear' and by the divisors of Llama 3"
        raise ModelUnsupported(f"{gguf.path} scales its rotary embedding by {what}", hint="supported: linear, llama3")
    return {"rope_type": "linear", "factor": factor}


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
    "llama": Rules(LLAMA_NAMES, KEYS_READ, _llama_config, _undo_llama),
    "gemma3": Rules(GEMMA3_NAMES, KEYS_READ | KEYS_OF_GEMMA3, _gemma3_config, _undo_gemma3),
}
