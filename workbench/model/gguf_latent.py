"""GGUF files of models with attention over latents: names, keys of their metadata, and their values as a config."""

from __future__ import annotations

from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf, gguf_experts
from workbench.model.mla import LatentConfig

NAMES = gguf_experts.NAMES | {
    "layers.*.self_attn.q_a_proj": "blk.*.attn_q_a",
    "layers.*.self_attn.q_b_proj": "blk.*.attn_q_b",
    "layers.*.self_attn.q_a_layernorm": "blk.*.attn_q_a_norm",
    "layers.*.self_attn.kv_a_proj_with_mqa": "blk.*.attn_kv_a_mqa",
    "layers.*.self_attn.kv_a_layernorm": "blk.*.attn_kv_a_norm",
    "layers.*.self_attn.kv_b_proj": "blk.*.attn_kv_b",
    "layers.*.self_attn.k_b_proj": "blk.*.attn_k_b",
    "layers.*.self_attn.v_b_proj": "blk.*.attn_v_b",
    # As they are written.
    "layers.*.self_attn.kv_b_proj.keys": "blk.*.attn_k_b.weight",
    "layers.*.self_attn.kv_b_proj.values": "blk.*.attn_v_b.weight",
}
KEYS = gguf_experts.KEYS | frozenset(
    "attention.q_lora_rank attention.kv_lora_rank attention.key_length_mla attention.value_length_mla "
    "rope.scaling.yarn_log_multiplier expert_group_count expert_group_used_count".split()
)


def meta_of(config: LatentConfig) -> dict[str, Any]:
    """Returns the metadata of a model with attention over latents, but for its experts: the inverse of `values_of`."""
    rope = config.rope()
    turned, key = config.qk_rope_head_dim, config.qk_nope_head_dim + config.qk_rope_head_dim
    meta = gguf.meta_of(config, rope) | {
        "attention.kv_lora_rank": config.kv_lora_rank, "rope.dimension_count": turned,
        "attention.key_length": key, "attention.value_length": config.v_head_dim,
    }  # fmt: skip
    if config.splits_maps:  # then those are the sizes of what the store keeps
        meta |= {"attention.key_length_mla": key, "attention.value_length_mla": config.v_head_dim, "attention.head_count_kv": 1}
        rank = config.kv_lora_rank
        meta |= {"attention.key_length": rank + turned, "attention.value_length": rank}
    if config.q_lora_rank is not None:
        meta["attention.q_lora_rank"] = config.q_lora_rank
    if rope.rope_type == "yarn" and rope.mscale_all_dim:
        meta["rope.scaling.yarn_log_multiplier"] = rope.mscale_all_dim / 10
    return meta


def values_of(file: GgufFile) -> dict[str, Any]:
    """Returns what these families say, under the names of config.json.

    Older files state the sizes of a head's key and value as `key_length` and `value_length`; in newer ones those are the
    sizes of what the store keeps.
    """
    arch, meta = file.architecture, file.meta
    turned, heads = meta.number(f"{arch}.rope.dimension_count"), meta.number(f"{arch}.attention.head_count")
    key = meta.number(f"{arch}.attention.key_length_mla", 0) or meta.number(f"{arch}.attention.key_length")
    values = gguf.values_of(file, turned) | {
        "q_lora_rank": meta.get(f"{arch}.attention.q_lora_rank"),
        "kv_lora_rank": meta.number(f"{arch}.attention.kv_lora_rank"),
        "qk_nope_head_dim": key - turned,
        "qk_rope_head_dim": turned,
        "v_head_dim": file.tensors["blk.0.attn_output.weight"].shape[1] // heads,
        "rope_theta": meta.get(f"{arch}.rope.freq_base", 10_000.0),
    }
    yarn, strength = gguf.yarn(file), meta.get(f"{arch}.rope.scaling.yarn_log_multiplier", 0.0) * 10
    if yarn is None:
        return values | {"rope_scaling": gguf.rope_scaling(file)}
    return values | {"rope_scaling": yarn | ({"mscale": strength, "mscale_all_dim": strength} if strength else {})}
