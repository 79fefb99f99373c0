"""Mistral 7B, NeMo, Small, and others of this form: Llama with a window, where the configuration has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


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


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf.plain_values(file) | {"sliding_window": None}


FAMILY = Family[MistralConfig](
    config=MistralConfig, model=MistralForCausalLM,
    # Files are those of Llama, which has no window.
    gguf=GgufRules[MistralConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=gguf.plain_meta, changes=neighbours,
        tables=gguf.plain_tables,
    ),
)  # fmt: skip
