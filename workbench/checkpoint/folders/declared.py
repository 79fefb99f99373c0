"""The quantisation that a folder declares: its method, and settings that its tensors do not show. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelUnsupported

KEYS = ("quantization_config", "compression_config", "quantization")
FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""File beside config.json -> the method of the tool that writes it."""
DETAILS = ("quant_algo", "kv_cache_quant_algo", "format", "fmt", "activation_scheme", "quant_type", "bnb_4bit_quant_type")
BITS = ("bits", "w_bit", "nbits", "num_bits")
ACCEPTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "gptq": {"bits": (2, 3, 4, 8), "checkpoint_format": ("gptq", "gptq_v2"), "is_marlin_format": (False,)},
    "awq": {"bits": (4,), "w_bit": (4,), "version": ("gemm", "GEMM")},
    "fp8": {"fmt": ("e4m3",)},
    "fbgemm_fp8": {},
    "compressed-tensors": {"format": ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "dense")},
    "modelopt": {"quant_algo": ("FP8",)},
    "bitsandbytes": {"bnb_4bit_quant_type": ("nf4", "fp4")},
    "mxfp4": {},
    "w8a8_int8": {},
    "w8a8_fp8": {},
}
"""Method -> settings, and their values that are read. A setting that is not there has the first value, or makes no difference."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Quantised weights, as config.json or a file beside it declares them."""

    method: str
    settings: Mapping[str, Any]
    title: str
    """Method with its settings, for messages: "gptq (4 bits)"."""


def declared(config: Mapping[str, Any], folder: Path | None) -> Declared | None:
    """Returns what config.json, or a file beside it, declares; None for dense weights.

    Raises ModelUnsupported for a method, or a setting of it, that is not read; ModelCorrupt for a method without settings.
    """
    found = next(((key, config[key]) for key in KEYS if config.get(key)), None)
    where, values = ("config.json", found[1]) if found else _beside(folder)
    if not values:
        return None
    origin = found[0] if found else where
    title = _title(origin, values)
    method = _method(origin, values)
    if method not in ACCEPTED:
        raise ModelUnsupported(
            f"the weights are quantised by {title} ({where}), which does not run here",
            hint=f"quantised folders that run: {', '.join(ACCEPTED)}; or use a GGUF of the model",
        )
    if not isinstance(values, dict):
        message = f"{where} has {origin} = {values!r}, it must be an object"
        raise ModelCorrupt(message, hint="the folder's configuration is damaged: fetch it again")
    for key, read in ACCEPTED[method].items():
        value = values.get(key)
        if value is not None and value not in read:
            raise ModelUnsupported(
                f"the weights are quantised by {title} ({where}) with {key} = {value!r}, which does not run here",
                hint=f"read for {key}: {', '.join(map(str, read))}; or use a GGUF of the model",
            )
    return Declared(method, values, title)


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


def _method(origin: str, values: Any) -> str:
    if not isinstance(values, dict):
        return str(values)
    name = values.get("quant_method") or FILES.get(origin)
    if name is None and any(str(key).startswith(("load_in_", "bnb_")) for key in values):
        name = "bitsandbytes"
    if name is None:
        name = "MLX" if "group_size" in values and "bits" in values else "an unnamed method"
    return str(name)


def _title(origin: str, values: Any) -> str:
    """Returns the method and its parameters: "gptq (4 bits)", "modelopt (FP8)"."""
    name = _method(origin, values)
    if not isinstance(values, dict):
        return name
    bits = next((f"{values[key]} bits" for key in BITS if values.get(key)), None)
    more = [bits, *(str(values[key]) for key in DETAILS if values.get(key))]
    shown = ", ".join(item for item in more if item)
    return f"{name} ({shown})" if shown else name
