"""Phi-3, 3.5 and 4: fused matrices in files, rotary embeddings of a part of each head, stretched by one divisor per frequency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.checkpoint.names import Cut, one_after_the_other
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, PartlyRotated, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family
from workbench.model.rope import Rope


@dataclass(frozen=True, kw_only=True)
class Phi3Config(PartlyRotated, Windowed):
    max_position_embeddings: int = 4096
    original_max_position_embeddings: int = 4096
    """Positions in training, before the stretch."""
    rms_norm_eps: float = 1e-5
    hidden_act: Activation = "silu"

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


def _cuts(config: Phi3Config) -> Mapping[str, Cut]:
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    attention, mlp = "layers.*.self_attn", "layers.*.mlp"
    qkv = {f"{attention}.q_proj": queries, f"{attention}.k_proj": keys, f"{attention}.v_proj": keys}
    gate_up = dict.fromkeys((f"{mlp}.gate_proj", f"{mlp}.up_proj"), config.intermediate_size)
    return one_after_the_other(f"{attention}.qkv_proj", qkv) | one_after_the_other(f"{mlp}.gate_up_proj", gate_up)


FAMILY = Family(
    config=Phi3Config, model=Phi3ForCausalLM, cuts=_cuts,
    neutral=COMMON_NEUTRAL | {"full_attn_mod": (1,), "interpolate_factor": (1,)},
)  # fmt: skip
