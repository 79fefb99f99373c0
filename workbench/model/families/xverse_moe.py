"""XVERSE MoE: DeepSeek V1 in other words, with experts in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.model.families.deepseek import DeepseekForCausalLM, DeepseekV1Config
from workbench.model.family import COMMON_NEUTRAL, Family


@dataclass(frozen=True, kw_only=True)
class XverseMoeConfig(DeepseekV1Config):
    words: ClassVar[Mapping[str, str]] = {
        "num_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
        "moe_top_k": "num_experts_per_tok",
    }

    n_shared_experts: int | None = None

    @property
    def expert_size(self) -> int:
        return self.intermediate_size


class XverseMoeForCausalLM(DeepseekForCausalLM):
    pass


FAMILY = Family(
    config=XverseMoeConfig,
    model=XverseMoeForCausalLM,
    names={"layers.*.mlp.gate": "layers.*.mlp.router"},
    neutral=COMMON_NEUTRAL | {"max_tokenizer_truncation": (6144, 8192, 16_384)},
)
