"""Dense decoders equal transformers' classes."""

from __future__ import annotations

import json
from pathlib import Path

import family
import pytest
import transformers

DEFAULT = {"rope_type": "default", "rope_theta": 500.0}


def rewritten(folder: Path, drop: tuple[str, ...], **values: object) -> Path:
    """Changes: some keys of a config.json become those of transformers 4."""
    path = folder / "config.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in drop}
    path.write_text(json.dumps(kept | values))
    return folder


def test_llama(tmp_path: Path):
    rope = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32}  # fmt: skip
    reference = family.made("llama", rope_parameters=rope, attention_bias=True, mlp_bias=True, head_dim=24, hidden_act="gelu")
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters=DEFAULT)
    family.matters(reference, hidden_act="silu")


def test_mistral(tmp_path: Path):
    reference = family.made("mistral", sliding_window=24, head_dim=24, rope_parameters=DEFAULT)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, sliding_window=None)


def test_mistral_without_a_window_as_transformers_4_wrote_it(tmp_path: Path):
    reference = family.made("mistral", sliding_window=None, rope_parameters=DEFAULT)
    folder = family.written(reference, tmp_path)
    family.hold(rewritten(folder, ("rope_parameters", "head_dim"), rope_theta=500.0, sliding_window=None), reference)


QWEN2 = {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1, "rope_parameters": DEFAULT}


@pytest.mark.parametrize("style", [4, 5])
def test_qwen2(tmp_path: Path, style: int):
    reference = family.made("qwen2", **QWEN2)
    folder = family.written(reference, tmp_path)
    family.hold(rewritten(folder, ("rope_parameters", "layer_types"), rope_theta=500.0) if style == 4 else folder, reference)
    family.matters(reference, use_sliding_window=False, layer_types=None)
    family.matters(reference, max_window_layers=2, layer_types=None)


def test_qwen3(tmp_path: Path):
    reference = family.made("qwen3", head_dim=24, attention_bias=True, **QWEN2)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, use_sliding_window=False, layer_types=None)


def test_gemma(tmp_path: Path):
    reference = family.made("gemma", head_dim=32, num_key_value_heads=1, rope_parameters=DEFAULT)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, hidden_act="silu")


@pytest.mark.parametrize("style", [4, 5])
def test_gemma2(tmp_path: Path, style: int):
    reference = family.made(
        "gemma2", head_dim=24, query_pre_attn_scalar=48, sliding_window=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0, rope_parameters=DEFAULT,
    )  # fmt: skip
    folder = family.written(reference, tmp_path)
    family.hold(rewritten(folder, ("rope_parameters", "layer_types"), rope_theta=500.0) if style == 4 else folder, reference)
    family.matters(reference, attn_logit_softcapping=None)
    family.matters(reference, final_logit_softcapping=None)
    family.matters(reference, sliding_window=512)
    family.matters(reference, query_pre_attn_scalar=24)


def test_gemma2_without_caps(tmp_path: Path):
    reference = family.made("gemma2", head_dim=24, attn_logit_softcapping=None, final_logit_softcapping=None)
    family.hold(family.written(reference, tmp_path), reference)


SHORT, LONG = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]
FACTORS = {"short_factor": SHORT, "long_factor": LONG}
LONGROPE = {"rope_type": "longrope", "rope_theta": 500.0, "partial_rotary_factor": 0.75, **FACTORS}


@pytest.mark.parametrize("style", [4, 5])
def test_phi3(tmp_path: Path, style: int):
    """Every prompt is longer than in training, so transformers too takes the long factors throughout."""
    reference = family.made("phi3", sliding_window=24, original_max_position_embeddings=2, rope_parameters=LONGROPE)
    folder = family.written(reference, tmp_path)
    if style == 4:
        scaling = {"type": "su", **FACTORS}
        rewritten(folder, ("rope_parameters",), rope_theta=500.0, partial_rotary_factor=0.75, rope_scaling=scaling)
    family.hold(folder, reference)
    family.matters(reference, sliding_window=None)
    family.matters(reference, rope_parameters=LONGROPE | {"long_factor": SHORT})


def test_phi3_within_its_trained_length(tmp_path: Path):
    reference = family.made("phi3", original_max_position_embeddings=512, rope_parameters=LONGROPE)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters=LONGROPE | {"short_factor": LONG})


def test_smollm3(tmp_path: Path):
    reference = family.made(
        "smollm3", no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=24, tie_word_embeddings=True,
        attention_bias=True, mlp_bias=True, rope_parameters=DEFAULT, layer_types=None,
    )  # fmt: skip
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, no_rope_layers=[1, 1, 1])
    family.matters(reference, sliding_window=512)


def test_smollm3_whose_layers_are_not_listed(tmp_path: Path):
    reference = family.made("smollm3", no_rope_layer_interval=2, rope_parameters=DEFAULT)
    folder = family.written(reference, tmp_path)
    family.hold(rewritten(folder, ("no_rope_layers", "layer_types", "rope_parameters"), rope_theta=500.0), reference)


