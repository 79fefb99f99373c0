"""OLMo 2: norms after attention and MLP and none before, and one norm over all heads of queries, and of keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, SandwichBlock
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import Family, GgufRules
from workbench.model.layers import AllHeadsNorm, RMSNorm


@dataclass(frozen=True, kw_only=True)
class Olmo2Config(ModelConfig):
    rms_norm_eps: float = 1e-5
    hidden_act: Activation = "silu"


class Olmo2ForCausalLM(Decoder):
    def __init__(self, config: Olmo2Config) -> None:
        eps = config.rms_norm_eps

        def block(layer: int) -> SandwichBlock:
            bias = config.attention_bias
            attention = Attention(config, layer, qkv_bias=bias, o_bias=bias, head_norm=partial(AllHeadsNorm, eps=eps))
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            return SandwichBlock(config, attention, mlp, partial(RMSNorm, eps=eps), before=False)

        super().__init__(config, block, ropes=config.rope())


GGUF_NAMES = gguf.NAMES | gguf.HEAD_NORMS | {
    "layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
    "layers.*.post_feedforward_layernorm": "blk.*.post_ffw_norm",
}  # fmt: skip
FAMILY = Family[Olmo2Config](
    config=Olmo2Config, model=Olmo2ForCausalLM,
    gguf=GgufRules[Olmo2Config](
        names=GGUF_NAMES, keys=gguf.KEYS, values=gguf.plain_values, meta=gguf.plain_meta, tables=gguf.plain_tables
    ),
)  # fmt: skip
