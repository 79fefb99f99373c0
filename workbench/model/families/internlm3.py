"""InternLM 3: Llama whose biases have keys of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from workbench.model.blocks import MLP, Attention, Block
from workbench.model.decoder import Decoder
from workbench.model.families.llama import NEUTRAL, LlamaConfig
from workbench.model.family import Family


@dataclass(frozen=True, kw_only=True)
class InternLM3Config(LlamaConfig):
    bias: bool = False
    """True: the ways out of attention and all of an MLP have biases."""
    qkv_bias: bool = False
    """True: queries, keys and values have them."""

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=self.qkv_bias, mlp_bias=self.bias)


class InternLM3ForCausalLM(Decoder):
    def __init__(self, config: InternLM3Config) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, qkv_bias=config.qkv_bias, o_bias=config.bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.bias))

        super().__init__(config, block, ropes=config.rope())


FAMILY = Family[InternLM3Config](config=InternLM3Config, model=InternLM3ForCausalLM, neutral=NEUTRAL)