def test_granite(tmp_path: Path):
    factors = {"embedding_multiplier": 3.0, "attention_multiplier": 0.6, "residual_multiplier": 0.4, "logits_scaling": 2.0}
    reference = family.made("granite", rope_parameters=DEFAULT, attention_bias=True, mlp_bias=True, **factors)
    family.hold(family.written(reference, tmp_path), reference)
    for name in factors:
        family.matters(reference, **{name: 1.0})


def test_olmo2(tmp_path: Path):
    reference = family.made("olmo2", rope_parameters=DEFAULT, attention_bias=True)
    family.hold(family.written(reference, tmp_path), reference)


STABLELM = {"rope_parameters": DEFAULT | {"partial_rotary_factor": 0.5}, "use_qkv_bias": True}


def test_stablelm(tmp_path: Path):
    reference = family.made("stablelm", **STABLELM)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters=DEFAULT | {"partial_rotary_factor": 1.0})
    family.matters(reference, use_parallel_residual=True)


def test_stablelm_of_the_larger_form_in_words_of_its_time(tmp_path: Path):
    reference = family.made("stablelm", qk_layernorm=True, use_parallel_residual=True, **STABLELM)
    folder = family.written(reference, tmp_path)
    drop = ("rope_parameters", "layer_norm_eps")
    family.hold(rewritten(folder, drop, rope_theta=500.0, rope_pct=0.5, norm_eps=reference.config.layer_norm_eps), reference)
    family.matters(reference, qk_layernorm=False)


def test_cohere(tmp_path: Path):
    reference = family.made("cohere", logit_scale=0.3, use_qk_norm=True, attention_bias=True, rope_parameters=DEFAULT)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, use_qk_norm=False)
    family.matters(reference, logit_scale=1.0)


@pytest.mark.parametrize("style", [4, 5])
def test_cohere2(tmp_path: Path, style: int):
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    reference = family.made("cohere2", logit_scale=0.3, sliding_window=24, rope_parameters=DEFAULT, layer_types=kinds)
    folder = family.written(reference, tmp_path)
    if style == 4:
        rewritten(folder, ("rope_parameters", "layer_types"), rope_theta=500.0, sliding_window_pattern=2)
    family.hold(folder, reference)
    family.matters(reference, layer_types=["sliding_attention"] * 3)
    family.matters(reference, sliding_window=512)


@pytest.mark.parametrize("name", ["glm", "glm4"])
def test_glm(tmp_path: Path, name: str):
    rope = DEFAULT | {"partial_rotary_factor": 0.5}
    reference = family.made(name, head_dim=24, attention_bias=True, rope_parameters=rope)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters=rope | {"partial_rotary_factor": 1.0})


@pytest.mark.parametrize("inner", [None, 96])
def test_gpt2(tmp_path: Path, inner: int | None):
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "n_inner": inner}
    words = {"hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size"}
    config = transformers.GPT2Config(**{key: value for key, value in family.SIZES.items() if key not in words}, **sizes)
    reference = family.seeded(transformers.GPT2LMHeadModel._from_config(config, attn_implementation="eager"))
    folder = rewritten(family.written(reference, tmp_path), ("num_key_value_heads",))
    family.hold(folder, reference)
    family.matters(reference, activation_function="relu")


@pytest.mark.parametrize("multi_query", [True, False])
def test_gpt_bigcode(tmp_path: Path, multi_query: bool):
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "n_inner": None, "multi_query": multi_query}
    words = {"hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "intermediate_size",
             "num_key_value_heads"}  # fmt: skip
    config = transformers.GPTBigCodeConfig(**{key: value for key, value in family.SIZES.items() if key not in words}, **sizes)
    reference = family.seeded(transformers.GPTBigCodeForCausalLM._from_config(config, attn_implementation="eager"))
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, activation_function="relu")


def test_olmo(tmp_path: Path):
    reference = family.made("olmo", clip_qkv=0.4, rope_parameters=DEFAULT)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, clip_qkv=None)


@pytest.mark.parametrize("normed", [True, False])
def test_phi(tmp_path: Path, normed: bool):
    rope = DEFAULT | {"partial_rotary_factor": 0.5}
    reference = family.made("phi", rope_parameters=rope, qk_layernorm=normed)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, qk_layernorm=not normed)
    family.matters(reference, rope_parameters=DEFAULT | {"partial_rotary_factor": 1.0})


@pytest.mark.parametrize("style", [4, 5])
def test_starcoder2(tmp_path: Path, style: int):
    reference = family.made("starcoder2", sliding_window=24, rope_parameters=DEFAULT)
    folder = family.written(reference, tmp_path)
    family.hold(rewritten(folder, ("rope_parameters",), rope_theta=500.0) if style == 4 else folder, reference)
    family.matters(reference, sliding_window=None)
