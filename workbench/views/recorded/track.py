"""`Track`: a value over the moments of a recording, kept as the changes from one to the next. `track.js` reads it.

A change is `[value]` for another value, `{"set": {key: change}, "drop": [keys]}` for an object, and
`{"from": i, "length": n, "at": {index: change}}` for a list whose first `i` items left and which has `n` now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Change = Any
"""Plain JSON as described above; None where nothing changed."""


class Track:
    """A value that changes at some of the moments."""

    def __init__(self) -> None:
        self.changes: list[list[Any]] = []
        """[moment, change], the moments rising."""
        self.value: Any = None

    def put(self, moment: int, value: Any) -> None:
        """Sets the value from this moment on."""
        change = change_of(self.value, value) if self.changes else [value]
        if change is not None:
            self.changes.append([moment, change])
            self.value = value


def change_of(old: Any, new: Any) -> Change:
    """Returns the change that makes `new` of `old`, both plain JSON; None where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        return _of_objects(old, new)
    if isinstance(old, list) and isinstance(new, list) and old and new:
        return _of_lists(old, new)
    return None if type(old) is type(new) and old == new else [new]


def _of_objects(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    changed = {key: [new[key]] if key not in old else change_of(old[key], new[key]) for key in new}
    change: dict[str, Any] = {"set": {key: one for key, one in changed.items() if one is not None}}
    if dropped := [key for key in old if key not in new]:
        change["drop"] = dropped
    return change if change["set"] or dropped else None


def _of_lists(old: Sequence[Any], new: Sequence[Any]) -> Change:
    start = old.index(new[0]) if new[0] in old else 0
    kept = old[start:]
    changed = {i: change_of(kept[i], item) if i < len(kept) else [item] for i, item in enumerate(new)}
    changed = {i: one for i, one in changed.items() if one is not None}
    return {"from": start, "length": len(new), "at": changed} if changed or len(new) != len(old) or start else None
