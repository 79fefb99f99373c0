"""The nodes of the folded tree, and which of them to draw where there are too many."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(slots=True, eq=False)
class Row:
    """One node; a root has no parent and the id 0."""

    id: int
    parent: Row | None
    token_ids: tuple[int, ...] = ()
    namespace: str = ""
    made_by: str = ""
    made_at: float = 0.0
    used_at: float = 0.0
    num_hits: int = 0
    used_by: tuple[str, ...] = ()
    children: dict[int, Row] = field(default_factory=dict)
    num_nodes: int = 0
    """Of the subtree, itself included; and its tokens."""
    num_tokens: int = 0
    head: str | None = None
    """Text of the first tokens, once somebody asked."""

    def path(self) -> list[Row]:
        """From below the root down to this."""
        rows: list[Row] = []
        row = self
        while row.parent is not None:
            rows.append(row)
            row = row.parent
        return rows[::-1]


@dataclass(slots=True)
class Held:
    """A running request: where its path in the tree ends, and the tokens it has in all."""

    row: Row
    num_shared: int
    num_tokens: int = 0


class RowTexts:
    """All nodes as one JSON text, in which only what changed is written anew: a busy engine's tree changes with every step."""

    def __init__(self, drawn: Callable[[Row], Any], rows: Iterable[int] = ()) -> None:
        self._drawn = drawn
        self._texts: dict[int, bytes] = {}
        self._changed = dict.fromkeys(rows)
        """In order of the first change, as their texts then stand."""
        self._all = msgspec.Raw(b"[]")

    def touch(self, node_id: int) -> None:
        """It came, changed or left."""
        self._changed[node_id] = None

    def take(self, rows: Mapping[int, Row]) -> msgspec.Raw:
        """The same object as before where nothing changed."""
        if self._changed:
            for node_id in self._changed:
                if (row := rows.get(node_id)) is None:
                    self._texts.pop(node_id, None)
                else:
                    self._texts[node_id] = msgspec.json.encode(self._drawn(row))
            self._changed.clear()
            self._all = msgspec.Raw(b"[%s]" % b",".join(self._texts.values()))
        return self._all


def above(row: Row) -> Iterable[Row]:
    while row.parent is not None:
        row = row.parent
        yield row


def largest(tops: Iterable[Row], number: int) -> set[int]:
    """So many nodes, down from the roots: of the nodes whose parents are among them always the one with the largest subtree."""
    heap = [_entry(row) for row in heapq.nlargest(number, tops, key=_weight)]
    heapq.heapify(heap)
    found: set[int] = set()
    while heap and len(found) < number:
        row = heapq.heappop(heap)[-1]
        found.add(row.id)
        for child in heapq.nlargest(number - len(found), row.children.values(), key=_weight):
            heapq.heappush(heap, _entry(child))
    return found


def largest_children(row: Row, number: int) -> set[int]:
    return {child.id for child in heapq.nlargest(number, row.children.values(), key=_weight)}


def _weight(row: Row) -> int:
    return row.num_tokens


def _entry(row: Row) -> tuple[int, int, Row]:
    return -row.num_tokens, row.id, row
