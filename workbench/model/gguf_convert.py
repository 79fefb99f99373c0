"""GGUF to a folder in Hugging Face layout, once: `convert(gguf, folder)`.

Weights become float32, because bfloat16 and float16 cannot hold what dequantising yields; an engine casts them when
it loads. Two things llama.cpp changed on the way in are changed back: the rows of q and k of `llama`, which it
interleaves for its own rotary embedding, and the norms of `gemma3`, which it stores plus one.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.disk import need_room
from workbench.model.folder import CONVERTER, MARKER, Progress
from workbench.model.gguf_file import GgufFile, damage_is_an_error_of_ours
from workbench.model.gguf_tokenizer import token_id, write_tokenizer

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


def convert(gguf_path: Path, folder: Path, progress: Progress) -> None:
    """Writes config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    `folder` exists and is empty; the caller makes the result appear at once by renaming it.
    """
    gguf = GgufFile(gguf_path)
    with damage_is_an_error_of_ours(gguf_path):
        rules = RULES.get(gguf.architecture)
        if rules is None:
            raise ModelUnsupported(
                f"{gguf_path} has the architecture {gguf.architecture!r}", hint=f"supported architectures: {', '.join(RULES)}"
            )
        config = rules.config(gguf)
        names = _names(gguf, rules, config)
        write_tokenizer(gguf, folder)
    digest = _write_weights(gguf, rules, config, names, folder / "model.safetensors", progress)
    size = gguf_path.stat().st_size
    marker = {"converter": CONVERTER, "gguf": gguf_path.name, "gguf_bytes": size, "safetensors_sha256": digest}
    _write_json(folder / "generation_config.json", _generation_config(gguf, config))
    _write_json(folder / "config.json", {**config, MARKER: marker})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _write_weights(
    gguf: GgufFile, rules: Rules, config: dict[str, Any], names: dict[str, str], path: Path, progress: Progress
) -> str:
    """One safetensors file, a few rows at a time, so that no tensor is ever whole in memory; returns its sha256.

    Written as a stream and not through a memory map: on a full disk a stream raises, a map kills the process.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for source, name in names.items():
        shape = gguf.shape(source)
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [total, total + size]}
        total += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    need_room(path.parent, total, f"converting {gguf.path.name}")
    digest, done = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in _pieces(gguf, rules, config, names, struct.pack("<Q", len(head)) + head):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(f"converting {gguf.path.name}", done, total + 8 + len(head))
    return digest.hexdigest()


def _pieces(gguf: GgufFile, rules: Rules, config: dict[str, Any], names: dict[str, str], head: bytes) -> Iterator[memoryview]:
    yield memoryview(head)
    for source in names:
        leaf = source.split(".", 2)[-1] if source.startswith("blk.") else source
        whole = leaf.startswith(("attn_q.", "attn_k."))  # the rows of these two may change places
        for rows in [gguf.read(source)] if whole else gguf.rows(source):
            with damage_is_an_error_of_ours(gguf.path):
                values = np.ascontiguousarray(rules.undo(leaf, rows, config), dtype="<f4")
            yield memoryview(values).cast("B")  # type: ignore[arg-type]  # numpy's arrays are buffers


def _names(gguf: GgufFile, rules: Rules, config: dict[str, Any]) -> dict[str, str]:
    """GGUF name -> Hugging Face name, in the file's order; a tensor too many, too few or of another shape is an error."""
    names, unknown, shapes = {}, [], _shapes(config)
    for source in gguf.tensors:
        if source == ROPE_FACTORS:
            continue
        *layer, leaf, kind = source.rsplit(".", 2)
        name = rules.names.get(leaf)
        if name is None or bool(layer) == (leaf in TOP_LEVEL):
            unknown.append(source)
        else:
            shape = shapes[leaf] if kind == "weight" else shapes[leaf][:1]
            if gguf.shape(source) != shape:
                raise ModelCorrupt(f"{gguf.path}: {source} has the shape {gguf.shape(source)}, its metadata imply {shape}")
            names[source] = f"{f'model.layers.{layer[0][4:]}.' if layer else ''}{name}.{kind}"
    if unknown:
        raise ModelUnsupported(f"{gguf.path} has {len(unknown)} tensors unknown to {gguf.architecture!r}, {unknown[0]} first")
    per_layer = [leaf for leaf in rules.names if leaf not in TOP_LEVEL]
    expected = ["token_embd.weight", "output_norm.weight"]
    expected += [f"blk.{layer}.{leaf}.weight" for layer in range(config["num_hidden_layers"]) for leaf in per_layer]
    missing = [source for source in expected if source not in names]
    if missing:
        raise ModelCorrupt(f"{gguf.path} lacks {len(missing)} of {len(expected)} tensors, {missing[0]} first")
    return names


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
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


def _generation_config(gguf: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    """`eos_token_id` lists every token that ends a turn."""
    ends = [token_id(gguf, name) for name in ("eos", "eot", "eom")]
    unique = list(dict.fromkeys(end for end in ends if end is not None))
    values = {"bos_token_id": config["bos_token_id"], "eos_token_id": unique, "pad_token_id": config["pad_token_id"]}
    return {name: value for name, value in values.items() if value not in (None, [])}


RULES = {
    "llama": Rules(LLAMA_NAMES, _llama_config, _undo_llama),
    "gemma3": Rules(GEMMA3_NAMES, _gemma3_config, _undo_gemma3),
}
