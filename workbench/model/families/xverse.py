"""XVERSE 7B to 65B: Llama under a name of its own."""

from __future__ import annotations

from workbench.model import gguf
from workbench.model.families.llama import NEUTRAL, LlamaConfig, LlamaForCausalLM
from workbench.model.family import Family, GgufRules
from workbench.model.rows import neighbours


class XverseForCausalLM(LlamaForCausalLM):
    pass


FAMILY = Family[LlamaConfig](
    config=LlamaConfig, model=XverseForCausalLM, neutral=NEUTRAL | {"max_tokenizer_truncation": (6144, 8192, 16_384)},
    gguf=GgufRules[LlamaConfig](
        names=gguf.LLAMA_NAMES, keys=gguf.KEYS, values=gguf.plain_values, changes=neighbours,
        meta=gguf.plain_meta, tables=gguf.plain_tables,
    ),
)  # fmt: skip
