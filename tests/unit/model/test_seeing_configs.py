"""Configurations of models that see, in the words of published files: each is read in full."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.errors import ModelCorrupt, ModelUnsupported, WorkbenchError
from workbench.model.check import check_config
from workbench.model.seeing import tower_config
from workbench.model.vision.clip import ClipConfig

CLIP = {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}  # fmt: skip
SIGLIP = {"hidden_size": 1152, "image_size": 384, "intermediate_size": 4304, "model_type": "siglip_vision_model",
          "num_attention_heads": 16, "num_hidden_layers": 26, "patch_size": 14, "vision_use_head": False}  # fmt: skip
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
MISTRAL = {"model_type": "mistral", "intermediate_size": 14336, "max_position_embeddings": 32768, "num_key_value_heads": 8,
           "rms_norm_eps": 1e-05, "rope_theta": 1e6, "sliding_window": None, "vocab_size": 32064}  # fmt: skip
NEXT: dict[str, Any] = {
    "architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next", "ignore_index": -100,
    "image_grid_pinpoints": PINPOINTS, "image_token_index": 32000, "projector_hidden_act": "gelu", "text_config": MISTRAL,
    "tie_word_embeddings": False, "torch_dtype": "float16", "use_image_newline_parameter": True, "vision_config": CLIP,
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064, "transformers_version": "4.39",
}  # fmt: skip
ONEVISION: dict[str, Any] = {
    "architectures": ["LlavaOnevisionForConditionalGeneration"], "model_type": "llava_onevision", "ignore_index": -100,
    "image_grid_pinpoints": PINPOINTS, "image_token_index": 151646, "video_token_index": 151647, "projector_hidden_act": "gelu",
    "text_config": {
        "_name_or_path": "Qwen/Qwen2-0.5B-Instruct", "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643,
        "eos_token_id": 151645, "hidden_size": 896, "intermediate_size": 4864, "max_window_layers": 24, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rope_theta": 1e6,
        "tie_word_embeddings": True, "vocab_size": 152000,
    },
    "tie_word_embeddings": False, "use_image_newline_parameter": True, "vision_aspect_ratio": "anyres_max_9",
    "vision_config": SIGLIP, "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
}  # fmt: skip
QWEN25: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "vision_start_token_id": 151652, "vision_end_token_id": 151653, "vision_token_id": 151654,
    "image_token_id": 151655, "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 11008, "max_position_embeddings": 128000, "max_window_layers": 70, "model_type": "qwen2_5_vl",
    "num_attention_heads": 16, "num_hidden_layers": 36, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1e6,
    "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 151936, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {
        "depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_chans": 3,
        "out_hidden_size": 2048, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip
GEMMA3: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
    "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
    "model_type": "gemma3", "torch_dtype": "bfloat16",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    },
    "vision_config": SIGLIP | {"image_size": 896, "num_hidden_layers": 27},
}  # fmt: skip
SMOLVLM: dict[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"], "image_token_id": 49190, "model_type": "idefics3", "scale_factor": 4,
    "pad_token_id": 2, "tie_word_embeddings": False, "use_cache": True, "use_reentrant_checkpointing": False, "vocab_size": 49280,
    "text_config": {
        "_flash_attn_2_enabled": True, "_name_or_path": "None", "architectures": ["VLlama3ForCausalLM"], "head_dim": 64,
        "hidden_size": 576, "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192,
        "model_type": "llama", "neftune_noise_alpha": 0.0, "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "pad_token_id": 2, "perceiver_config": {"resampler_n_heads": 16},
        "pixel_shuffle_factor": 4, "qk_layer_norms": False, "rms_norm_eps": 1e-05, "rope_interleaved": False,
        "rope_theta": 100000, "use_resampler": False, "vocab_size": 49280,
    },
    "vision_config": {
        "hidden_size": 768, "image_size": 512, "max_image_size": {"longest_edge": 512}, "model_type": "idefics3",
        "num_attention_heads": 12, "patch_size": 16, "size": {"longest_edge": 2048}, "tie_word_embeddings": False,
        "use_base_siglip": False,
    },
}  # fmt: skip
PIXTRAL_TOWER = {"attention_dropout": 0.0, "head_dim": 64, "hidden_act": "gelu", "hidden_size": 1024, "image_size": 1540,
                 "initializer_range": 0.02, "intermediate_size": 4096, "model_type": "pixtral", "num_attention_heads": 16,
                 "num_channels": 3, "num_hidden_layers": 24, "patch_size": 14, "rope_theta": 10000.0}  # fmt: skip
MISTRAL3: dict[str, Any] = {
    "architectures": ["Mistral3ForConditionalGeneration"], "image_token_index": 10, "model_type": "mistral3",
    "multimodal_projector_bias": False, "projector_hidden_act": "gelu", "spatial_merge_size": 2, "vision_feature_layer": -1,
    "text_config": MISTRAL | {"hidden_size": 5120, "head_dim": 128, "num_hidden_layers": 40, "vocab_size": 131072},
    "vision_config": PIXTRAL_TOWER,
}  # fmt: skip
JUNK = {"add_cross_attention": False, "bad_words_ids": None, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
        "diversity_penalty": 0.0, "max_length": 20, "num_beams": 1, "pruned_heads": {}, "repetition_penalty": 1.0,
        "return_dict": True, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "use_bfloat16": False}  # fmt: skip
"""Keys that older versions of transformers wrote into every half."""
MLLAMA: dict[str, Any] = {
    "architectures": ["MllamaForConditionalGeneration"], "image_token_index": 128256, "model_type": "mllama",
    "torch_dtype": "bfloat16",
    "text_config": JUNK | {
        "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38], "dropout": 0, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 14336, "max_position_embeddings": 131072, "model_type": "mllama_text_model",
        "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "pad_token_id": 128004,
        "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                                "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 128256,
    },
    "vision_config": JUNK | {
        "attention_heads": 16, "hidden_act": "gelu", "hidden_size": 1280, "image_size": 560,
        "intermediate_layers_indices": [3, 7, 15, 23, 30], "intermediate_size": 5120, "max_num_tiles": 4,
        "model_type": "mllama_vision_model", "norm_eps": 1e-05, "num_channels": 3, "num_global_layers": 8,
        "num_hidden_layers": 32, "patch_size": 14, "vision_output_dim": 7680, "supported_aspect_ratios":
        [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    },
}  # fmt: skip
ALL = (NEXT, ONEVISION, QWEN25, GEMMA3, SMOLVLM, MISTRAL3, MLLAMA)


@pytest.mark.parametrize("values", ALL, ids=lambda values: values["model_type"])
def test_a_published_config_is_read_in_full(values: dict[str, Any]):
    checked = check_config(values)
    assert checked.entry.architecture == values["architectures"][0]
    assert checked.config.vision_config == values["vision_config"]
    half = values.get("text_config", values)
    assert {key: getattr(checked.config, key) for key in ("hidden_size", "num_hidden_layers") if key in half} == {
        key: half[key] for key in ("hidden_size", "num_hidden_layers") if key in half
    }


def test_what_a_text_half_leaves_out_is_as_its_class_supposes():
    config = check_config(GEMMA3).config
    assert (config.vocab_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (262208, 8, 4, 256)
    assert check_config(NEXT).config.hidden_size == 4096


def test_a_null_of_the_text_half_is_no_value_left_out():
    for values in (NEXT, MISTRAL3):
        assert check_config(values).config.window(0) is None
    assert check_config(NEXT | {"text_config": MISTRAL | {"sliding_window": 64}}).config.window(0) == 64


def test_one_matrix_serves_as_head_where_either_half_ties_it():
    assert check_config(ONEVISION).config.tie_word_embeddings
    assert not check_config(NEXT).config.tie_word_embeddings


def test_layers_that_look_at_pictures_are_made_between_the_others():
    checked = check_config(MLLAMA)
    model = checked.family.model(checked.config)
    assert [spec.layer for spec in model.attention_specs()] == [at for at in range(40) if at % 5 != 3]
    assert (model.vocab_size, model.num_embeddings) == (128_256, 128_264)


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("text_config", {"tie_word_embeddings": True}, "more rows than the head"),
        ("text_config", {"cross_attention_layers": [3, 40]}, "and 40 layers"),
        ("vision_config", {"intermediate_layers_indices": [3, 32]}, "takes features of the layers"),
        ("vision_config", {"vision_output_dim": 1280}, "1280 numbers of a row"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(part: str, values: dict[str, Any], message: str):
    checked = check_config(MLLAMA | {part: MLLAMA[part] | values})
    with pytest.raises(WorkbenchError, match=message):
        checked.family.model(checked.config)


@pytest.mark.parametrize("part", ["vision_config", "text_config"])
def test_a_key_of_either_half_that_is_not_computed_is_refused(part: str):
    values = NEXT | {part: NEXT[part] | {"uses_magic": 3}}

    def opened() -> None:
        checked = check_config(values)
        checked.family.model(checked.config)

    with pytest.raises(ModelUnsupported, match="uses_magic"):
        opened()


def test_a_tower_of_more_layers_than_any_model_has_is_refused_before_it_is_made():
    with pytest.raises(ModelCorrupt, match=r"vision_config\.num_hidden_layers = 1,000,000,000, more than the 4,096"):
        tower_config(ClipConfig, CLIP | {"num_hidden_layers": 10**9})
