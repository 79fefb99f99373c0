"""Gemma 3 (text): four norms per block, normed queries and keys, five local layers to each global one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf
from workbench.model.blocks import MLP, Attention, SandwichBlock
from workbench.model.config import Activation, LayerKind, ModelConfig
from workbench.model.decoder import Decoder
from workbench.model.families.gemma import plus_one
from workbench.model.family import COMMON_NEUTRAL, INV_FREQ, Family, GgufRules
from workbench.model.layers import RMSNorm
from workbench.model.rope import Rope


@dataclass(frozen=True, kw_only=True)
class Gemma3Config(ModelConfig):
    ropes_by_kind: ClassVar[bool] = True

    max_position_embeddings: int = 131_072
    tie_word_embeddings: bool = True
    head_dim: int = 256
    num_key_value_heads: int = 4
    hidden_activation: Activation = "gelu_pytorch_tanh"
    query_pre_attn_scalar: float = 256
    """Attention scores are divided by its root."""
    sliding_window: int = 4096
    layer_types: list[LayerKind] | None = None
    sliding_window_pattern: int | None = None
    """Every so many layers one is global, where `layer_types` does not say which."""
    _sliding_window_pattern: int = 6
    final_logit_softcapping: float | None = None
    rope_theta: float = 1_000_000.0
    """Base of the rotary embedding in global layers."""
    rope_local_base_freq: float = 10_000.0
    """Base of the rotary embedding in local layers."""

    def kinds(self) -> list[LayerKind]:
        """Returns the kind of each layer."""
        if self.layer_types is not None:
            return self.layer_types[: self.num_hidden_layers]
        every = self.sliding_window_pattern or self._sliding_window_pattern
        return ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(self.num_hidden_layers)]

    def ropes(self) -> dict[LayerKind, Rope]:
        """Returns the rotary embedding of each kind of layer."""
        described = self.rope_parameters or {}
        return {
            "sliding_attention": Rope.make(self.rope_local_base_freq, described.get("sliding_attention")),
            "full_attention": Rope.make(self.rope_theta, described.get("full_attention"), self.rope_scaling),
        }

    def settled(self) -> Self:
        ropes = self.ropes()
        return replace(
            self,
            rope_theta=ropes["full_attention"].rope_theta,
            rope_local_base_freq=ropes["sliding_attention"].rope_theta,
            rope_scaling=None,
            rope_parameters={kind: asdict(rope) for kind, rope in ropes.items()},
            layer_types=self.kinds(),
            sliding_window_pattern=None,
            _sliding_window_pattern=6,
        )


class Gemma3ForCausalLM(Decoder):
    def __init__(self, config: Gemma3Config) -> None:
        kinds, ropes = config.kinds(), config.ropes()
        norm = partial(RMSNorm, eps=config.rms_norm_eps, offset=1.0)

        def block(layer: int) -> SandwichBlock:
            attention = Attention(
                config, layer, scale=config.query_pre_attn_scalar**-0.5,
                window=config.sliding_window if kinds[layer] == "sliding_attention" else None,
                qkv_bias=config.attention_bias, o_bias=config.attention_bias, head_norm=lambda _, size: norm(size),
            )  # fmt: skip
            return SandwichBlock(
                config, attention, MLP(config.hidden_size, config.intermediate_size, config.hidden_activation), norm
            )

        super().__init__(
            config, block, norm=norm(config.hidden_size), ropes=[ropes[kind] for kind in kinds],
            embed_scale=config.hidden_size**0.5, logit_cap=config.final_logit_softcapping,
        )  # fmt: skip


GGUF_NAMES = gguf.NAMES | {
    "layers.*.self_attn.q_norm": "blk.*.attn_q_norm",
    "layers.*.self_attn.k_norm": "blk.*.attn_k_norm",
    "layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
    "layers.*.pre_feedforward_layernorm": "blk.*.ffn_norm",
    "layers.*.post_feedforward_layernorm": "blk.*.post_ffw_norm",
}
GGUF_KEYS = gguf.KEYS | frozenset(
    "attention.sliding_window attention.sliding_window_pattern rope.freq_base_swa final_logit_softcapping".split()
)


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    values, meta = gguf.values_of(file), file.meta
    num_layers = values["num_hidden_layers"]
    pattern = meta.get("gemma3.attention.sliding_window_pattern", 6)
    slides = pattern if isinstance(pattern, list) else [layer % pattern < pattern - 1 for layer in range(num_layers)]
    # The one size whose attention is scaled by something else than its head size; the file does not say so.
    is_27b = num_layers == 62
    return {
        **values,
        "layer_types": ["sliding_attention" if one else "full_attention" for one in slides],
        "sliding_window": meta.need("gemma3.attention.sliding_window"),
        "query_pre_attn_scalar": values["hidden_size"] // values["num_attention_heads"] if is_27b else values["head_dim"],
        "final_logit_softcapping": meta.get("gemma3.final_logit_softcapping"),
        "rope_theta": meta.get("gemma3.rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": meta.get("gemma3.rope.freq_base_swa", 10_000.0),
        "rope_scaling": gguf.rope_scaling(file),
    }


def _gguf_meta(config: Gemma3Config) -> dict[str, Any]:
    ropes, kinds = config.ropes(), config.kinds()
    meta = gguf.meta_of(config, ropes["full_attention"]) | {
        "attention.sliding_window": config.sliding_window,
        "rope.freq_base_swa": ropes["sliding_attention"].rope_theta,
    }
    period = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    is_usual = all((kind == "sliding_attention") == bool((i + 1) % period) for i, kind in enumerate(kinds))
    if not is_usual or period != 6:  # what a file without the key has
        meta["attention.sliding_window_pattern"] = period if is_usual else [kind == "sliding_attention" for kind in kinds]
    if config.final_logit_softcapping is not None:
        meta["final_logit_softcapping"] = float(config.final_logit_softcapping)
    return meta


FAMILY = Family(
    config=Gemma3Config,
    model=Gemma3ForCausalLM,
    neutral=COMMON_NEUTRAL | {"hidden_act": ("gelu_pytorch_tanh",)},
    leftovers=INV_FREQ + r"|^(model\.)?(vision_tower|multi_modal_projector)\.",
    gguf=GgufRules(
        names=GGUF_NAMES, keys=GGUF_KEYS, values=_gguf_values, meta=_gguf_meta, changes=lambda _: plus_one(GGUF_NAMES)
    ),
)
