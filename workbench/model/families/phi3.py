"""Phi-3, 3.5 and 4: fused matrices in files, rotary embeddings of a part of each head, stretched by one divisor per frequency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, ModelConfig, PartlyRotated, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.rope import Rope, longrope_scale


@dataclass(frozen=True, kw_only=True)
class Phi3Config(PartlyRotated, Windowed):
    max_position_embeddings: int = 4096
    original_max_position_embeddings: int = 4096
    """Positions in training, before the stretch."""
    rms_norm_eps: float = 1e-5
    hidden_act: Activation = "silu"

    def settled(self) -> Self:
        config = super().settled()
        original = (config.rope_scaling or {})["original_max_position_embeddings"] or self.max_position_embeddings
        return replace(config, original_max_position_embeddings=int(original))

    def rope(self) -> Rope:
        described = self.rope_scaling or self.rope_parameters or {}
        part = {"partial_rotary_factor": self.partial_rotary_factor}
        original = {"original_max_position_embeddings": self.original_max_position_embeddings}
        return Rope.make(self.rope_theta, part, described, original)


class Phi3ForCausalLM(Decoder):
    def __init__(self, config: Phi3Config) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer))
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, block, ropes=config.rope())


def cuts(
    config: Phi3Config, qkv: str = "layers.*.self_attn.qkv_proj", gate_up: str = "layers.*.mlp.gate_up_proj"
) -> Mapping[str, Cut]:
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    attention = {"layers.*.self_attn.q_proj": queries, "layers.*.self_attn.k_proj": keys, "layers.*.self_attn.v_proj": keys}
    mlp = dict.fromkeys(("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"), config.intermediate_size)
    return one_after_the_other(qkv, attention) | one_after_the_other(gate_up, mlp)


def _gguf_cuts(config: Phi3Config) -> Mapping[str, Cut]:
    return cuts(config, "blk.*.attn_qkv", "blk.*.ffn_up")


def gguf_values(file: GgufFile) -> dict[str, Any]:
    values, meta, arch = gguf.partly_rotated_values(file), file.meta, file.architecture
    factors = {f"{one}_factor": f"rope_factors_{one}.weight" for one in ("short", "long")}
    if all(name in file.tensors for name in factors.values()):
        stretch = meta.get(f"{arch}.rope.scaling.attn_factor")
        listed = {key: file.floats(name) for key, name in factors.items()}
        values["rope_scaling"] = {"rope_type": "longrope", "attention_factor": stretch, **listed}
    return values | {
        "sliding_window": meta.get(f"{arch}.attention.sliding_window", 0) or None,
        "original_max_position_embeddings": meta.get(f"{arch}.rope.scaling.original_context_length"),
    }


def gguf_meta(config: Phi3Config) -> dict[str, Any]:
    meta = gguf.partly_rotated_meta(config)
    if config.sliding_window is not None:
        meta["attention.sliding_window"] = config.sliding_window
    return meta | longrope_meta(config)


def longrope_meta(config: ModelConfig) -> dict[str, Any]:
    """Returns the metadata of a rotary embedding with two lists of divisors, which are tensors of the file."""
    rope = config.rope()
    if rope.rope_type != "longrope":
        return {}
    original = int(rope.original_max_position_embeddings or config.max_position_embeddings)
    stretch = longrope_scale(rope, config.max_position_embeddings, original)
    return {"rope.scaling.original_context_length": original, "rope.scaling.attn_factor": float(stretch)}


def longrope_tables(config: ModelConfig) -> dict[str, list[float]]:
    """Returns these lists, by the names of their tensors."""
    rope = config.rope()
    lists = {"short": rope.short_factor, "long": rope.long_factor}
    return {f"rope_factors_{one}.weight": list(numbers) for one, numbers in lists.items() if numbers}


GGUF_KEYS = gguf.KEYS | {"attention.sliding_window", "rope.scaling.attn_factor", "rope.scaling.original_context_length"}
GGUF_LEFTOVERS = r"^rope_factors_(short|long)\.weight$"
FAMILY = Family(
    config=Phi3Config, model=Phi3ForCausalLM, cuts=cuts,
    neutral=COMMON_NEUTRAL | {"full_attn_mod": (1,), "interpolate_factor": (1,)},
    gguf=GgufRules(
        names=gguf.LLAMA_NAMES, keys=GGUF_KEYS, values=gguf_values, cuts=_gguf_cuts,
        leftovers=GGUF_LEFTOVERS, meta=gguf_meta, tables=longrope_tables,
    ),
)  # fmt: skip
