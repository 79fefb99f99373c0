"""Which class computes which architecture. Adding a family is one file, one line here and its row in `families.py`."""

from __future__ import annotations

from workbench.model.base import CausalLM
from workbench.model.gemma3 import Gemma3ForCausalLM
from workbench.model.llama import LlamaForCausalLM

CLASSES: dict[str, type[CausalLM]] = {cls.__name__: cls for cls in (LlamaForCausalLM, Gemma3ForCausalLM)}
