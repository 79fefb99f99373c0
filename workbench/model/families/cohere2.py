"""Command-R7B and A: layers with a window and a rotary embedding, and every fourth with neither."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, ParallelBlock
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.families.cohere import NEUTRAL, gguf_values
from workbench.model.family import Family, GgufRules
from workbench.model.layers import LayerNorm
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class Cohere2Config(Windowed):
    max_position_embeddings: int = 8192
    rope_theta: float = 500_000.0
    tie_word_embeddings: bool = True
    hidden_act: Activation = "silu"
    layer_norm_eps: float = 1e-5
    logit_scale: float = 0.0625
    sliding_window: int | None = 4096
    sliding_window_pattern: int = 4
    """The period of layers without a window, where `layer_types` does not list them."""

    def slides(self, layer: int) -> bool:
        return (layer + 1) % self.sliding_window_pattern > 0


class Cohere2ForCausalLM(Decoder):
    def __init__(self, config: Cohere2Config) -> None:
        norm = partial(LayerNorm, eps=config.layer_norm_eps, bias=False)

        def block(layer: int) -> ParallelBlock:
            bias = config.attention_bias
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=bias, o_bias=bias)
            return ParallelBlock(config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_act), norm)

        rope, layers = config.rope(), range(config.num_hidden_layers)
        super().__init__(
            config, block, norm=norm(config.hidden_size), logit_scale=config.logit_scale,
            ropes=[rope if config.window(layer) else None for layer in layers],
        )  # fmt: skip


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf_values(file) | {"sliding_window": file.meta.need("cohere2.attention.sliding_window")}


FAMILY = Family[Cohere2Config](
    config=Cohere2Config, model=Cohere2ForCausalLM, changes=neighbours,
    neutral=NEUTRAL | {"order_of_interleaved_layers": ("local_attn_first",), "layer_switch": (4,)},
    gguf=GgufRules[Cohere2Config](
        names=gguf.NAMES, keys=gguf.KEYS | {"logit_scale", "attention.sliding_window"}, values=_gguf_values, changes=neighbours
    ),
)  # fmt: skip
