"""The keys of config.json in our words: some families have others, and some put keys into objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import ModelCorrupt, shown


@dataclass(frozen=True)
class Reworded:
    values: dict[str, Any]
    """The configuration in our words. A key that has no other word, or is unknown, is as stored."""
    stored: Mapping[str, str]
    """Our word -> the key as stored, where they differ."""

    def said(self, key: str) -> str:
        """Returns the key as config.json has it, for messages."""
        return self.stored.get(key, key)


def reword(values: Mapping[str, Any], words: Mapping[str, str]) -> Reworded:
    """Returns the configuration by our words. Raises ModelCorrupt where two keys for one thing differ."""
    found: dict[str, Any] = {}
    stored: dict[str, str] = {}
    for key, value in _flat(values, words).items():
        word = words.get(key, key)
        if word in found and value is not None and found[word] not in (None, value):
            one, other = stored.get(word, word), key
            raise ModelCorrupt(f"config.json has {one} = {shown(found[word])} and {other} = {shown(value)}: which is it?")
        if value is None and word in found:
            continue
        found[word] = value
        if word != key:
            stored[word] = key
    return Reworded(found, stored)


def _flat(values: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values with "part.key" for a key of each object of which `words` name one."""
    parts = {key.partition(".")[0] for key in words if "." in key}
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in parts and isinstance(value, Mapping):
            found |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            found[key] = value
    return found
