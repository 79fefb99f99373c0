"""Qwen 2 MoE, with a shared expert that has a weight of its own, and Qwen 3 MoE, with normed heads and none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from workbench.checkpoint.gguf_file import GgufFile
from workbench.model import gguf_experts
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Windowed
from workbench.model.decoder import Decoder
from workbench.model.families.llama import LlamaConfig
from workbench.model.family import Family, GgufRules
from workbench.model.layers import RMSNorm
from workbench.model.moe import Experts, MoE, Router, plain_mlp
from workbench.model.routing import TopK


@dataclass(frozen=True, kw_only=True)
class QwenMoeConfig(LlamaConfig):
    max_position_embeddings: int = 32_768
    num_experts_per_tok: int = 8
    norm_topk_prob: bool = False
    """True: the weights of a row add up to 1."""
    moe_intermediate_size: int = 768
    decoder_sparse_step: int = 1
    """Every so many layers one has experts."""
    mlp_only_layers: list[int] = field(default_factory=list)
    """Further layers without experts."""
    use_sliding_window: bool = False
    max_window_layers: int = 28
    """First layers, of which every second has a window; read by Qwen 2 MoE alone."""
    sliding_window: int | None = None

    def settled(self) -> Self:
        windowless: dict[str, Any] = {} if self.use_sliding_window else {"sliding_window": None, "max_window_layers": 0}
        return replace(super().settled(), **windowless)

    def has_experts(self, layer: int) -> bool:
        return layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0

    def experts(self, num: int, shared: MLP | None = None) -> MoE:
        router = Router(self.hidden_size, num, TopK(top_k=self.num_experts_per_tok, norm=1 if self.norm_topk_prob else None))
        experts = Experts(num, self.hidden_size, self.moe_intermediate_size, plain_mlp(self.hidden_act))
        return MoE(router, experts, shared, shared_gate=shared is not None)

    def mlp(self, size: int) -> MLP:
        return MLP(self.hidden_size, size, self.hidden_act)


@dataclass(frozen=True, kw_only=True)
class Qwen2MoeConfig(QwenMoeConfig, Windowed):
    num_experts: int = 60
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 1408
    shared_expert_intermediate_size: int = 5632
    qkv_bias: bool = True

    def settled(self) -> Self:
        return replace(super().settled(), attention_bias=self.qkv_bias)  # its biases have a key of their own

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0 and layer < self.max_window_layers

    def window(self, layer: int) -> int | None:
        return super().window(layer) if self.use_sliding_window else None


class Qwen2MoeForCausalLM(Decoder):
    def __init__(self, config: Qwen2MoeConfig) -> None:
        def block(layer: int) -> Block:
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=config.qkv_bias)
            if not config.has_experts(layer):
                return Block(config, attention, config.mlp(config.intermediate_size))
            return Block(
                config, attention, config.experts(config.num_experts, config.mlp(config.shared_expert_intermediate_size))
            )

        super().__init__(config, block, ropes=config.rope())


@dataclass(frozen=True, kw_only=True)
class Qwen3MoeConfig(QwenMoeConfig):
    words: ClassVar[Mapping[str, str]] = {"num_local_experts": "num_experts"}  # the word of transformers 5

    num_experts: int = 128


class Qwen3MoeForCausalLM(Decoder):
    def __init__(self, config: Qwen3MoeConfig) -> None:
        window = config.sliding_window if config.use_sliding_window else None

        def block(layer: int) -> Block:
            attention = Attention(
                config, layer, window=window, qkv_bias=config.attention_bias, o_bias=config.attention_bias,
                head_norm=lambda _, size: RMSNorm(size, config.rms_norm_eps),
            )  # fmt: skip
            if not config.has_experts(layer):
                return Block(config, attention, config.mlp(config.intermediate_size))
            return Block(config, attention, config.experts(config.num_experts))

        super().__init__(config, block, ropes=config.rope())


PARTS = ("gate_proj", "up_proj", "down_proj")
NAMES = {f"layers.*.mlp.shared_experts.{part}": f"layers.*.mlp.shared_expert.{part}" for part in PARTS}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    own = {"num_experts": num, "num_experts_per_tok": used, "moe_intermediate_size": gguf_experts.expert_size(file)}
    return {**gguf_experts.values_of(file), **own}


def _gguf_values_2(file: GgufFile) -> dict[str, Any]:
    shared = file.tensors["blk.0.ffn_gate_shexp.weight"].shape[0]
    return {**_gguf_values(file), "shared_expert_intermediate_size": shared, "qkv_bias": "blk.0.attn_q.bias" in file.tensors}


def _gguf_values_3(file: GgufFile) -> dict[str, Any]:
    return {**_gguf_values(file), "norm_topk_prob": True}  # which the file leaves to its readers


def _gguf_meta(config: QwenMoeConfig, num: int) -> dict[str, Any]:
    return gguf_experts.meta_of(config, num, config.num_experts_per_tok, config.moe_intermediate_size)


def _gguf_meta_2(config: Qwen2MoeConfig) -> dict[str, Any]:
    shared = {"expert_shared_feed_forward_length": config.shared_expert_intermediate_size}
    return _gguf_meta(config, config.num_experts) | shared


def _gguf_meta_3(config: Qwen3MoeConfig) -> dict[str, Any]:
    return _gguf_meta(config, config.num_experts)


QWEN2 = Family(
    config=Qwen2MoeConfig,
    model=Qwen2MoeForCausalLM,
    names=NAMES,
    gguf=GgufRules(names=gguf_experts.NAMES, keys=gguf_experts.KEYS, values=_gguf_values_2, meta=_gguf_meta_2),
)
QWEN3 = Family(
    config=Qwen3MoeConfig,
    model=Qwen3MoeForCausalLM,
    gguf=GgufRules(names=gguf_experts.NAMES, keys=gguf_experts.KEYS, values=_gguf_values_3, meta=_gguf_meta_3),
)
