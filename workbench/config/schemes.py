"""The names of forms that weights may have: methods of quantised folders, and schemes that quantise dense ones."""

from __future__ import annotations

from typing import Literal, get_args

TorchaoConfig = Literal[
    "", "int8wo", "int8dq", "int4wo-32", "int4wo-64", "int4wo-128", "int4wo-256", "fp8wo", "fp8dq-per_tensor", "fp8dq-per_row"
]
Quantization = Literal[
    "gguf", "dequant", "int8wo", "int8dq", "int4wo-32", "int4wo-64", "int4wo-128", "int4wo-256", "fp8wo", "fp8dq-per_tensor",
    "fp8dq-per_row", "fp8", "w8a8_int8", "w8a8_fp8", "awq", "awq_marlin", "gptq", "gptq_marlin", "marlin", "compressed-tensors",
    "fbgemm_fp8", "modelopt", "bitsandbytes",
]  # fmt: skip
SCHEMES = frozenset(name for name in get_args(TorchaoConfig) if name) | {"fp8", "w8a8_int8"}
"""Those that quantise a dense folder."""
SAME_METHOD = {"awq_marlin": "awq", "gptq_marlin": "gptq", "marlin": "gptq"}
"""The reference's names of kernels for a method -> the method."""
