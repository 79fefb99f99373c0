"""Quantised checkpoints, known by what people write beside them. None of them runs yet: each is refused by its method's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ModelUnsupported

KEYS = ("quantization_config", "compression_config", "quantization")
FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""File beside config.json -> the method of the tool that writes it."""
DETAILS = ("quant_algo", "kv_cache_quant_algo", "format", "fmt", "activation_scheme", "quant_type", "bnb_4bit_quant_type")
BITS = ("bits", "w_bit", "nbits", "num_bits")


def refuse_quantized(config: Mapping[str, Any], folder: Path | None) -> None:
    """Raises `ModelUnsupported` if config.json, or a file beside it, declares quantised weights."""
    found = next(((key, config[key]) for key in KEYS if config.get(key)), None)
    where, values = ("config.json", found[1]) if found else _beside(folder)
    if values:
        method = _method(found[0] if found else where, values)
        raise ModelUnsupported(
            f"the weights are quantised by {method} ({where}), which does not run yet",
            hint="use the same model in bfloat16, float16 or float32, or a GGUF of it",
        )


def _beside(folder: Path | None) -> tuple[str, Any]:
    for name in FILES if folder is not None else ():
        path = folder / name  # type: ignore[operator]
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError:
            continue  # no settings of weights that we could name
        if isinstance(values, dict):
            values = values.get("quantization", values)  # modelopt nests them
            if any(values.get(key) for key in ("quant_method", *DETAILS, *BITS)):
                return name, values
    return "", None


def _method(where: str, values: Any) -> str:
    """Returns the method and its parameters: "gptq (4 bits)", "modelopt (FP8)"."""
    if not isinstance(values, dict):
        return str(values)
    name = values.get("quant_method") or FILES.get(where)
    if name is None and any(str(key).startswith(("load_in_", "bnb_")) for key in values):
        name = "bitsandbytes"
    if name is None:
        name = "MLX" if "group_size" in values and "bits" in values else "an unnamed method"
    bits = next((f"{values[key]} bits" for key in BITS if values.get(key)), None)
    more = [bits, *(str(values[key]) for key in DETAILS if values.get(key))]
    shown = ", ".join(item for item in more if item)
    return f"{name} ({shown})" if shown else str(name)
