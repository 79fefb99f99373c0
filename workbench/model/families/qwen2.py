"""Qwen 2 and 2.5: biases of queries, keys and values, and in the later layers a window, where the configuration turns it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(Windowed):
    num_key_value_heads: int = 32
    max_position_embeddings: int = 32_768
    hidden_act: Activation = "silu"
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    """Number of the first layers that see all, where `layer_types` is not stated."""

    def slides(self, layer: int) -> bool:
        return layer >= self.max_window_layers

    def window(self, layer: int) -> int | None:
        return super().window(layer) if self.use_sliding_window else None

    def settled(self) -> Self:
        windowless: dict[str, Any] = {} if self.use_sliding_window else {"sliding_window": None, "max_window_layers": 0}
        return replace(super().settled(), attention_bias=False, **windowless)  # its biases are no matter of the key


class Qwen2ForCausalLM(Decoder):
    def __init__(self, config: Qwen2Config) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=True)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act))

        super().__init__(config, block, ropes=config.rope())


FAMILY = Family[Qwen2Config](
    config=Qwen2Config, model=Qwen2ForCausalLM,
    gguf=GgufRules[Qwen2Config](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, meta=gguf.plain_meta, tables=gguf.plain_tables
    ),
)  # fmt: skip
