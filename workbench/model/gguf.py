"""The common part of GGUF files of all families: names of tensors, keys of the metadata, and their values as a config."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.errors import ModelUnsupported, shown
from workbench.model.config import ModelConfig
from workbench.model.rope import Rope

NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "layers.*.input_layernorm": "blk.*.attn_norm",
    "layers.*.self_attn.q_proj": "blk.*.attn_q",
    "layers.*.self_attn.k_proj": "blk.*.attn_k",
    "layers.*.self_attn.v_proj": "blk.*.attn_v",
    "layers.*.self_attn.o_proj": "blk.*.attn_output",
    "layers.*.mlp.gate_proj": "blk.*.ffn_gate",
    "layers.*.mlp.up_proj": "blk.*.ffn_up",
    "layers.*.mlp.down_proj": "blk.*.ffn_down",
}
LLAMA_NAMES = NAMES | {"layers.*.post_attention_layernorm": "blk.*.ffn_norm"}
"""Names of a block with two norms, each before what it norms."""
HEAD_NORMS = {f"layers.*.self_attn.{one}_norm": f"blk.*.attn_{one}_norm" for one in "qk"}
KEYS = frozenset(
    "embedding_length feed_forward_length block_count context_length attention.head_count attention.head_count_kv "
    "attention.key_length attention.value_length attention.layer_norm_rms_epsilon attention.layer_norm_epsilon "
    "attention.causal pooling_type "
    "rope.dimension_count rope.freq_base rope.scaling.type rope.scaling.factor rope.scale_linear "
    "rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow".split()
)
"""Metadata keys, below the name of the architecture, that `values_of` and `rope_scaling` read."""
NO_EFFECT = frozenset(
    "vocab_size expert_used_count rope.scaling.finetuned rope.scaling.original_context_length tensor_data_layout".split()
)
NEUTRAL: dict[str, tuple[Any, ...]] = {"logit_scale": (0, 1), "rope.scaling.attn_factor": (0, 1)}
"""Values at which a key that is not read changes nothing. Of other keys these are nothing, 0 and false."""
RMS_EPS = "attention.layer_norm_rms_epsilon"
TOWER = "clip"
"""Architecture of towers, whose older files state no type."""
ROPE_DIVISORS = "rope_freqs.weight"


def check_kind(gguf: GgufFile) -> None:
    """Raises ModelUnsupported for a GGUF that is no model by itself: the tower of one, an adapter, weights of importance."""
    kind, usual = gguf.meta.get("general.type", "model"), "give the model's own GGUF"
    if kind == "model" and gguf.architecture == TOWER:
        kind = "mmproj"
    if kind == "mmproj":
        hint = f"{usual}, which reads text; pictures are read from folders of safetensors"
        raise ModelUnsupported(f"{gguf.path} is the tower of a model that sees (mmproj), and no model", hint=hint)
    if kind != "model":
        raise ModelUnsupported(f"{gguf.path} holds no model, its general.type is {shown(kind)}", hint=usual)


def check_keys(gguf: GgufFile, keys: frozenset[str]) -> None:
    """Raises ModelUnsupported for a key of a file's architecture that is neither read nor known."""
    prefix = f"{gguf.architecture}."
    for key in gguf.meta:
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name in keys | NO_EFFECT:
            continue
        value = gguf.meta.get(key)
        if value not in NEUTRAL[name] if name in NEUTRAL else value:
            hint = "use a GGUF of the plain model, or its folder of safetensors if it is in the list of `workbench models`"
            raise ModelUnsupported(f"{gguf.path} has {key} = {shown(value)}, which is not computed here", hint=hint)


def plain_values(gguf: GgufFile) -> dict[str, Any]:
    """Returns the values of a family that has no keys of its own, under the names of config.json."""
    theta = gguf.meta.get(f"{gguf.architecture}.rope.freq_base", 10_000.0)
    scaling = rope_scaling(gguf) or llama3_scaling(gguf, theta)
    return {**values_of(gguf), "rope_theta": theta, "rope_scaling": scaling}


