"""Command-R and R+: attention and MLP in parallel after one layer norm, neighbours rotated, scaled logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.names import Change
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, ParallelBlock
from workbench.model.config import Activation, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.layers import HeadsLayerNorm, LayerNorm
from workbench.model.rope import Rope
from workbench.model.rows import head_norms, neighbours


@dataclass(frozen=True, kw_only=True)
class CohereForm(ModelConfig):
    """The base of what all Command models read from their configurations."""

    model_max_length: int | None = None
    """Positions that a model was trained for, where the configuration states fewer as `max_position_embeddings`."""

    max_position_embeddings: int = 8192
    rope_theta: float = 500_000.0
    tie_word_embeddings: bool = True
    hidden_act: Activation = "silu"
    layer_norm_eps: float = 1e-5
    logit_scale: float = 0.0625

    def settled(self) -> Self:
        longest = self.model_max_length or self.max_position_embeddings
        return replace(super().settled(), max_position_embeddings=longest, model_max_length=None)


@dataclass(frozen=True, kw_only=True)
class CohereConfig(CohereForm):
    use_qk_norm: bool = False


class CohereDecoder(Decoder):
    """Parallel blocks after one layer norm without a bias."""

    def __init__(
        self, config: CohereForm, attention: Callable[..., Attention], ropes: Rope | Sequence[Rope | None] | None
    ) -> None:
        """Makes each layer's attention by `attention`, from its index and its biases."""
        norm = partial(LayerNorm, eps=config.layer_norm_eps, bias=False)

        def block(layer: int) -> ParallelBlock:
            mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
            made = attention(layer, qkv_bias=config.attention_bias, o_bias=config.attention_bias)
            return ParallelBlock(config, made, mlp, norm)

        super().__init__(config, block, norm=norm(config.hidden_size), ropes=ropes, logit_scale=config.logit_scale)
        self.max_positions = config.model_max_length or config.max_position_embeddings


class CohereForCausalLM(CohereDecoder):
    def __init__(self, config: CohereConfig) -> None:
        head_norm = partial(HeadsLayerNorm, eps=config.layer_norm_eps) if config.use_qk_norm else None
        super().__init__(config, partial(Attention, config, head_norm=head_norm), config.rope())


def _changes(config: CohereConfig) -> Mapping[str, Change]:
    return neighbours(config) | head_norms(config)


NEUTRAL = COMMON_NEUTRAL | {
    "position_embedding_type": ("rope_gptj",), "rotary_pct": (1,), "use_parallel_block": (True,), "use_gated_activation": (True,),
    "use_embedding_sharing": (True,), "use_parallel_embedding": (True, False),
}  # fmt: skip


def gguf_values(file: GgufFile) -> dict[str, Any]:
    values = gguf.layer_normed(gguf.plain_values(file), "layer_norm_eps")
    return values | {"logit_scale": file.meta.need(f"{file.architecture}.logit_scale")}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    return gguf_values(file) | {"use_qk_norm": "blk.0.attn_q_norm.weight" in file.tensors}


def gguf_meta(config: CohereForm) -> dict[str, Any]:
    return gguf.layer_normed_meta(gguf.plain_meta(config), config.layer_norm_eps) | {"logit_scale": float(config.logit_scale)}


FAMILY = Family[CohereConfig](
    config=CohereConfig, model=CohereForCausalLM, neutral=NEUTRAL, changes=_changes,
    gguf=GgufRules[CohereConfig](
        names=gguf.NAMES | gguf.HEAD_NORMS, keys=gguf.KEYS | {"logit_scale"}, values=_gguf_values, meta=gguf_meta,
        changes=_changes,
    ),
)  # fmt: skip
