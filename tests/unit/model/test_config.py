"""Every key of a config.json is read, known to change nothing, or refused by name; quantised models by their method's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import ModelCorrupt, ModelUnsupported, WorkbenchError
from workbench.model.check import NO_EFFECT, check_config
from workbench.model.config import SIZES
from workbench.model.family import Family
from workbench.model.registry import FAMILIES
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA

TINY = {"LlamaForCausalLM": TINY_LLAMA, "Gemma3ForCausalLM": TINY_GEMMA3}
both = pytest.mark.parametrize("config", TINY.values(), ids=list(TINY))


@both
def test_the_fields_of_a_config_are_those_that_the_model_reads(config: dict[str, Any]):
    family = check_config(config).family
    keys, read = family.config.read_keys(), set()

    class Noting(family.config):
        """Keeps the names of the fields that are read."""

        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    noting = Noting.make(without(config, "layer_types"))
    read.clear()
    family.model(noting)
    assert keys <= read
    assert not keys & NO_EFFECT
    assert set(family.config.choices()) <= keys
    assert not set(family.neutral) & (keys | NO_EFFECT)


def test_every_entry_names_the_file_that_declares_it():
    for entry in FAMILIES.values():
        assert isinstance(entry.family, Family), entry


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


@both
def test_what_transformers_saves_by_itself_changes_nothing(config: dict[str, Any]):
    """Every key of its own configuration classes is supported, and none of its values is refused."""
    from transformers import AutoConfig

    stated = AutoConfig.for_model(**config).to_dict()
    check_config({**stated, "architectures": config["architectures"]})
    older = {
        "torch_dtype": "bfloat16",
        "rope_theta": 1e4,
        "rope_scaling": None,
        "cache_implementation": "hybrid",
        "do_sample": True,
    }
    check_config(config | older | {"_name_or_path": "x", "rope_interleaved": False, "sliding_window_pattern": None})


PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama 3.2 1B": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0",
        "use_cache": True, "vocab_size": 128256,
    },
    "SmolLM2 135M": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
        "transformers_version": "4.42.3", "use_cache": True, "vocab_size": 49152,
    },
    "Gemma 3 1B": {
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None,
        "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": None,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0", "use_cache": True,
        "vocab_size": 262144,
    },
}  # fmt: skip


COMMON: dict[str, Any] = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "initializer_range": 0.02, "pretraining_tp": 1, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "transformers_version": "4.39.0", "use_cache": True,
}  # fmt: skip
"""Keys that most of the following have."""
YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "original_max_position_embeddings": 4096, "type": "yarn"}
PUBLISHED_MIXTURES: dict[str, dict[str, Any]] = {
    "Mixtral 8x7B": COMMON | {
        "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "model_type": "mixtral",
        "max_position_embeddings": 32768, "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False, "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": None, "vocab_size": 32000,
    },
    "Qwen3 30B-A3B": COMMON | {
        "architectures": ["Qwen3MoeForCausalLM"], "decoder_sparse_step": 1, "head_dim": 128, "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
        "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": True, "num_attention_heads": 32,
        "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
        "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "sliding_window": None, "use_sliding_window": False, "vocab_size": 151936,
    },
    "Qwen1.5 MoE A2.7B": COMMON | {
        "architectures": ["Qwen2MoeForCausalLM"], "decoder_sparse_step": 1, "hidden_size": 2048, "intermediate_size": 5632,
        "max_position_embeddings": 8192, "max_window_layers": 21, "model_type": "qwen2_moe", "moe_intermediate_size": 1408,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4, "num_hidden_layers": 24,
        "num_key_value_heads": 16, "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 5632, "sliding_window": 32768,
        "use_sliding_window": False, "vocab_size": 151936,
    },
    "DeepSeek V2 Lite": COMMON | {
        "architectures": ["DeepseekV2ForCausalLM"], "aux_loss_alpha": 0.001, "first_k_dense_replace": 1, "hidden_size": 2048,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "intermediate_size": 10944, "kv_lora_rank": 512,
        "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408, "moe_layer_freq": 1,
        "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 16,
        "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": None,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000,
        "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}, "routed_scaling_factor": 1.0,
        "scoring_func": "softmax", "seq_aux": True, "topk_group": 1, "topk_method": "greedy", "v_head_dim": 128,
        "vocab_size": 102400,
    },
    "DeepSeek V3": COMMON | {
        "architectures": ["DeepseekV3ForCausalLM"], "ep_size": 1, "first_k_dense_replace": 3, "hidden_size": 7168,
        "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v3",
        "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
        "norm_topk_prob": True, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
        "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000, "routed_scaling_factor": 2.5,
        "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}, "scoring_func": "sigmoid", "topk_group": 4,
        "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280,
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]
        },
    },
    "gpt-oss 20B": COMMON | {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "experts_per_token": 4, "head_dim": 64,
        "hidden_size": 2880, "initial_context_length": 4096, "intermediate_size": 2880, "max_position_embeddings": 131072,
        "layer_types": ["sliding_attention", "full_attention"] * 12, "model_type": "gpt_oss", "num_attention_heads": 64,
        "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32,
        "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 150000, "router_aux_loss_coef": 0.9,
        "rope_scaling": {
            "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn",
            "truncate": False,
        },
        "sliding_window": 128, "swiglu_limit": 7.0, "vocab_size": 201088,
        "quantization_config": {"modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"], "quant_method": "mxfp4"},
    },
    "DBRX": {
        "architectures": ["DbrxForCausalLM"], "d_model": 6144, "emb_pdrop": 0.0, "initializer_range": 0.02, "max_seq_len": 32768,
        "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "model_type": "", "rope_theta": 500000},
        "ffn_config": {"ffn_hidden_size": 10752, "model_type": "", "moe_jitter_eps": 0.01, "moe_loss_weight": 0.05,
                       "moe_num_experts": 16, "moe_top_k": 4},
        "model_type": "dbrx", "n_heads": 48, "n_layers": 40, "output_router_logits": False, "resid_pdrop": 0.0,
        "router_aux_loss_coef": 0.05, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 100352,
    },
    "Phi 3.5 MoE": COMMON | {
        "architectures": ["PhiMoEForCausalLM"], "attention_bias": True, "hidden_dropout": 0.0, "hidden_size": 4096,
        "input_jitter_noise": 0.01, "intermediate_size": 6400, "lm_head_bias": True, "max_position_embeddings": 131072,
        "model_type": "phimoe", "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "num_local_experts": 16, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "long_factor": [1.0] * 64, "long_mscale": 1.243163121016122, "original_max_position_embeddings": 4096,
            "short_factor": [1.0] * 64, "short_mscale": 1.243163121016122, "type": "longrope",
        },
        "rope_theta": 10000.0, "router_aux_loss_coef": 0.0, "router_jitter_noise": 0.01, "sliding_window": 131072,
        "vocab_size": 32064,
    },
}  # fmt: skip
PUBLISHED |= PUBLISHED_MIXTURES


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_taken_as_they_are(name: str):
    check_config(PUBLISHED[name])


REFUSED: list[tuple[str, str, Any]] = [
    ("LlamaForCausalLM", "hidden_act", "mish"),
    ("LlamaForCausalLM", "sliding_window", 4096),
    ("LlamaForCausalLM", "rope_interleaved", True),
    ("LlamaForCausalLM", "partial_rotary_factor", 0.5),
    ("LlamaForCausalLM", "layer_types", ["full_attention", "sliding_attention"]),
    ("LlamaForCausalLM", "residual_multiplier", 0.5),
    ("LlamaForCausalLM", "per_layer_config", {"0": {"head_dim": 4}}),
    ("LlamaForCausalLM", "text_config", {"vocab_size": 1}),
    ("Gemma3ForCausalLM", "hidden_activation", "mish"),
    ("Gemma3ForCausalLM", "hidden_act", "silu"),
    ("Gemma3ForCausalLM", "use_bidirectional_attention", True),
    ("Gemma3ForCausalLM", "attn_logit_softcapping", 50.0),
    ("Gemma3ForCausalLM", "mlp_bias", True),
    ("Gemma3ForCausalLM", "layer_types", ["full_attention", "chunked_attention", "full_attention"]),
]


@pytest.mark.parametrize("architecture, key, value", REFUSED)
def test_a_key_that_changes_the_result_is_refused_with_its_name(architecture: str, key: str, value: Any):
    with pytest.raises(ModelUnsupported, match=f"config.json has {key} = ") as caught:
        check_config(TINY[architecture] | {key: value})
    if key not in FAMILIES[architecture].family.config.choices():
        assert caught.value.hint == f"""if it changes nothing, say so: json_model_override_args='{{"{key}": null}}'"""
    check_config(TINY[architecture] | {key: None})
    assert len(caught.value._render_traceback_()) == 2


def test_several_refused_keys_are_one_error():
    with pytest.raises(ModelUnsupported, match=r"has a = 1 \(and 2 more: b, c\), which Llama does not"):
        check_config(TINY_LLAMA | {"a": 1, "b": 2, "use_cache": True, "c": 3})


@pytest.mark.parametrize("key, value", [("partial_rotary_factor", 1.0), ("layer_types", ["full_attention"] * 2), ("mup", False)])
def test_a_neutral_value_is_taken(key: str, value: Any):
    check_config(TINY_LLAMA | {key: value})


ROPES = [
    ({"rope_type": "fourier", "factor": 2.0}, r"rope_scaling of the kind 'fourier', which is not computed"),
    ({"type": "longrope", "long_factor": [1.0]}, "kind 'longrope' without 'short_factor'"),
    ({"rope_type": "default", "mrope_section": [2, 3, 3]}, "rope_scaling.mrope_section = .* not computed for 'default'"),
    ({"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}, "rope_scaling.partial_rotary_factor"),
    ({"rope_type": "linear"}, "of the kind 'linear' without 'factor'"),
    ({"rope_type": "longrope", "short_factor": 1.0, "long_factor": [1.0]}, "rope_scaling.short_factor = 1.0, it must be a list"),
    ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}, "without 'high_freq_factor'"),
    ("linear", "rope_scaling = 'linear', it must be an object"),
]


@pytest.mark.parametrize("rope, message", ROPES)
@both
def test_a_rotary_embedding_that_is_not_computed_is_refused(config: dict[str, Any], rope: Any, message: str):
    with pytest.raises((ModelUnsupported, ModelCorrupt), match=message):
        check_config(config | {"rope_scaling": rope})


def test_gemma_wants_its_newer_rope_parameters_by_layer():
    with pytest.raises(ModelUnsupported, match=r"rope_parameters\.rope_type = 'default', it must be an object"):
        check_config(TINY_GEMMA3 | {"rope_parameters": {"rope_type": "default"}})


COUNTS = [
    ("num_key_value_heads", [2, 4], ModelUnsupported, r"num_key_value_heads = \[2, 4\]: sizes that differ by layer"),
    ("num_key_value_heads", 3, ModelCorrupt, "4 attention heads for 3 of keys and values"),
    ("hidden_size", 0, ModelCorrupt, "hidden_size = 0, it must be a whole number above 0"),
    ("vocab_size", "256", ModelCorrupt, "vocab_size = '256'"),
    ("num_hidden_layers", 10**9, ModelCorrupt, "num_hidden_layers = 1,000,000,000, more than the 4,096 that are read"),
    *((key, None, ModelCorrupt, f"config.json has no '{key}'") for key in SIZES),
]


@pytest.mark.parametrize("key, value, error, message", COUNTS)
def test_sizes_that_make_no_model_are_errors(key: str, value: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message) as refused:
        check_config(TINY_LLAMA | {key: value})
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("error", [ModelCorrupt, ModelUnsupported])
def test_a_refused_model_has_a_next_step_whatever_is_wrong_with_it(error: type[WorkbenchError]):
    assert len(str(error("config.json has version = x")).splitlines()) == 2


def test_fewer_kinds_than_layers_are_an_error():
    with pytest.raises(ModelCorrupt, match="3 layer_types for 4 layers"):
        check_config(TINY_GEMMA3 | {"num_hidden_layers": 4})


@pytest.mark.parametrize(
    "names, message",
    [
        ({"architectures": ["FalconForCausalLM"], "model_type": "falcon"}, "^FalconForCausalLM is not supported"),
        ({"architectures": ["OtherModel"]}, "^OtherModel is not supported"),
        ({"architectures": ["MiniCPMO"]}, "^MiniCPMO is not computed yet: it needs towers and decoders of sound"),
        ({"architectures": None, "model_type": "falcon"}, "^model_type 'falcon' is not supported"),
        ({"model_type": "mistral"}, "names LlamaForCausalLM and model_type 'mistral': which is it"),
    ],
)
def test_another_architecture_is_refused_with_those_that_run(names: dict[str, Any], message: str):
    with pytest.raises(ModelUnsupported, match=message) as caught:
        check_config(TINY_LLAMA | names)
    assert caught.value.hint.endswith(f"`workbench models` lists the {len(FAMILIES)} architectures that run")


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(ModelUnsupported) as caught:
        check_config(TINY_LLAMA | {"architectures": ["LLaMAForCausalLM"]})
    assert caught.value.hint.startswith("the nearest that runs is LlamaForCausalLM; ")


def test_a_model_type_is_enough():
    assert check_config(without(TINY_GEMMA3, "architectures")).entry.architecture == "Gemma3ForCausalLM"


# Quantised models, by the entries of config.json or of files beside it.

IN_CONFIG = [
    ("fp8", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8 (dynamic)"),
    ("gptq", {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "gptq (4 bits)"),
    ("awq", {"quant_method": "awq", "bits": 4, "version": "gemm", "zero_point": True}, "awq (4 bits)"),
    ("packed", {"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors (pack-quantized)"),
    ("int8", {"quant_method": "compressed-tensors", "format": "int-quantized"}, "compressed-tensors (int-quantized)"),
    ("bnb", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes (nf4)"),
    ("modelopt", {"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt (FP8)"),
]
REFUSED = [
    ("torchao", {"quant_method": "torchao", "quant_type": "int4_weight_only"}, "torchao (int4_weight_only)"),
    ("mlx", {"group_size": 64, "bits": 4}, "MLX (4 bits)"),
    ("hqq", {"quant_method": "hqq", "nbits": 4}, "hqq (4 bits)"),
    ("text", "int4", "int4"),
]
every_key = pytest.mark.parametrize("key", ["quantization_config", "compression_config", "quantization"])


@every_key
@pytest.mark.parametrize("values, title", [case[1:] for case in IN_CONFIG], ids=[case[0] for case in IN_CONFIG])
def test_a_quantised_model_is_known_by_its_method(key: str, values: dict[str, Any], title: str):
    found = check_config(TINY_LLAMA | {key: values}).declared
    assert found is not None
    assert (found.title, found.method) == (title, title.partition(" ")[0])


@every_key
@pytest.mark.parametrize("values, title", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_method_that_does_not_run_is_refused_by_its_name(key: str, values: Any, title: str):
    with pytest.raises(ModelUnsupported) as caught:
        check_config(TINY_LLAMA | {key: values})
    assert caught.value.message == f"the weights are quantised by {title} (config.json), which does not run here"
    assert "or use a GGUF of the model" in caught.value.hint


BESIDE = {
    "hf_quant_config.json": ({"producer": {"name": "x"}, "quantization": {"quant_algo": "FP8"}}, "modelopt (FP8)"),
    "quantize_config.json": ({"bits": 4, "group_size": 128, "desc_act": False}, "gptq (4 bits)"),
    "quant_config.json": ({"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}, "awq (4 bits)"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_config_says_it_too(tmp_path: Path, name: str):
    values, title = BESIDE[name]
    (tmp_path / name).write_text(json.dumps(values))
    found = check_config(TINY_LLAMA, tmp_path).declared
    assert found is not None
    assert found.title == title


@pytest.mark.parametrize("text", ['{"per_channel": true, "per_model_config": {}}', '{"quantization": {"quant_algo": null}}', "?"])
def test_a_file_that_quantises_nothing_is_no_obstacle(tmp_path: Path, text: str):
    """transformers.js, for example, writes a quantize_config.json of its own."""
    for name in BESIDE:
        (tmp_path / name).write_text(text)
    check_config(TINY_LLAMA | {"quantization_config": None}, tmp_path)
