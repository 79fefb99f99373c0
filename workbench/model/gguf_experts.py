"""GGUF files of mixtures of experts: names of their tensors, keys of their metadata, and their values as a config."""

from __future__ import annotations

from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.config import ModelConfig

_PARTS = ("gate", "up", "down")
NAMES = (
    gguf.NAMES
    | {
        "layers.*.self_attn.q_norm": "blk.*.attn_q_norm",
        "layers.*.self_attn.k_norm": "blk.*.attn_k_norm",
        "layers.*.post_attention_layernorm": "blk.*.ffn_norm",
        "layers.*.mlp.gate": "blk.*.ffn_gate_inp",
        "layers.*.mlp.gate.e_score_correction_bias": "blk.*.exp_probs_b.bias",
        "layers.*.mlp.shared_expert_gate": "blk.*.ffn_gate_inp_shexp",
    }
    | {f"layers.*.mlp.experts.{part}_proj": f"blk.*.ffn_{part}_exps" for part in _PARTS}
    | {f"layers.*.mlp.shared_experts.{part}_proj": f"blk.*.ffn_{part}_shexp" for part in _PARTS}
    # Files before 2024 have a tensor for each expert.
    | {f"layers.*.mlp.experts.*.{part}_proj": f"blk.*.ffn_{part}.*" for part in _PARTS}
)
KEYS = gguf.KEYS | frozenset(
    "expert_count expert_used_count expert_feed_forward_length expert_shared_feed_forward_length expert_shared_count "
    "expert_weights_scale expert_weights_norm expert_gating_func leading_dense_block_count".split()
)


def values_of(file: GgufFile, head_dim: int | None = None) -> dict[str, Any]:
    """Returns what all families of experts say, but for the experts, under the names of config.json."""
    theta = file.meta.get(f"{file.architecture}.rope.freq_base", 10_000.0)
    return {**gguf.values_of(file, head_dim), "rope_theta": theta, "rope_scaling": gguf.rope_scaling(file)}


def meta_of(config: ModelConfig, num: int, used: int, size: int) -> dict[str, Any]:
    """Returns the metadata of a family of `num` experts of `size`, of which a row takes `used`."""
    own = {"expert_count": num, "expert_used_count": used, "expert_feed_forward_length": size}
    return gguf.plain_meta(config) | own


def counts(file: GgufFile) -> tuple[int, int]:
    """Returns the number of experts, and how many of them a row takes."""
    arch = file.architecture
    return file.meta.number(f"{arch}.expert_count"), file.meta.number(f"{arch}.expert_used_count")


def expert_size(file: GgufFile) -> int:
    """Returns the numbers between the two products of an expert, which older files do not state."""
    return next(tensor.shape[-2] for name, tensor in file.tensors.items() if ".ffn_gate_exps." in name)
