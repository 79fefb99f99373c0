"""The settings of a model, typed: the keys of config.json that every family computes with. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import msgspec

from workbench.errors import ModelCorrupt

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""Keys that no config.json may lack."""

Activation = Literal[
    "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "silu", "swish"
]  # fmt: skip
LayerKind = Literal["full_attention", "sliding_attention"]
Described = dict[str, Any]
"""The description of a rotary embedding in config.json; `rope.py` reads it."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Base of every family's config, which adds the family's own keys and the values that transformers supposes.

    A key of config.json is read exactly if it is a field here. A field of a `Literal` type, or a list of one, names all of
    the values that are computed.
    """

    ropes_by_kind: ClassVar[bool] = False
    """True where `rope_parameters` holds one description for each kind of layer."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    """By default as many as there are query heads."""
    head_dim: int
    """By default `hidden_size` over the number of query heads."""
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    """True: one matrix serves as embedding and head."""
    attention_bias: bool = False
    is_causal: bool = True
    """False: each token of a decoder sees the whole text, as in some embedding models."""
    rope_theta: float = 10_000.0
    rope_scaling: Described | None = None
    rope_parameters: Described | None = None

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """Returns the config of a checked config.json. A key with the value null counts as left out."""
        stated = {key: value for key, value in values.items() if key in cls.read_keys() and value is not None}
        usual = {
            "num_key_value_heads": stated["num_attention_heads"],
            "head_dim": stated["hidden_size"] // stated["num_attention_heads"],
        }
        lacks = {field.name for field in fields(cls) if field.default is MISSING}
        try:
            return msgspec.convert({key: usual[key] for key in usual.keys() & lacks} | stated, cls)
        except msgspec.ValidationError as error:
            raise ModelCorrupt(f"config.json does not fit: {error}", hint="is this the config.json of a model?") from None

    def settled(self) -> Self:
        """Returns the config with one spelling of what config.json can say in several ways."""
        return self

    @classmethod
    def read_keys(cls) -> frozenset[str]:
        """Returns the keys of config.json that are read."""
        return frozenset(field.name for field in fields(cls))

    @classmethod
    def choices(cls) -> Mapping[str, frozenset[str]]:
        """Returns the values that are computed, for the keys whose values are names."""
        found = {name: frozenset(_literals(hint)) for name, hint in get_type_hints(cls).items()}
        return {name: values for name, values in found.items() if values}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The keys that a classification head adds to a config."""

    num_labels: int | None = None
    id2label: dict[str, str] | None = None
    """Names of the scores."""

    @property
    def label_count(self) -> int:
        """The number of scores; 2 where nothing is stated, as in transformers."""
        return self.num_labels or len(self.id2label or ()) or 2


def _literals(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(value for inner in get_args(hint) for value in _literals(inner))
