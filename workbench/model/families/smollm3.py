"""SmolLM3: every fourth layer is without positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class SmolLM3Config(Windowed):
    num_key_value_heads: int = 4
    max_position_embeddings: int = 32_768
    rope_theta: float = 2_000_000.0
    tie_word_embeddings: bool = True
    hidden_act: Activation = "silu"
    mlp_bias: bool = False
    use_sliding_window: bool = False
    no_rope_layers: list[int] | None = None
    """The number 1 for each layer with a rotary embedding, and 0 for one without: the opposite of what the key is called."""
    no_rope_layer_interval: int = 4
    """Every so many layers one has none, where they are not listed."""

    def rotates(self, layer: int) -> bool:
        """Returns whether a layer has a rotary embedding."""
        listed = self.no_rope_layers
        return bool(listed[layer]) if listed else (layer + 1) % self.no_rope_layer_interval > 0

    def slides(self, layer: int) -> bool:
        return self.use_sliding_window and not self.rotates(layer)

    def settled(self) -> Self:
        listed = [int(self.rotates(layer)) for layer in range(self.num_hidden_layers)]
        return replace(super().settled(), no_rope_layers=listed, no_rope_layer_interval=0, use_sliding_window=False)


class SmolLM3ForCausalLM(Decoder):
    def __init__(self, config: SmolLM3Config) -> None:
        def block(layer: int) -> Block:
            bias = config.attention_bias
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=bias, o_bias=bias)
            return Block(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias))

        rope = config.rope()
        super().__init__(
            config, block, ropes=[rope if config.rotates(layer) else None for layer in range(config.num_hidden_layers)]
        )  # fmt: skip


FAMILY = Family[SmolLM3Config](
    config=SmolLM3Config, model=SmolLM3ForCausalLM, neutral=COMMON_NEUTRAL | {"max_window_layers": (28, 36)},
    gguf=GgufRules[SmolLM3Config](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, changes=neighbours,
        meta=gguf.plain_meta, tables=gguf.plain_tables,
    ),
)  # fmt: skip
