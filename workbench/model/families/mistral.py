"""Mistral 7B, NeMo, Small, and others of this form: Llama with a window, where the configuration has one."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import Family


@dataclass(frozen=True, kw_only=True)
class MistralConfig(Windowed):
    num_key_value_heads: int = 8
    max_position_embeddings: int = 131_072
    hidden_act: Activation = "silu"
    sliding_window: int | None = 4096


class MistralForCausalLM(Decoder):
    def __init__(self, config: MistralConfig) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer))
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, block, ropes=config.rope())


FAMILY = Family(config=MistralConfig, model=MistralForCausalLM)
