"""Tiny configs for tests and lessons: real architectures, a byte-sized vocabulary, weights from `load_format="dummy"`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SIZES: dict[str, Any] = {
    "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": 0,
}  # fmt: skip
TINY_LLAMA: dict[str, Any] = _SIZES | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rope_theta": 10000.0,
}
TINY_GEMMA3: dict[str, Any] = _SIZES | {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 3, "sliding_window": 16,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "query_pre_attn_scalar": 8,
    "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "hidden_activation": "gelu_pytorch_tanh",
}  # fmt: skip


def write_config(folder: Path, config: dict[str, Any] = TINY_LLAMA, **changes: Any) -> Path:
    """Makes `folder` a model folder with a config.json alone, for `load_format="dummy"`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder
