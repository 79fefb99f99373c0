"""Dense decoders equal transformers' classes."""

from __future__ import annotations

from pathlib import Path

import family


def test_llama(tmp_path: Path):
    rope = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32}  # fmt: skip
    reference = family.made("llama", rope_parameters=rope, attention_bias=True, mlp_bias=True, head_dim=24, hidden_act="gelu")
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    family.matters(reference, hidden_act="silu")
