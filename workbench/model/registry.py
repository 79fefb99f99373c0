"""Which class reads which config.json. Adding a family is one file and one line here."""

from __future__ import annotations

from typing import Any

from workbench.errors import ModelUnsupported
from workbench.model.base import CausalLM
from workbench.model.gemma3 import Gemma3ForCausalLM
from workbench.model.llama import LlamaForCausalLM

FAMILIES: dict[str, type[CausalLM]] = {
    "LlamaForCausalLM": LlamaForCausalLM,
    "Gemma3ForCausalLM": Gemma3ForCausalLM,
}


def family_of(config: dict[str, Any]) -> type[CausalLM]:
    names = config.get("architectures") or [f"model_type {config.get('model_type')!r}"]
    for name in names:
        if name in FAMILIES:
            return FAMILIES[name]
    raise ModelUnsupported(f"{', '.join(names)} is not supported", hint=f"supported: {', '.join(FAMILIES)}")
