"""Mixtures of experts equal transformers' classes, or the arithmetic that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import family
import pytest


@pytest.mark.parametrize("is_stacked", [False, True])
def test_mixtral(tmp_path: Path, is_stacked: bool):
    reference = family.made("mixtral", num_local_experts=5, sliding_window=24)
    family.hold(family.written(reference, tmp_path, save_original_format=not is_stacked), reference)
    family.matters(reference, sliding_window=None)
    family.matters(reference, num_experts_per_tok=1)


QWEN_MOE: dict[str, Any] = {"num_experts_per_tok": 3, "moe_intermediate_size": 32}


def test_qwen_2_moe(tmp_path: Path):
    reference = family.made(
        "qwen2_moe", num_experts=8, shared_expert_intermediate_size=48, mlp_only_layers=[1], use_sliding_window=True,
        sliding_window=24, max_window_layers=2, **QWEN_MOE,
    )  # fmt: skip
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, norm_topk_prob=True)
    family.matters(reference, use_sliding_window=False, layer_types=None)


def test_qwen_2_moe_in_the_style_of_transformers_4(tmp_path: Path):
    reference = family.made(
        "qwen2_moe", num_experts=8, shared_expert_intermediate_size=48, decoder_sparse_step=2, rope_theta=5000.0, **QWEN_MOE
    )
    folder = family.written(reference, tmp_path)
    family.restyled(folder, rope_parameters=None, layer_types=None, rope_theta=5000.0)
    family.hold(folder, reference)


def test_qwen_3_moe(tmp_path: Path):
    reference = family.made("qwen3_moe", num_experts=8, head_dim=24, norm_topk_prob=True, mlp_only_layers=[0], **QWEN_MOE)
    family.hold(family.written(reference, tmp_path), reference)
    family.matters(reference, norm_topk_prob=False)