def partly_rotated_values(gguf: GgufFile) -> dict[str, Any]:
    """Returns the same of a family that may rotate only a part of each head."""
    arch, meta = gguf.architecture, gguf.meta
    head_dim = meta.number(f"{arch}.embedding_length") // meta.number(f"{arch}.attention.head_count")
    head_dim = meta.number(f"{arch}.attention.key_length", head_dim)
    turned = meta.number(f"{arch}.rope.dimension_count", head_dim)
    return {
        **values_of(gguf, head_dim),
        "partial_rotary_factor": turned / head_dim,
        "rope_theta": meta.get(f"{arch}.rope.freq_base", 10_000.0),
        "rope_scaling": rope_scaling(gguf),
    }


def values_of(gguf: GgufFile, head_dim: int | None = None) -> dict[str, Any]:
    """Returns what all families say, under the names of config.json.

    `head_dim` is by default the one number that keys, values and rotary embedding share.
    """
    arch, meta = gguf.architecture, gguf.meta
    hidden, heads = meta.number(f"{arch}.embedding_length"), meta.number(f"{arch}.attention.head_count")
    embedding = gguf.tensors.get("token_embd.weight")
    return {
        "hidden_size": hidden,
        "intermediate_size": meta.number(f"{arch}.feed_forward_length"),
        "num_hidden_layers": meta.number(f"{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.number(f"{arch}.attention.head_count_kv", heads),
        "head_dim": head_dim or _head_dim(gguf, hidden // heads),
        "max_position_embeddings": meta.number(f"{arch}.context_length"),
        "rms_norm_eps": _epsilon(gguf),
        "vocab_size": embedding.shape[0] if embedding else len(meta.get("tokenizer.ggml.tokens", [])),
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensors,
        "is_causal": meta.get(f"{arch}.attention.causal", True),
        "bos_token_id": meta.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": meta.get("tokenizer.ggml.padding_token_id"),
    }


def num_rows(gguf: GgufFile, name: str) -> int:
    """Returns the rows of a table; one that is written as a vector has one."""
    shape = gguf.tensors[name].shape
    return shape[0] if len(shape) > 1 else 1


def _epsilon(gguf: GgufFile) -> float:
    arch, meta = gguf.architecture, gguf.meta
    layer_norm: float | None = meta.get(f"{arch}.attention.layer_norm_epsilon")
    return layer_norm if layer_norm is not None else float(meta.need(f"{arch}.{RMS_EPS}"))


def _head_dim(gguf: GgufFile, usual: int) -> int:
    """Returns the size of a head, which keys, values and the rotary embedding must share."""
    arch, meta = gguf.architecture, gguf.meta
    head_dim: int = meta.number(f"{arch}.attention.key_length", meta.number(f"{arch}.rope.dimension_count", usual))
    for key in ("attention.value_length", "rope.dimension_count"):
        other = meta.number(f"{arch}.{key}", head_dim)
        if other != head_dim:
            raise ModelUnsupported(f"{gguf.path} has {arch}.{key} = {other} for heads of {head_dim}: they must be the same")
    return head_dim


def meta_of(config: ModelConfig, rope: Rope) -> dict[str, Any]:
    """Returns what all families say, by the keys below the architecture's name: the inverse of `values_of`."""
    meta: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        RMS_EPS: float(config.rms_norm_eps),
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(rope.rope_theta),
    }
    if not config.is_causal:
        meta["attention.causal"] = False
    if rope.rope_type == "linear":
        meta |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope.factor)}
    if rope.rope_type == "yarn":
        original = int(rope.original_max_position_embeddings or config.max_position_embeddings)
        meta |= {"rope.scaling.type": "yarn", "rope.scaling.factor": float(rope.factor)}
        meta |= {"rope.scaling.original_context_length": original}
        meta |= {f"rope.scaling.yarn_{key}": float(getattr(rope, key)) for key in ("beta_fast", "beta_slow")}
    return meta


def plain_meta(config: ModelConfig) -> dict[str, Any]:
    """Returns the metadata of a family that has no keys of its own: the inverse of `plain_values`."""
    return meta_of(config, config.rope())


def partly_rotated_meta(config: ModelConfig) -> dict[str, Any]:
    """Returns the metadata of a family that may rotate only a part of each head: the inverse of `partly_rotated_values`."""
    rope = config.rope()
    return meta_of(config, rope) | {"rope.dimension_count": round(config.head_dim * rope.partial_rotary_factor)}


