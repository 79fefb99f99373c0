"""A model's config.json, judged key by key: read, known to change nothing, or refused by name. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelNotFound, ModelUnsupported, shown
from workbench.model.families import NO_EFFECT, SIZES, Family, family_of
from workbench.model.quantized import refuse_quantized

ROPE_KEYS = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        "factor original_max_position_embeddings attention_factor beta_fast beta_slow mscale mscale_all_dim truncate".split()
    ),
}
"""Keys of each kind of rotary embedding that are computed; `OPTIONAL` ones may be left out."""
OPTIONAL = frozenset(
    "original_max_position_embeddings attention_factor beta_fast beta_slow mscale mscale_all_dim truncate".split()
)
COUNTS = (*SIZES, "num_key_value_heads", "head_dim", "max_position_embeddings")


def read_config(path: Path) -> dict[str, Any]:
    """The folder's config.json as it is."""
    file = path / "config.json"
    if not file.is_file():
        raise ModelNotFound(f"{path} has no config.json", hint="a model folder needs config.json and *.safetensors files")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelCorrupt(f"{file} is not JSON: {error}", hint="fetch the model again") from error
    if not isinstance(config, dict):
        raise ModelCorrupt(f"{file} holds a {type(config).__name__}, not an object", hint="fetch the model again")
    return config


def check_config(config: Mapping[str, Any], folder: Path | None = None) -> Family:
    """The family, when all that the configuration says is computed. `folder` may hold further files about quantisation."""
    family = family_of(config)
    refuse_quantized(config, folder)
    _check_keys(family, config)
    _check_counts(config)
    for name, rope in _ropes(config).items():
        _check_rope(name, rope)
    return family


def settings(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values a family computes with: those of config.json, and what is left out there filled in."""
    found = {**family.defaults, **{key: value for key, value in config.items() if key in family.read and value is not None}}
    found.setdefault("num_key_value_heads", found["num_attention_heads"])
    found.setdefault("head_dim", found["hidden_size"] // found["num_attention_heads"])
    return found


def _check_keys(family: Family, config: Mapping[str, Any]) -> None:
    refused = [key for key, value in config.items() if not _is_known(family, key, value)]
    if not refused:
        return
    first = refused[0]
    more = f" (and {len(refused) - 1} more: {', '.join(refused[1:4])})" if len(refused) > 1 else ""
    message = f"config.json has {first} = {shown(config[first])}{more}, which {family.title} does not compute here"
    if first in family.choices:
        raise ModelUnsupported(message, hint=f"computed for {first}: {', '.join(sorted(family.choices[first]))}")
    neutral = json.dumps(dict.fromkeys(refused))
    raise ModelUnsupported(message, hint=f"if it changes nothing, say so: json_model_override_args='{neutral}'")


def _is_known(family: Family, key: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if key in family.choices:
        return value is None or all(item in tuple(family.choices[key]) for item in values)
    if key in family.read or key in NO_EFFECT or key in ("quantization_config", "compression_config", "quantization"):
        return True
    if value is not None and key in family.neutral:
        return all(item in family.neutral[key] for item in values)
    return value is None or value is False or value in ("", [], {})


def _check_counts(config: Mapping[str, Any]) -> None:
    missing = [key for key in SIZES if config.get(key) is None]
    if missing:
        raise ModelCorrupt(f"config.json has no {missing[0]!r}", hint="is this the folder of a complete model?")
    for key in COUNTS:
        value = config.get(key)
        if isinstance(value, list | dict):
            raise ModelUnsupported(f"config.json has {key} = {shown(value)}: sizes that differ by layer are not supported")
        if value is not None and (type(value) is not int or value < 1):
            raise ModelCorrupt(f"config.json has {key} = {shown(value)}, it must be a whole number above 0")
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    if heads % kv_heads:
        raise ModelCorrupt(f"config.json has {heads} attention heads for {kv_heads} of keys and values, not a multiple")
    kinds = config.get("layer_types")
    if kinds is not None and len(kinds) < config["num_hidden_layers"]:
        raise ModelCorrupt(f"config.json has {len(kinds)} layer_types for {config['num_hidden_layers']} layers")


def _ropes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Each description of a rotary embedding by its place; `rope_parameters` may hold one for each kind of layer."""
    found = {key: config[key] for key in ("rope_scaling", "rope_parameters") if config.get(key)}
    own = found.get("rope_parameters")
    if family_of(config).defaults.get("rope_local_base_freq") is not None and own is not None:
        del found["rope_parameters"]
        found |= {f"rope_parameters.{kind}": value for kind, value in own.items() if value is not None}
    return found


def _check_rope(name: str, rope: Any) -> None:
    if not isinstance(rope, dict):
        raise ModelUnsupported(f"config.json has {name} = {shown(rope)}, it must be an object")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPE_KEYS:
        known = ", ".join(ROPE_KEYS)
        raise ModelUnsupported(
            f"config.json has {name} of the kind {shown(kind)}, which is not computed", hint=f"computed: {known}"
        )
    known_keys = ROPE_KEYS[kind] | {"rope_type", "type", "rope_theta", "finetuned"}
    for key, value in rope.items():
        is_neutral = value is None or (key in ("factor", "partial_rotary_factor") and value == 1)
        if key not in known_keys and not is_neutral:
            raise ModelUnsupported(f"config.json has {name}.{key} = {shown(value)}, which is not computed for {kind!r}")
    missing = sorted(key for key in ROPE_KEYS[kind] - OPTIONAL if rope.get(key) is None)
    if missing:
        raise ModelCorrupt(f"config.json has {name} of the kind {kind!r} without {missing[0]!r}")
