"""StarCoder2: layer norms, an MLP without a gate, a window in every layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import Attention, Block, UngatedMLP
from workbench.model.config import Activation, Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import LayerNorm


@dataclass(frozen=True, kw_only=True)
class Starcoder2Config(Windowed):
    num_key_value_heads: int = 2
    max_position_embeddings: int = 4096
    tie_word_embeddings: bool = True
    hidden_act: Activation = "gelu_pytorch_tanh"
    norm_epsilon: float = 1e-5
    use_bias: bool = True

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=self.use_bias)  # its biases have a key of their own


class Starcoder2ForCausalLM(Decoder):
    def __init__(self, config: Starcoder2Config) -> None:
        norm, bias = partial(LayerNorm, eps=config.norm_epsilon), config.use_bias

        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=bias, o_bias=bias)
            mlp = UngatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act, bias)
            return Block(config, attention, mlp, norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=config.rope())


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values = gguf.layer_normed(gguf.plain_values(file), "norm_epsilon")
    return values | {"use_bias": "blk.0.attn_q.bias" in file.tensors}


def _gguf_meta(config: Starcoder2Config) -> dict[str, Any]:
    return gguf.layer_normed_meta(gguf.plain_meta(config), config.norm_epsilon)


FORMER = {"activation_function": ("gelu", "gelu_pytorch_tanh"), "layer_norm_epsilon": (1e-5,), "scale_attn_weights": (True,)}
"""Keys of the family before it, which published configurations still have beside those that count."""
HOW = ("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
NEUTRAL = COMMON_NEUTRAL | FORMER | dict.fromkeys(HOW, (True, False)) | {"mlp_type": ("default",), "norm_type": ("layer_norm",)}
FAMILY = Family(
    config=Starcoder2Config,
    model=Starcoder2ForCausalLM,
    neutral=NEUTRAL,
    names={"layers.*.mlp.up_proj": "layers.*.mlp.c_fc", "layers.*.mlp.down_proj": "layers.*.mlp.c_proj"},
    gguf=GgufRules(names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=_gguf_values, meta=_gguf_meta),
)
