"""DeepSeek V2 and V3: attention over latents, and experts of the best groups; V3 corrects the choice of experts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_latent
from workbench.model.blocks import Block
from workbench.model.decoder import Decoder
from workbench.model.families.deepseek import DeepseekConfig, gguf_layout, gguf_layout_meta
from workbench.model.family import Family, GgufRules
from workbench.model.mla import LatentAttention, LatentConfig
from workbench.model.routing import TopK


@dataclass(frozen=True, kw_only=True)
class DeepseekLatentConfig(DeepseekConfig, LatentConfig):
    splits_maps: ClassVar[bool] = True

    routed_scaling_factor: float = 1.0
    """Factor on the weights of routed experts."""
    n_group: int | None = None
    """Groups of experts."""
    topk_group: int | None = None
    """Groups of which a row takes experts."""


class DeepseekLatentForCausalLM(Decoder):
    def __init__(self, config: DeepseekLatentConfig, choose: TopK, *, corrects: bool, interleaved: bool) -> None:
        rope = config.rope()

        def block(layer: int) -> Block:
            attention = LatentAttention(config, layer, rope, interleaved=interleaved)
            return Block(config, attention, config.mlp(layer, choose, corrects=corrects))

        super().__init__(config, block, ropes=rope, rotary_size=config.qk_rope_head_dim)


@dataclass(frozen=True, kw_only=True)
class DeepseekV2Config(DeepseekLatentConfig):
    scoring_func: Literal["softmax"] = "softmax"
    topk_method: Literal["greedy", "group_limited_greedy"] = "greedy"

    def settled(self) -> Self:
        is_limited = self.topk_method == "group_limited_greedy" and (self.n_group or 1) > 1
        own: dict[str, Any] = {} if is_limited else {"topk_method": "greedy", "n_group": 1, "topk_group": 1}
        return replace(super().settled(), **own)


class DeepseekV2ForCausalLM(DeepseekLatentForCausalLM):
    def __init__(self, config: DeepseekV2Config) -> None:
        is_limited = config.topk_method == "group_limited_greedy"
        choose = TopK(
            top_k=config.num_experts_per_tok, scale=config.routed_scaling_factor,
            num_groups=(config.n_group or 1) if is_limited else 1, top_groups=config.topk_group or 1,
        )  # fmt: skip
        super().__init__(config, choose, corrects=False, interleaved=True)


@dataclass(frozen=True, kw_only=True)
class DeepseekV3Config(DeepseekLatentConfig):
    scoring_func: Literal["sigmoid"] = "sigmoid"
    topk_method: Literal["noaux_tc"] = "noaux_tc"
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5
    num_experts_per_tok: int = 8
    rope_interleave: bool = True
    num_nextn_predict_layers: int = 0
    """Layers after the last one that predict further tokens; they are not read."""

    def settled(self) -> Self:
        groups: dict[str, Any] = {"n_group": self.n_group or 1, "topk_group": self.topk_group or 1}
        return replace(super().settled(), num_nextn_predict_layers=0, **groups)


class DeepseekV3ForCausalLM(DeepseekLatentForCausalLM):
    def __init__(self, config: DeepseekV3Config) -> None:
        choose = TopK(
            top_k=config.num_experts_per_tok, score="sigmoid", norm=1 if config.norm_topk_prob else None,
            scale=config.routed_scaling_factor, best_of_group=2,
            num_groups=config.n_group or 1, top_groups=config.topk_group or 1,
        )  # fmt: skip
        super().__init__(config, choose, corrects=True, interleaved=config.rope_interleave)


def _layers_beyond(config: DeepseekV3Config) -> str:
    first = config.num_hidden_layers
    numbers = "|".join(str(first + i) for i in range(config.num_nextn_predict_layers))
    return rf"^model\.layers\.({numbers})\." if numbers else r"(?!)"


GROUPS = {160: (8, 3), 256: (8, 4)}
"""Groups of experts, and those that a row may choose, by the experts of the published models: most files do not state them."""


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    meta, layout = file.meta, gguf_layout(file)
    num, best = GROUPS.get(layout["n_routed_experts"], (1, 1))
    return {
        **gguf_latent.values_of(file),
        **layout,
        "routed_scaling_factor": meta.get("deepseek2.expert_weights_scale", 1.0),
        "n_group": meta.get("deepseek2.expert_group_count", num),
        "topk_group": meta.get("deepseek2.expert_group_used_count", best),
    }


def _gguf_values_2(file: GgufFile) -> dict[str, Any]:
    values = _gguf_values(file)
    method = "group_limited_greedy" if values["n_group"] > 1 else "greedy"
    return {**values, "topk_method": method, "norm_topk_prob": file.meta.get("deepseek2.expert_weights_norm", False)}


def _gguf_values_3(file: GgufFile) -> dict[str, Any]:
    return {**_gguf_values(file), "norm_topk_prob": file.meta.get("deepseek2.expert_weights_norm", False)}


def _gguf_meta(config: DeepseekV2Config | DeepseekV3Config) -> dict[str, Any]:
    is_sigmoid = config.scoring_func == "sigmoid"
    return {
        **gguf_layout_meta(config),
        **gguf_latent.meta_of(config),
        "expert_weights_scale": float(config.routed_scaling_factor),
        "expert_weights_norm": getattr(config, "norm_topk_prob", False),  # V2 has no such key
        "expert_gating_func": 2 if is_sigmoid else 1,
        "expert_group_count": config.n_group or 1,
        "expert_group_used_count": config.topk_group or 1,
    }


V2 = Family[DeepseekV2Config](
    config=DeepseekV2Config,
    model=DeepseekV2ForCausalLM,
    gguf=GgufRules[DeepseekV2Config](names=gguf_latent.NAMES, keys=gguf_latent.KEYS, values=_gguf_values_2, meta=_gguf_meta),
)
V3 = Family[DeepseekV3Config](
    config=DeepseekV3Config,
    model=DeepseekV3ForCausalLM,
    more_leftovers=_layers_beyond,
    gguf=GgufRules[DeepseekV3Config](names=gguf_latent.NAMES, keys=gguf_latent.KEYS, values=_gguf_values_3, meta=_gguf_meta),
)
