"""Configurations of models that see whose authors have words of their own, as their files state them: each is read in full."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.model.check import check_config

SIZES = {"initializer_range": 0.02, "torch_dtype": "float16", "use_cache": True, "hidden_act": "silu", "bos_token_id": 1}
LLAVA_15 = SIZES | {
    "_name_or_path": "llava-v1.5-7b", "architectures": ["LlavaLlamaForCausalLM"], "eos_token_id": 2,
    "freeze_mm_mlp_adapter": False, "freeze_mm_vision_resampler": False, "hidden_size": 4096, "image_aspect_ratio": "pad",
    "intermediate_size": 11008,
    "max_length": 4096, "max_position_embeddings": 4096, "mm_hidden_size": 1024, "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None, "mm_use_im_patch_token": False, "mm_use_im_start_end": False, "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2, "mm_vision_tower": "openai/clip-vit-large-patch14-336", "model_type": "llava",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False, "transformers_version": "4.31.0",
    "tune_mm_mlp_adapter": False, "tune_mm_vision_resampler": False, "unfreeze_mm_vision_tower": False, "use_mm_proj": True,
    "vocab_size": 32000,
}  # fmt: skip
LLAVA_16: dict[str, Any] = LLAVA_15 | {
    "architectures": ["LlavaMistralForCausalLM"], "image_aspect_ratio": "anyres", "image_crop_resolution": 224,
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]], "image_split_resolution": 224,
    "mm_patch_merge_type": "spatial_unpad", "mm_projector_lr": None, "mm_vision_tower_lr": 2e-06, "model_type": "llava_mistral",
    "num_key_value_heads": 8, "intermediate_size": 14336, "rope_theta": 1e6, "sliding_window": None,
    "tokenizer_model_max_length": 4096, "tokenizer_padding_side": "right", "unfreeze_mm_vision_tower": True,
}  # fmt: skip
ONEVISION = LLAVA_16 | {
    "architectures": ["LlavaQwenForCausalLM"], "model_type": "llava", "image_aspect_ratio": "anyres_max_9",
    "image_token_index": 151646, "mm_hidden_size": 1152, "mm_newline_position": "one_token", "mm_spatial_pool_mode": "bilinear",
    "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model", "mm_resampler_location": None,
    "mm_spatial_pool_out_channels": 1024, "mm_spatial_pool_stride": None, "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "pos_skipping_range": 4096, "use_pos_skipping": False, "vision_tower_pretrained": None, "hidden_size": 3584,
    "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
    "vocab_size": 152064, "use_sliding_window": False, "max_window_layers": 28, "sliding_window": 131072, "bos_token_id": 151643,
}  # fmt: skip
MINICPMV = SIZES | {
    "_name_or_path": "openbmb/MiniCPM-V-2_6", "version": 2.6, "architectures": ["MiniCPMV"], "auto_map": {"AutoModel": "m.M"},
    "attention_dropout": 0.0, "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768,
    "max_window_layers": 28, "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": False, "use_sliding_window": False,
    "vocab_size": 151666, "batch_vision_input": True, "drop_vision_last_layer": False, "image_size": 448,
    "model_type": "minicpmv", "patch_size": 14, "query_num": 64,
    "slice_config": {"max_slice_nums": 9, "patch_size": 14, "model_type": "minicpmv"},
    "slice_mode": True, "use_image_id": True, "vision_batch_size": 16,
    "vision_config": {"hidden_size": 1152, "image_size": 980, "intermediate_size": 4304, "model_type": "siglip",
                      "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14},
}  # fmt: skip
MINICPMV_25 = {key: value for key, value in MINICPMV.items() if key not in ("version", "sliding_window", "max_window_layers")} | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "query_num": 96, "mm_use_im_start_end": True, "chunk_input": True, "pretraining_tp": 1,
}  # fmt: skip
MINICPMV_20 = SIZES | {
    "architectures": ["MiniCPMV"], "attention_bias": False, "attention_dropout": 0.0, "dim_model_base": 256,
    "drop_vision_last_layer": True, "hidden_size": 2304, "image_size": 448, "intermediate_size": 5760, "max_slice_nums": 9,
    "max_position_embeddings": 4096, "mm_use_im_start_end": True, "model_type": "minicpmv", "num_attention_heads": 36,
    "num_hidden_layers": 40, "num_key_value_heads": 36, "patch_size": 14, "pretraining_tp": 1, "query_num": 64,
    "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0, "scale_depth": 1.4, "scale_emb": 12,
    "scale_resolution": 448, "slice_mode": True, "vision_encoder": "vit_so400m_patch14_siglip_384.webli", "vocab_size": 122753,
}  # fmt: skip
PHI3V = SIZES | {
    "architectures": ["Phi3VForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "embd_pdrop": 0.0,
    "embd_layer": {"embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp", "use_hd_transform": True,
                   "with_learnable_separator": True},
    "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 131072, "model_type": "phi3_v",
    "img_processor": {"image_dim_out": 1024, "model_name": "openai/clip-vit-large-patch14-336", "name": "clip_vision_model",
                      "num_img_tokens": 144},
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096,
    "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 131072, "tie_word_embeddings": False,
    "rope_scaling": {"long_factor": [1.0] * 48, "short_factor": [1.0] * 48, "type": "su"}, "vocab_size": 32064,
}  # fmt: skip
ALL = {"llava 1.5": LLAVA_15, "llava 1.6": LLAVA_16, "onevision": ONEVISION, "minicpmv 2.0": MINICPMV_20,
       "minicpmv 2.5": MINICPMV_25, "minicpmv 2.6": MINICPMV, "phi3v": PHI3V}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_a_published_config_is_read_in_full(name: str):
    values = ALL[name]
    checked = check_config(values)
    assert checked.entry.architecture == values["architectures"][0]
    assert checked.config.hidden_size == values["hidden_size"]


def test_words_of_llavas_authors_become_those_of_transformers():
    plain, tiled, shrunk = (check_config(values).config for values in (LLAVA_15, LLAVA_16, ONEVISION))
    assert (plain.vision_feature_layer, plain.vision_feature_select_strategy, plain.image_grid_pinpoints) == (-2, "default", None)
    assert tiled.image_grid_pinpoints[0] == [672, 336], "height first"
    assert (tiled.vision_aspect_ratio, shrunk.vision_aspect_ratio) == (None, "anyres_max_9")
    assert (shrunk.vision_feature_select_strategy, shrunk.vision_config["num_hidden_layers"]) == ("full", 27)
