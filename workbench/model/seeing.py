"""Models that see: a text half of any family, and the parts that turn pictures into vectors of its width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor

from workbench.attention.base import StepContext
from workbench.checkpoint.base import Checkpoint
from workbench.checkpoint.names import Cut
from workbench.checkpoint.weights import Weights
from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.model.base import CausalLM, Model
from workbench.model.check import NO_EFFECT, OF_A_MODEL, check_parts
from workbench.model.config import ModelConfig
from workbench.model.family import Compose, Family
from workbench.model.layer import Layer, load_parts
from workbench.model.registry import FAMILIES

USUAL: dict[str, dict[str, Any]] = {
    "llama": {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
              "num_attention_heads": 32},
    "mistral": {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
                "num_attention_heads": 32},
    "gemma3_text": {"vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
                    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
    "mllama_text_model": {"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 40,
                          "num_attention_heads": 32, "num_key_value_heads": 8},
    "qwen2": {"vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22_016, "num_hidden_layers": 32,
              "num_attention_heads": 32},
}  # fmt: skip
"""The sizes that transformers supposes where a nested `text_config` leaves them out, by its `model_type`."""
Made = TypeVar("Made")


class Seeing(Model):
    """A text half, called `text`, and parts that `see` uses. A family adds its parts and writes `see`, which gets the arrays of
    pictures in the types that processors make: numbers of pixels are float32."""

    sees = True
    square: int | None = None
    """Side in pixels of the squares that the folder's processor makes for the tower; None for pictures of other shapes."""

    def __init__(self, text: CausalLM) -> None:
        super().__init__(text.config)
        self.text = text
        self.makes_text = text.makes_text
        self.num_embeddings = text.num_embeddings

    def load(self, weights: Weights) -> None:
        """Changes: the text half reads its tensors below the names of its own family, other parts below their attributes."""
        self.text.load(weights)
        for name, part in self.named_children():
            if part is not self.text:
                load_part(part, weights.at(name))

    def build_tables(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.text.num_positions = self.num_positions
        self.text.build_tables(dtype, device)

    def forward(self, token_ids: Tensor, ctx: StepContext) -> Tensor:  # [T] -> [T, H]
        hidden: Tensor = self.text(token_ids, ctx)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        return self.text.logits(hidden)

    def decode_bytes(self) -> int:
        return self.text.decode_bytes()


def load_part(part: torch.nn.Module, weights: Weights) -> None:
    """Changes: a layer reads its own tensors, any other module those of its parts."""
    if isinstance(part, Layer):
        part.load(weights)
    else:
        load_parts(part, weights)


@dataclass(frozen=True, kw_only=True)
class SeeingKeys:
    """Base of the keys that a model which sees adds to its text half's. A key of config.json beside `text_config` is read exactly
    if it is a field of the family's subclass."""

    vision_config: dict[str, Any] = field(default_factory=dict)


def tower_config(kind: type[Made], values: Mapping[str, Any], no_effect: Sequence[str] = ()) -> Made:
    """Returns `vision_config` as a typed config, a dataclass. Raises ModelUnsupported for a key that it does not read and that
    may change what is computed, ModelCorrupt for values of other types."""
    known, neutral = {one.name for one in fields(kind)}, getattr(kind, "neutral", {})  # type: ignore[arg-type]
    check_parts(values, "vision_config.{}".format)
    silent = {*NO_EFFECT, *no_effect, "projection_dim", "vocab_size", "initializer_factor"}
    for key, value in values.items():
        is_off = value is None or value is False or value in ("", [], {})
        if key not in known | silent and not is_off and value not in neutral.get(key, ()):
            message = f"config.json has vision_config.{key} = {shown(value)}, which is not computed here"
            raise ModelUnsupported(message, hint=f'if it changes nothing, leave it out: "vision_config": {{..., "{key}": null}}')
    try:
        return msgspec.convert({key: value for key, value in values.items() if key in known and value is not None}, kind)
    except msgspec.ValidationError as error:
        raise ModelCorrupt(
            f"config.json does not fit in vision_config: {error}", hint="is this the config.json of a model?"
        ) from None


def seeing(
    keys: type[SeeingKeys],
    model: Callable[[Any, CausalLM], Seeing],
    *,
    text_type: str = "llama",
    names: Mapping[str, str] | None = None,
    prefixes: Sequence[str] = (),
    leftovers: str = r"(?!)",
    more_leftovers: Callable[[Any], str] = lambda config: r"(?!)",
    neutral: Mapping[str, tuple[Any, ...]] | None = None,
    text_architecture: str | None = None,
    beside: Callable[[Checkpoint, Any], Checkpoint] | None = None,
    cuts: Callable[[Any], Mapping[str, Cut]] | None = None,
) -> Family[Any]:
    """Returns a family that sees. Its text half is of the family that `text_config` names by its `model_type`, by default of
    `text_type`; `text_architecture` names it where none but one fits.

    `model` makes it of the config, which has the keys of both, and the text half. The other arguments are those of `Family`, for
    all that is not the text half's; `leftovers` are further ones, and `cuts` take the place of the text half's.
    """

    def compose(values: Mapping[str, Any], folder: Path | None) -> tuple[Family[Any], dict[str, Any]]:
        own = {key: value for key, value in values.items() if key != "text_config"}
        text = values.get("text_config") or {}
        if not isinstance(text, Mapping):
            raise ModelCorrupt(f"config.json has text_config = {shown(text)}, it must be an object", hint=OF_A_MODEL)
        kind = text.get("model_type", text_type)
        entry = next((e for e in FAMILIES.values() if text_architecture == e.architecture), None) or next(
            (e for e in FAMILIES.values() if e.model_type == kind and not e.form and not e.sight), None
        )
        if entry is None:
            known = ", ".join(dict.fromkeys(e.model_type for e in FAMILIES.values() if e.model_type and not e.form))
            raise ModelUnsupported(
                f"config.json has a text_config of model_type {shown(kind)}", hint=f"text halves that run: {known}"
            )
        half = entry.family
        config: Any = make_dataclass(half.config.__name__, (), bases=(keys, half.config), frozen=True, kw_only=True)
        family = replace(
            half,
            config=config,
            model=lambda made: model(made, _text(half, made)),
            gguf=None,
            names={**half.names, **(names or {})},
            prefixes=(*dict.fromkeys((*half.prefixes, *prefixes)),),
            leftovers=f"{half.leftovers}|{leftovers}",
            more_leftovers=lambda made: f"{half.more_leftovers(made)}|{more_leftovers(made)}",
            neutral={**half.neutral, **(neutral or {})},
            beside=beside,
            cuts=cuts or half.cuts,
        )
        stated = USUAL.get(kind, {}) | own
        # A null of the text half states as much as a value ("sliding_window": null), and less than one beside it.
        flat = stated | {key: value for key, value in text.items() if value is not None or stated.get(key) is None}
        if is_tied := [half["tie_word_embeddings"] for half in (own, text) if half.get("tie_word_embeddings") is not None]:
            flat["tie_word_embeddings"] = any(is_tied)  # older files state it of the text half alone
        return family, flat | {key: own[key] for key in ("architectures", "model_type") if key in own}

    return composed_by(compose)


def composed_by(compose: Compose) -> Family[Any]:
    """Returns the family that `compose` makes of each config.json."""
    return Family(config=ModelConfig, model=_alone, composed=compose)


def _text(half: Family[Any], config: Any) -> CausalLM:
    made = half.model(config)
    assert isinstance(made, CausalLM), made
    return made


def _alone(config: Any) -> Model:
    raise AssertionError("a family that sees is made with its text half")
