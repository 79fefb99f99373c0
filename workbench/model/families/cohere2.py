"""Command-R7B and A: layers with a window and a rotary embedding, and every fourth with neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import Attention
from workbench.model.config import Windowed
from workbench.model.families.cohere import NEUTRAL, CohereDecoder, CohereForm, gguf_meta, gguf_values
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


@dataclass(frozen=True, kw_only=True)
class Cohere2Config(CohereForm, Windowed):
    words: ClassVar[Mapping[str, str]] = {"_sliding_window_pattern": "sliding_window_pattern"}

    sliding_window: int | None = 4096
    sliding_window_pattern: int = 4
    """The period of layers without a window, where `layer_types` does not list them."""

    def slides(self, layer: int) -> bool:
        return (layer + 1) % self.sliding_window_pattern > 0


class Cohere2ForCausalLM(CohereDecoder):
    def __init__(self, config: Cohere2Config) -> None:
        def attention(layer: int, *, qkv_bias: bool, o_bias: bool) -> Attention:
            return Attention(config, layer, window=config.window(layer), qkv_bias=qkv_bias, o_bias=o_bias)

        rope, layers = config.rope(), range(config.num_hidden_layers)
        super().__init__(config, attention, [rope if config.window(layer) else None for layer in layers])


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf_values(file) | {"sliding_window": file.meta.need("cohere2.attention.sliding_window")}


def _gguf_meta(config: Cohere2Config) -> dict[str, Any]:
    window = {} if config.sliding_window is None else {"attention.sliding_window": config.sliding_window}
    return gguf_meta(config) | window


FAMILY = Family[Cohere2Config](
    config=Cohere2Config, model=Cohere2ForCausalLM, changes=neighbours,
    neutral=NEUTRAL | {"order_of_interleaved_layers": ("local_attn_first",), "layer_switch": (4,)},
    gguf=GgufRules[Cohere2Config](
        names=gguf.NAMES, keys=gguf.KEYS | {"logit_scale", "attention.sliding_window"}, values=_gguf_values, changes=neighbours,
        meta=_gguf_meta,
    ),
)  # fmt: skip
