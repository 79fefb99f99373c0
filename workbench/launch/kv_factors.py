"""The file of `quantization_param_path`: a factor for the K/V of each layer, in the reference's form.

    {"model_type": "llama", "kv_cache": {"dtype": "float8_e4m3fn", "scaling_factor": {"0": {"0": 0.02, "1": 0.03}}}}

The outer key of `scaling_factor` is the device's number, the inner one the layer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from workbench.errors import InvalidRequest

NAME = "quantization_param_path"
DTYPE = "float8_e4m3fn"
FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_MIN = 1.1754943508222875e-38
"""Smallest float32 with all its digits."""


class _KVCache(msgspec.Struct):
    dtype: str
    scaling_factor: dict[int, dict[int, float]]


class _File(msgspec.Struct):
    kv_cache: _KVCache


def read_factors(path: str) -> dict[int, float]:
    """Returns the factors by layer. Raises InvalidRequest for a file that cannot be read, or has another form."""
    try:
        found = msgspec.json.decode(Path(path).expanduser().read_bytes(), type=_File).kv_cache
    except OSError as error:
        raise InvalidRequest(NAME, path, f"a file that can be read ({error.strerror})") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong(path, str(error)) from None
    if found.dtype != DTYPE:
        raise _wrong(path, f"its dtype is {found.dtype!r}, not {DTYPE!r}")
    if set(found.scaling_factor) != {0}:
        raise _wrong(path, f"it is for {len(found.scaling_factor)} devices, not for device 0 alone")
    factors = found.scaling_factor[0]
    for layer, factor in factors.items():
        if not FLOAT32_MIN <= factor <= FLOAT32_MAX:
            raise _wrong(path, f"the factor of layer {layer} is {factor}, not a number above 0")
    return factors


def factors_of_layers(path: str, factors: Mapping[int, float], num_layers: int) -> tuple[float, ...]:
    """Returns the factors in the order of the layers. Raises InvalidRequest if they are of other layers."""
    if set(factors) != set(range(num_layers)):
        raise _wrong(path, f"it has factors of {len(factors)} layers, not of the model's {num_layers} from 0 on")
    return tuple(factors[layer] for layer in range(num_layers))


def _wrong(path: str, why: str) -> InvalidRequest:
    form = '{"kv_cache": {"dtype": "float8_e4m3fn", "scaling_factor": {"0": {"0": 1.0, "1": 1.0}}}}'
    return InvalidRequest(NAME, path, f"a JSON file of K/V factors: {why}", hint=f"its form is {form}, with each layer's factor")
