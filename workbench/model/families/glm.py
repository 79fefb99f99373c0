"""GLM-4 9B and GLM-Edge as transformers names them: half of each head is rotated, by neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.checkpoint.names import Change, Cut, one_after_the_other
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, PartlyRotated
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class GlmForm(PartlyRotated):
    """The base of what all GLM read from their configurations."""

    partial_rotary_factor: float = 0.5
    hidden_act: Activation = "silu"


@dataclass(frozen=True, kw_only=True)
class GlmConfig(GlmForm):
    num_key_value_heads: int = 2
    head_dim: int = 128
    max_position_embeddings: int = 131_072
    rms_norm_eps: float = 1.5625e-7
    attention_bias: bool = True


class GlmForCausalLM(Decoder):
    def __init__(self, config: GlmForm) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.attention_bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, block, ropes=config.rope())


def changes(config: GlmForm) -> Mapping[str, Change]:
    return neighbours(config, int(config.head_dim * config.rope().partial_rotary_factor))


def cuts(config: GlmForm, stored: str = "layers.*.mlp.gate_up_proj") -> Mapping[str, Cut]:
    gate_up = dict.fromkeys(("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"), config.intermediate_size)
    return one_after_the_other(stored, gate_up)


def gguf_cuts(config: GlmForm) -> Mapping[str, Cut]:
    return cuts(config, "blk.*.ffn_up")


FAMILY = Family(
    config=GlmConfig, model=GlmForCausalLM, changes=changes, cuts=cuts,
    gguf=GgufRules(
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.partly_rotated_values, changes=changes, cuts=gguf_cuts,
        meta=gguf.partly_rotated_meta,
    ),
)  # fmt: skip