def layer_normed(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Returns the values of a family that has the epsilon of its layer norms under another key than most."""
    return {key if word == "rms_norm_eps" else word: value for word, value in values.items()}


def layer_normed_meta(meta: dict[str, Any], eps: float) -> dict[str, Any]:
    """Returns the metadata of a family with layer norms: the inverse of `layer_normed`."""
    return {key: value for key, value in meta.items() if key != RMS_EPS} | {"attention.layer_norm_epsilon": float(eps)}


def plain_tables(config: ModelConfig) -> dict[str, list[float]]:
    """Returns the tables of such a family, by the names of their tensors."""
    return rope_tables(config.rope(), config.head_dim)


def rope_tables(rope: Rope, head_dim: int) -> dict[str, list[float]]:
    """Returns the divisors of the scaling of Llama 3, by the name of their tensor: the inverse of `llama3_scaling`."""
    if rope.rope_type != "llama3":
        return {}
    return {ROPE_DIVISORS: llama3_divisors(asdict(rope), rope.rope_theta, head_dim // 2)}


def rope_scaling(gguf: GgufFile) -> dict[str, Any] | None:
    """Returns yarn, or linear scaling, also by the older key and without a type, which llama.cpp then takes for linear."""
    arch, meta = gguf.architecture, gguf.meta
    if ROPE_DIVISORS not in gguf.tensors and (found := yarn(gguf)) is not None:
        return found
    kind = meta.get(f"{arch}.rope.scaling.type", "linear")
    factor = meta.get(f"{arch}.rope.scaling.factor", meta.get(f"{arch}.rope.scale_linear", 0)) or 1
    if kind == "none" or (kind == "linear" and factor == 1):
        return None
    if kind != "linear" or ROPE_DIVISORS in gguf.tensors:
        what = repr(kind) if kind != "linear" else "'linear' and by the divisors of Llama 3"
        raise ModelUnsupported(f"{gguf.path} scales its rotary embedding by {what}", hint="supported: linear, yarn, llama3")
    return {"rope_type": "linear", "factor": factor}


def yarn(gguf: GgufFile) -> dict[str, Any] | None:
    """Returns the description of a rotary embedding that is stretched by yarn; None where it is not."""
    arch, meta = gguf.architecture, gguf.meta
    if meta.get(f"{arch}.rope.scaling.type") != "yarn":
        return None
    found = {
        "rope_type": "yarn",
        "factor": meta.need(f"{arch}.rope.scaling.factor"),
        "original_max_position_embeddings": meta.need(f"{arch}.rope.scaling.original_context_length"),
    }
    ends = {key: meta.get(f"{arch}.rope.scaling.yarn_{key}") for key in ("beta_fast", "beta_slow")}
    return found | {key: value for key, value in ends.items() if value}


def llama3_scaling(gguf: GgufFile, theta: float) -> dict[str, Any] | None:
    """Returns the scaling of Llama 3.1 and later, of which the file has one divisor per frequency and not the four numbers.

    The largest divisor is the factor; the other three are those of every published Llama 3, and if they do not
    give the file's divisors it is refused.
    """
    if ROPE_DIVISORS not in gguf.tensors:
        return None
    divisors = gguf.floats(ROPE_DIVISORS)
    scaling = {"rope_type": "llama3", "factor": max(divisors), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 8192
    expected = llama3_divisors(scaling, theta, len(divisors))
    if not all(math.isclose(one, two, rel_tol=1e-3) for one, two in zip(divisors, expected, strict=True)):
        raise ModelUnsupported(f"{gguf.path}: the divisors in {ROPE_DIVISORS} are not those of Llama 3")
    return scaling


def llama3_divisors(scaling: dict[str, Any], theta: float, num: int) -> list[float]:
    """Returns the divisors of `num` rotary frequencies: the factor for slow ones, 1 for fast ones, smooth between."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    divisors = []
    for index in range(num):
        turns = scaling["original_max_position_embeddings"] * theta ** (-index / num) / (2 * math.pi)
        smooth = min(max((turns - low) / (high - low), 0), 1)
        divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return divisors
