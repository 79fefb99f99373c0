"""XVERSE 7B to 65B: Llama under a name of its own."""

from __future__ import annotations

from workbench.model.families.llama import NEUTRAL, LlamaConfig, LlamaForCausalLM
from workbench.model.family import Family


class XverseForCausalLM(LlamaForCausalLM):
    pass


FAMILY = Family(config=LlamaConfig, model=XverseForCausalLM, neutral=NEUTRAL | {"max_tokenizer_truncation": (6144, 8192, 16_384)})
