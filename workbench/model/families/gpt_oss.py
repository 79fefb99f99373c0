"""gpt-oss: attention with sinks, every second layer in a window, experts with biases and a clamped activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.gguf_file import GgufFile
from workbench.checkpoint.weights import Weights
from workbench.model import gguf, gguf_experts
from workbench.model.blocks import MLP, Attention, Block
from workbench.model.config import Windowed
from workbench.model.decoder import Decoder
from workbench.model.family import COMMON_NEUTRAL, Family, GgufRules
from workbench.model.moe import Experts, MoE, Router
from workbench.model.routing import TopK


@dataclass(frozen=True, kw_only=True)
class GptOssConfig(Windowed):
    words: ClassVar[Mapping[str, str]] = {"experts_per_token": "num_experts_per_tok"}

    head_dim: int = 64
    max_position_embeddings: int = 131_072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 150_000.0
    attention_bias: bool = True
    sliding_window: int | None = 128
    hidden_act: Literal["silu"] = "silu"
    num_local_experts: int = 128
    num_experts_per_tok: int = 4
    swiglu_alpha: float = 1.702
    """Factor on the gate in its sigmoid."""
    swiglu_limit: float = 7.0
    """Largest size of a number before the activation."""

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0


def clamped(gate_up: Tensor, limit: float, alpha: float) -> Tensor:
    """Returns (up + 1) * gate * sigmoid(alpha * gate) [T, I] of gate_up [T, 2 * I], after it is clamped."""
    gate, up = gate_up.chunk(2, -1)
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return (up + 1) * gate * torch.sigmoid(alpha * gate)


class GptOssExperts(Experts):
    """Experts with biases. In folders the rows of gate and up alternate, and dense matrices are transposed."""

    has_biases = True

    def __init__(self, config: GptOssConfig) -> None:
        def make(hidden: int, inner: int) -> MLP:
            mlp = MLP(hidden, inner, "silu", bias=True)
            mlp.activate = partial(clamped, limit=config.swiglu_limit, alpha=config.swiglu_alpha)
            return mlp

        super().__init__(config.num_local_experts, config.hidden_size, config.intermediate_size, make)
        self.order = torch.cat([torch.arange(first, 2 * config.intermediate_size, 2) for first in (0, 1)])

    def matrices(self, weights: Weights, index: int) -> tuple[list[Tensor | Blocks], Tensor | Blocks]:
        num, hidden, inner = self.num, self.hidden_size, self.intermediate_size
        if not weights.has("gate_up_proj"):
            up, down = super().matrices(weights, index)
            return [self._apart(part) for part in up] if len(up) == 1 else up, down

        def turned(name: str, *shape: int) -> Tensor:
            stack = weights.stored(name, num, *shape, rows=slice(index, index + 1))
            matrix = stack.unstacked().dense() if isinstance(stack, Blocks) else stack.flatten(0, 1)
            return matrix.T.contiguous()

        up_matrix = self._apart(turned("gate_up_proj", hidden, 2 * inner))
        return [weights.formed(up_matrix)], weights.formed(turned("down_proj", inner, hidden))

    def biases(self, weights: Weights, index: int) -> tuple[Tensor, Tensor]:
        def one(name: str, size: int) -> Tensor:
            return weights.tensor(name, self.num, size, rows=slice(index, index + 1)).flatten()

        if weights.has("gate_proj.bias"):
            gate, up = (one(f"{name}.bias", self.intermediate_size) for name in ("gate_proj", "up_proj"))
            return torch.cat((gate, up)), one("down_proj.bias", self.hidden_size)
        down = one("down_proj_bias", self.hidden_size)
        return self._apart(one("gate_up_proj_bias", 2 * self.intermediate_size)), down

    def _apart(self, rows: Tensor | Blocks) -> Any:
        """Returns the rows of gate, then those of up."""
        if isinstance(rows, Blocks):
            return replace(rows, order=self.order)
        return rows[self.order] if len(rows) else rows


class GptOssForCausalLM(Decoder):
    def __init__(self, config: GptOssConfig) -> None:
        hidden, num = config.hidden_size, config.num_local_experts
        choose = TopK(top_k=config.num_experts_per_tok, norm=1)

        def block(layer: int) -> Block:
            biased = config.attention_bias
            attention = Attention(config, layer, window=config.window(layer), qkv_bias=biased, o_bias=biased, has_sinks=True)
            return Block(config, attention, MoE(Router(hidden, num, choose, bias=True), GptOssExperts(config)))

        super().__init__(config, block, ropes=config.rope())


GGUF_NAMES = gguf_experts.NAMES | {
    "layers.*.self_attn.sinks": "blk.*.attn_sinks.weight",
    "layers.*.post_attention_layernorm": "blk.*.post_attention_norm",
}


def _gguf_values(file: GgufFile) -> dict[str, Any]:
    num, used = gguf_experts.counts(file)
    window = {"sliding_window": file.meta.need("gpt-oss.attention.sliding_window")}
    values = gguf_experts.values_of(file) | window | {"num_local_experts": num, "num_experts_per_tok": used}
    if scaling := gguf.yarn(file):
        values["rope_scaling"] = scaling | {"truncate": False}
    return values | {"intermediate_size": gguf_experts.expert_size(file)}


def _gguf_meta(config: GptOssConfig) -> dict[str, Any]:
    window = {} if config.sliding_window is None else {"attention.sliding_window": config.sliding_window}
    experts = gguf_experts.meta_of(config, config.num_local_experts, config.num_experts_per_tok, config.intermediate_size)
    return experts | window


FAMILY = Family(
    gguf=GgufRules(names=GGUF_NAMES, keys=gguf_experts.KEYS | {"attention.sliding_window"}, values=_gguf_values, meta=_gguf_meta),
    config=GptOssConfig,
    model=GptOssForCausalLM,
    names={"layers.*.mlp.gate": "layers.*.mlp.router"},
    neutral=COMMON_NEUTRAL | {"initial_context_length": (4096,)},
)
