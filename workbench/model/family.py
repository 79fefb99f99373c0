"""The declaration of a family: its config, its model, and the names of its tensors in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workbench.checkpoint.names import Change, Cut, Names
from workbench.model.config import ModelConfig

if TYPE_CHECKING:
    from workbench.checkpoint.base import Checkpoint
    from workbench.checkpoint.gguf_file import GgufFile
    from workbench.model.base import Model

PREFIXES = ("model.", "", "language_model.model.", "model.language_model.", "language_model.")
"""Checkpoints put everything but the head below `model.`; multimodal ones further down."""
INV_FREQ = r"(^|\.)rotary_emb\.inv_freq$"
"""Older checkpoints hold the frequencies of the rotary embedding, which the config says too."""
COMMON_NEUTRAL: dict[str, tuple[Any, ...]] = {"partial_rotary_factor": (1,), "logit_scale": (1,)}


Config = TypeVar("Config", bound=ModelConfig)
Compose = Callable[[Mapping[str, Any], Path | None], tuple["Family[Any]", dict[str, Any]]]


@dataclass(frozen=True)
class GgufRules(Generic[Config]):
    """The meaning of one GGUF architecture in Hugging Face terms."""

    names: Mapping[str, str]
    """Our pattern -> the file's, as in `Names.table`."""
    keys: frozenset[str]
    """Metadata keys, below the architecture's name, that are read."""
    values: Callable[[GgufFile], dict[str, Any]]
    """Function from the file to what config.json would say."""
    meta: Callable[[Config], dict[str, Any]] | None = None
    """Inverse of `values`: from the typed config to metadata, by their keys below the architecture's name. None: not written."""
    changes: Callable[[Config], Mapping[str, Change]] = lambda config: {}
    """Function from the typed config to `Names.changes`: what llama.cpp changes on the way in."""
    cuts: Callable[[Config], Mapping[str, Cut]] = lambda config: {}
    """Function from the typed config to `Names.cuts`: what a file holds in one tensor. Such files are not written."""
    tables: Callable[[Config], Mapping[str, list[float]]] = lambda config: {}
    """Function from the typed config to the leftovers that a file needs, by name."""
    leftovers: str = r"^rope_freqs\.weight$"
    """Tensors that no layer reads; the divisors of the rotary embedding are read with the metadata."""


@dataclass(frozen=True)
class Family(Generic[Config]):
    config: type[Config]
    model: Callable[[Config], Model]
    gguf: GgufRules[Config] | None = None
    """None for a family that is not read from GGUF files."""
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: COMMON_NEUTRAL)
    """Values at which a key of config.json that is not read means what is computed anyway."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Our pattern -> the name in safetensors files, where they differ by more than a prefix."""
    changes: Callable[[Config], Mapping[str, Change]] = lambda config: {}
    """Function from the typed config to `Names.changes`, in safetensors files."""
    cuts: Callable[[Config], Mapping[str, Cut]] = lambda config: {}
    """Function from the typed config to `Names.cuts`, in safetensors files."""
    prefixes: tuple[str, ...] = PREFIXES
    """Words before the names in safetensors files."""
    leftovers: str = INV_FREQ
    """Names, as a regular expression, of tensors in safetensors files that no layer reads."""

    more_leftovers: Callable[[Config], str] = lambda config: r"(?!)"
    """Function from the typed config to further ones."""

    composed: Compose | None = None
    """Function from config.json and its folder to the family that it makes together with the text half which it names
    (`seeing.py`), and to the values of that family's config; None for a family whose config is the file's."""

    beside: Callable[[Checkpoint, Config], Checkpoint] | None = None
    """Function from a folder's tensors to those of the model, where some may lie in another folder."""

    def safetensors_names(self, config: Config) -> Names:
        leftovers = f"{self.leftovers}|{self.more_leftovers(config)}"
        return Names(self.names, self.prefixes, leftovers, self.changes(config), self.cuts(config))

    def gguf_names(self, config: Config) -> Names:
        assert self.gguf is not None
        rules = self.gguf
        return Names(rules.names, leftovers=rules.leftovers, changes=rules.changes(config), cuts=rules.cuts(config))
