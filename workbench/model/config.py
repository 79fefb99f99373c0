"""The settings of a model, typed: the keys of config.json that every family computes with. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from types import NoneType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import msgspec

from workbench.errors import ModelCorrupt
from workbench.model.rope import Rope

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""Keys that no config.json may lack, in words of its own or as `derived` from others."""

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

    words: ClassVar[Mapping[str, str]] = {}
    """Key of config.json -> the field that it is, where the words differ. "ffn_config.top_k" is a key of an object."""
    rotates_part: ClassVar[bool] = False
    """True where only a part of each head may be rotated."""
    turns_by_axes: ClassVar[bool] = False
    """True where tokens of pictures have positions on several axes, and `mrope_section` divides the frequencies among these."""
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
    def make(cls, values: Mapping[str, Any], said: Callable[[str], str] = str) -> Self:
        """Returns the config of a checked config.json in our words.

        A key with the value null counts as left out, unless it has another default and None is one of its values.
        `said` is the function from a word of ours to the key as stored, for messages.
        """
        lacks = {field.name for field in fields(cls) if field.default is MISSING}
        optional = {name for name, hint in get_type_hints(cls).items() if NoneType in get_args(hint)}
        nullable = {field.name for field in fields(cls) if field.default is not None} & optional
        known = cls.read_keys()
        stated = {key: value for key, value in values.items() if key in known and (value is not None or key in nullable)}
        usual = {key: value for key, value in cls.derived(stated).items() if key in lacks}
        try:
            return msgspec.convert(usual | stated, cls)
        except msgspec.ValidationError as error:
            message = re.sub(r"(?<=\$\.)\w+", lambda found: said(found[0]), str(error))
            raise ModelCorrupt(f"config.json does not fit: {message}", hint="is this the config.json of a model?") from None

    @classmethod
    def derived(cls, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values of fields without a default that follow from those stated, which have at least the hidden size
        and the number of heads."""
        heads = stated["num_attention_heads"]
        return {"num_key_value_heads": heads, "head_dim": stated["hidden_size"] // heads}

    def rope(self) -> Rope:
        """Returns the rotary embedding, of a model that has one."""
        # `rope_scaling` of older configurations stands in place of `rope_parameters` of transformers 5, not beside it.
        return Rope.make(self.rope_theta, self.rope_scaling or self.rope_parameters)

    def settled(self) -> Self:
        """Returns the config with one spelling of what config.json can say in several ways."""
        if self.ropes_by_kind:
            return self
        rope = self.rope().settled(self.max_position_embeddings)
        return replace(self, rope_theta=rope.rope_theta, rope_scaling=asdict(rope), rope_parameters=None)

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
class PartlyRotated(ModelConfig):
    """A config of a model that rotates the first numbers of each head and leaves the others."""

    rotates_part: ClassVar[bool] = True

    partial_rotary_factor: float = 1.0

    def rope(self) -> Rope:
        part = {"partial_rotary_factor": self.partial_rotary_factor}
        return Rope.make(self.rope_theta, part, self.rope_scaling or self.rope_parameters)

    def settled(self) -> Self:
        return replace(super().settled(), partial_rotary_factor=self.rope().partial_rotary_factor)


@dataclass(frozen=True, kw_only=True)
class Windowed(ModelConfig):
    """A config of a model some of whose layers see a window of the text."""

    sliding_window: int | None = None
    layer_types: list[LayerKind] | None = None
    """The kind of each layer; None is as usual in the family."""

    def slides(self, layer: int) -> bool:
        """Returns whether a layer has the window, where `layer_types` is silent. Here every one has."""
        return True

    def window(self, layer: int) -> int | None:
        """Returns the number of positions that a layer sees; None is all."""
        stated = self.layer_types
        slides = self.slides(layer) if stated is None else stated[layer] == "sliding_attention"
        return self.sliding_window if slides else None

    def settled(self) -> Self:
        kinds: list[LayerKind] = [
            "sliding_attention" if self.window(layer) is not None else "full_attention" for layer in range(self.num_hidden_layers)
        ]
        window = self.sliding_window if "sliding_attention" in kinds else None
        return replace(super().settled(), layer_types=kinds, sliding_window=window)


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
