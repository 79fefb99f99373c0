"""The description of a rotary embedding in config.json: checked, then typed. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from workbench.errors import ModelCorrupt, ModelUnsupported, shown

_YARN = "original_max_position_embeddings attention_factor beta_fast beta_slow mscale mscale_all_dim truncate".split()
_LONGROPE = "factor attention_factor original_max_position_embeddings short_mscale long_mscale".split()
KEYS = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset({"factor", *_YARN}),
    "dynamic": frozenset({"factor"}),
    "longrope": frozenset({"short_factor", "long_factor", *_LONGROPE}),
}
"""Keys of each kind of rotary embedding that are computed; those of `OPTIONAL` may be left out."""
_TRAINED = frozenset({"original_max_position_embeddings"})
OPTIONAL = {"llama3": _TRAINED, "yarn": frozenset(_YARN), "longrope": frozenset(_LONGROPE)}
LISTS = frozenset({"short_factor", "long_factor"})
"""Keys whose value is one number for each frequency."""
ALIASES = {"su": "longrope", "mrope": "default"}
"""Older words for a kind."""


@dataclass(frozen=True, kw_only=True)
class Rope:
    """One rotary embedding, a value that can be a key. What a kind does not use has its default."""

    rope_theta: float
    rope_type: str = "default"
    factor: float = 1.0
    """The ratio of the longest position to the longest in training; 0 computes it from the two."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: float | None = None
    """Positions in training; None is as many as the model has."""
    attention_factor: float | None = None
    """Factor on cos and sin; None computes it from `factor` and the two mscales."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    """Divisor of each frequency, in an engine whose texts are no longer than in training."""
    long_factor: tuple[float, ...] = ()
    """Divisor of each frequency, in one whose texts may be longer."""
    short_mscale: float | None = None
    """Factor on cos and sin, in an engine whose texts are no longer than in training; None is `attention_factor`."""
    long_mscale: float | None = None
    """The same, in one whose texts may be longer."""
    partial_rotary_factor: float = 1.0
    """The part of each head that is rotated, its first numbers."""
    mrope_section: tuple[int, ...] = ()
    """Numbers of frequencies that turn by each axis of positions, time, height and width in turn; empty turns all by one."""

    @classmethod
    def make(cls, theta: float, *described: dict[str, Any] | None) -> Rope:
        """Returns the embedding with base `theta` and what the descriptions say, later ones first; null is left out."""
        stated = {key: value for one in described for key, value in (one or {}).items() if value is not None}
        kind = stated.pop("type", None)
        own = {field.name for field in fields(cls)}
        values: dict[str, Any] = {"rope_theta": theta} | {key: value for key, value in stated.items() if key in own}
        if kind is not None:
            values.setdefault("rope_type", kind)
        values |= {key: tuple(values[key]) for key in (LISTS | {"mrope_section"}) & values.keys()}
        values["rope_type"] = ALIASES.get(values.get("rope_type", "default"), values.get("rope_type", "default"))
        if values["rope_type"] == "longrope":
            values.setdefault("factor", 0.0)
        return cls(**values)

    def settled(self, max_positions: int) -> Rope:
        """Returns the embedding with one spelling of what can be said in several ways, for a model of so many positions."""
        original = self.original_max_position_embeddings or max_positions
        if self.rope_type in ("default", "linear", "dynamic"):
            return replace(self, original_max_position_embeddings=None)
        if self.rope_type != "longrope":
            return replace(self, original_max_position_embeddings=original)
        if self.short_mscale != self.long_mscale:
            return replace(self, factor=0.0, original_max_position_embeddings=original)
        scale = self.short_mscale or longrope_scale(self, max_positions, original)
        own: dict[str, Any] = {"attention_factor": scale, "short_mscale": None, "long_mscale": None}
        return replace(self, factor=0.0, original_max_position_embeddings=original, **own)


def yarn_growth(factor: float, by: float) -> float:
    """Returns the factor by which yarn enlarges queries and keys that are stretched by `factor`, at the strength `by`."""
    return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0


def longrope_scale(rope: Rope, max_positions: int, original: float) -> float:
    """Returns the factor of longrope on cos and sin: as stated, or from the stretch."""
    if rope.attention_factor is not None:
        return float(rope.attention_factor)
    stretch = rope.factor or max_positions / original
    return 1.0 if stretch <= 1 else math.sqrt(1 + math.log(stretch) / math.log(original))


def check_rope(name: str, described: Any, rotates_part: bool = False, turns_by_axes: bool = False) -> None:
    """Raises for a description that is not computed in full. `name` is its place in config.json."""
    if not isinstance(described, dict):
        raise ModelUnsupported(f"config.json has {name} = {shown(described)}, it must be an object")
    kind = described.get("rope_type") or described.get("type") or "default"
    kind = ALIASES.get(kind, kind)
    if kind not in KEYS:
        hint = f"computed: {', '.join(KEYS)}"
        raise ModelUnsupported(f"config.json has {name} of the kind {shown(kind)}, which is not computed", hint=hint)
    known = KEYS[kind] | {"rope_type", "type", "rope_theta", "finetuned"}
    known |= ({"partial_rotary_factor"} if rotates_part else set()) | ({"mrope_section"} if turns_by_axes else set())
    for key, value in described.items():
        is_neutral = value is None or (key in ("factor", "partial_rotary_factor") and value == 1)
        if key not in known and not is_neutral:
            raise ModelUnsupported(f"config.json has {name}.{key} = {shown(value)}, which is not computed for {kind!r}")
        if key in KEYS[kind] and value is not None and not _fits(key, value):
            kinds = "a list of numbers" if key in LISTS else "a number"
            raise ModelCorrupt(f"config.json has {name}.{key} = {shown(value)}, it must be {kinds}")
    missing = sorted(key for key in KEYS[kind] - OPTIONAL.get(kind, frozenset()) if described.get(key) is None)
    if missing:
        raise ModelCorrupt(f"config.json has {name} of the kind {kind!r} without {missing[0]!r}")


def _fits(key: str, value: Any) -> bool:
    numbers = value if key in LISTS and isinstance(value, list) else [value]
    return isinstance(value, list) == (key in LISTS) and all(isinstance(one, int | float) for one in numbers)
