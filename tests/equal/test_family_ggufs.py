"""GGUF files of the families: what llama.cpp's converter makes of a tiny model gives the logits of its safetensors.

The names come from the maps of the `gguf` package; what the converter does to tensors is written out here. The safetensors are
held to their oracles by the other files of this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import family
import gguf
import pytest
import torch
import transformers
from tiny_models import logits_of, open_runner, planned
from torch import Tensor

from workbench.types import Segment

Tensors = dict[str, Tensor]
ROPE = {"rope_type": "default", "rope_theta": 500.0}
HEADS, KV_HEADS, LAYERS = (family.SIZES[f"num_{name}"] for name in ("attention_heads", "key_value_heads", "hidden_layers"))
PROMPT = family.PROMPTS[3]


def permuted(tensors: Tensors) -> Tensors:
    """Returns the tensors with neighbours of the rows of queries and keys that Llama's rotary embedding turns together."""
    found = dict(tensors)
    for name, tensor in tensors.items():
        heads = HEADS if ".q_proj." in name else KV_HEADS if ".k_proj." in name else None
        if heads:
            shape = (heads, 2, len(tensor) // heads // 2, *tensor.shape[1:])
            found[name] = tensor.reshape(shape).swapaxes(1, 2).reshape(tensor.shape)
    return found


def norms_plus_one(tensors: Tensors) -> Tensors:
    return {name: tensor + 1 if name.endswith("norm.weight") else tensor for name, tensor in tensors.items()}


def as_they_are(tensors: Tensors) -> Tensors:
    return tensors


@dataclass
class Case:
    arch: str
    values: dict[str, Any] = field(default_factory=dict)
    """Keys of the config of transformers."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Keys of the metadata, below the architecture, besides those of every family."""
    convert: Callable[[Tensors], Tensors] = as_they_are
    eps: str = "attention.layer_norm_rms_epsilon"


PARTIAL = ROPE | {"partial_rotary_factor": 0.5}
BIASED = {"attention_bias": True}
CASES = {
    "qwen2": Case("qwen2"),
    "qwen3": Case("qwen3", {"head_dim": 24}),
    "gemma": Case("gemma", {"head_dim": 32}, convert=norms_plus_one),
    "gemma2": Case(
        "gemma2", {"head_dim": 24, "query_pre_attn_scalar": 24, "sliding_window": 24, "attn_logit_softcapping": 2.0,
                   "final_logit_softcapping": 3.0},
        {"attention.sliding_window": 24, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}, norms_plus_one,
    ),
    "smollm3": Case("smollm3", {"no_rope_layer_interval": 4, "num_hidden_layers": 4} | BIASED, convert=permuted),
    "granite": Case(
        "granite", {"embedding_multiplier": 3.0, "attention_multiplier": 0.6, "residual_multiplier": 0.4, "logits_scaling": 2.0},
        {"embedding_scale": 3.0, "attention.scale": 0.6, "residual_scale": 0.4, "logit_scale": 2.0}, permuted,
    ),
    "olmo2": Case("olmo2"),
    "cohere": Case("command-r", {"logit_scale": 0.3}, {"logit_scale": 0.3}, eps="attention.layer_norm_epsilon"),
    "cohere2": Case("cohere2", {"logit_scale": 0.3, "sliding_window": 24, "num_hidden_layers": 4},
                    {"logit_scale": 0.3, "attention.sliding_window": 24}, eps="attention.layer_norm_epsilon"),
    "glm": Case("chatglm", {"head_dim": 24, "rope_parameters": PARTIAL} | BIASED, {"rope.dimension_count": 12}),
    "glm4": Case("glm4", {"head_dim": 24, "rope_parameters": PARTIAL} | BIASED, {"rope.dimension_count": 12}),
    "phi": Case("phi2", {"rope_parameters": PARTIAL}, {"rope.dimension_count": 8}, eps="attention.layer_norm_epsilon"),
    "stablelm": Case("stablelm", {"rope_parameters": PARTIAL, "use_qkv_bias": True}, {"rope.dimension_count": 8},
                     eps="attention.layer_norm_epsilon"),
    "starcoder2": Case("starcoder2", eps="attention.layer_norm_epsilon"),
}  # fmt: skip


def written(path: Path, arch: str, tensors: Tensors, meta: dict[str, Any], more: Tensors | None = None) -> Path:
    """Writes a GGUF file, matrices in float32, with the names of the `gguf` package, and `more` under names of its own."""
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(kind, meta["block_count"])
    writer = gguf.GGUFWriter(path, arch)
    add = {int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool, str: writer.add_string}
    for key, value in meta.items():
        add[type(value)](f"{arch}.{key}", value)
    for name, tensor in tensors.items():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        writer.add_tensor(stored, tensor.contiguous().numpy())
    for name, tensor in (more or {}).items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def meta_of(config: Any, eps: str) -> dict[str, Any]:
    """Returns the metadata that the converter writes for every family."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    norm = next(getattr(config, key) for key in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon") if hasattr(config, key))
    return {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings, eps: norm,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim, "attention.value_length": head_dim, "rope.dimension_count": head_dim,
        "rope.freq_base": 500.0, "vocab_size": config.vocab_size,
    }  # fmt: skip


def logits(path: Path) -> Tensor:
    whole = planned(1, list(PROMPT), 0, len(PROMPT), [Segment(0, tuple(range(len(PROMPT))))])
    return logits_of(open_runner(path, "torch"), whole)


@pytest.mark.parametrize("model_type", CASES)
def test_a_gguf_file_has_the_logits_of_the_model_it_was_made_of(model_type: str, tmp_path: Path):
    case = CASES[model_type]
    reference = family.made(model_type, **{"rope_parameters": ROPE} | case.values)
    folder = family.written(reference, tmp_path / "folder")
    tensors = reference.state_dict()
    if reference.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    meta = meta_of(reference.config, case.eps) | case.meta
    path = written(tmp_path / "model.gguf", case.arch, case.convert(tensors), meta)
    torch.testing.assert_close(logits(path), logits(folder), rtol=1e-4, atol=1e-4)


RENAMED = {"internlm2": permuted, "xverse": permuted, "exaone": as_they_are}
"""Families that are Llama: the names in a GGUF file are the same, and whether queries and keys are permuted is said here."""


@pytest.mark.parametrize("arch", RENAMED)
def test_a_gguf_file_of_a_family_that_is_llama_under_another_name(arch: str, tmp_path: Path):
    reference = family.made("llama", rope_parameters=ROPE)
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon")
    path = written(tmp_path / "model.gguf", arch, RENAMED[arch](reference.state_dict()), meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_olmo(tmp_path: Path):
    reference = family.made("olmo", rope_parameters=ROPE, clip_qkv=0.4)
    reference.config.layer_norm_eps = 1e-5  # which its class has as a constant
    meta = meta_of(reference.config, "attention.layer_norm_epsilon") | {"attention.clamp_kqv": 0.4}
    path = written(tmp_path / "model.gguf", "olmo", permuted(reference.state_dict()), meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_starcoder(tmp_path: Path):
    config = transformers.GPTBigCodeConfig(vocab_size=family.VOCAB, n_embd=64, n_layer=3, n_head=4, n_positions=512)
    reference = family.seeded(transformers.GPTBigCodeForCausalLM._from_config(config, attn_implementation="eager"))
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if not name.startswith("lm_head")}
    meta = {
        "block_count": 3, "context_length": 512, "embedding_length": 64, "feed_forward_length": 256, "attention.head_count": 4,
        "attention.head_count_kv": 1, "attention.layer_norm_epsilon": 1e-5,
    }  # fmt: skip
    path = written(tmp_path / "model.gguf", "starcoder", tensors, meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_minicpm_has_its_three_scales(tmp_path: Path):
    factors = {"embedding_multiplier": 6.0, "residual_multiplier": 0.8, "logits_scaling": 4.0, "attention_multiplier": 0.25}
    reference = family.made("granite", rope_parameters=ROPE, **factors)
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon")
    meta |= {"embedding_scale": 6.0, "residual_scale": 0.8, "logit_scale": 4.0}
    path = written(tmp_path / "model.gguf", "minicpm", permuted(reference.state_dict()), meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_stablelm_of_the_larger_form(tmp_path: Path):
    """The norms of all heads are one tensor there."""
    reference = family.made("stablelm", rope_parameters=PARTIAL, qk_layernorm=True, use_parallel_residual=True)
    folder = family.written(reference, tmp_path / "folder")
    tensors = {name: tensor for name, tensor in reference.state_dict().items() if "layernorm.norms." not in name}
    for layer, one in ((layer, one) for layer in range(LAYERS) for one in "qk"):
        own = f"model.layers.{layer}.self_attn"
        norms = getattr(reference.model.layers[layer].self_attn, f"{one}_layernorm").norms
        tensors[f"{own}.{one}_layernorm.weight"] = torch.stack([norm.weight.detach() for norm in norms])
    meta = meta_of(reference.config, "attention.layer_norm_epsilon")
    meta |= {"rope.dimension_count": 8, "use_parallel_residual": True}
    path = written(tmp_path / "model.gguf", "stablelm", tensors, meta)
    torch.testing.assert_close(logits(path), logits(folder), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_gpt2_has_its_matrices_the_usual_way_round(tmp_path: Path):
    config = transformers.GPT2Config(vocab_size=family.VOCAB, n_embd=64, n_layer=LAYERS, n_head=HEADS, n_positions=512)
    reference = family.seeded(transformers.GPT2LMHeadModel._from_config(config, attn_implementation="eager"))
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    tensors = {name: tensor.T if name.endswith(matrices) else tensor for name, tensor in reference.state_dict().items()}
    del tensors["lm_head.weight"]
    meta = {
        "block_count": LAYERS, "context_length": 512, "embedding_length": 64, "feed_forward_length": 256,
        "attention.head_count": HEADS, "attention.layer_norm_epsilon": config.layer_norm_epsilon,
    }  # fmt: skip
    path = written(tmp_path / "model.gguf", "gpt2", tensors, meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_qwen_has_queries_keys_and_values_in_one(tmp_path: Path):
    reference = family.made("qwen2", rope_parameters=ROPE, num_key_value_heads=4)
    tensors = reference.state_dict()
    for layer, leaf in ((layer, leaf) for layer in range(LAYERS) for leaf in ("weight", "bias")):
        parts = [tensors.pop(f"model.layers.{layer}.self_attn.{part}_proj.{leaf}") for part in "qkv"]
        tensors[f"transformer.h.{layer}.attn.c_attn.{leaf}"] = torch.cat(parts)
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon") | {"feed_forward_length": 192}
    path = written(tmp_path / "model.gguf", "qwen", tensors, meta)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_chatglm_has_queries_keys_and_values_in_one(tmp_path: Path):
    reference = family.made("glm", head_dim=24, rope_parameters=PARTIAL, **BIASED)
    tensors = reference.state_dict()
    more = {}
    for layer, leaf in ((layer, leaf) for layer in range(LAYERS) for leaf in ("weight", "bias")):
        parts = [tensors.pop(f"model.layers.{layer}.self_attn.{part}_proj.{leaf}") for part in "qkv"]
        more[f"blk.{layer}.attn_qkv.{leaf}"] = torch.cat(parts)
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon") | {"rope.dimension_count": 12}
    path = written(tmp_path / "model.gguf", "chatglm", tensors, meta, more)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_says_how_yarn_stretches_its_positions(tmp_path: Path):
    rope = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0}
    reference = family.made("qwen2", rope_parameters=rope)
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon")
    meta |= {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
    path = written(tmp_path / "model.gguf", "qwen2", reference.state_dict(), meta | {"rope.scaling.yarn_beta_fast": 16.0})
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)


def test_a_gguf_file_of_phi3_has_its_factors_as_tensors(tmp_path: Path):
    factors = {"short": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]}
    rope = {"rope_type": "longrope", "rope_theta": 500.0, "partial_rotary_factor": 0.75, "attention_factor": 1.5}
    rope |= {f"{name}_factor": numbers for name, numbers in factors.items()}
    reference = family.made("phi3", sliding_window=24, original_max_position_embeddings=2, rope_parameters=rope)
    tensors = reference.state_dict()
    meta = meta_of(reference.config, "attention.layer_norm_rms_epsilon")
    meta |= {"rope.dimension_count": 12, "attention.sliding_window": 24, "rope.scaling.original_context_length": 2}
    meta |= {"rope.scaling.attn_factor": 1.5}
    more = {f"rope_factors_{name}.weight": torch.tensor(numbers) for name, numbers in factors.items()}
    path = written(tmp_path / "model.gguf", "phi3", tensors, meta, more)
    torch.testing.assert_close(logits(path), family.logits(reference, PROMPT), rtol=1e-4, atol=1e-4)
