"""The nodes of the folded tree, and the largest of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field


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


class Nodes:
    """All nodes, and the running requests that hold some."""

    def __init__(self) -> None:
        self.roots: dict[str, Row] = {}
        self.by_id: dict[int, Row] = {}
        """Without the roots."""
        self.held: dict[str, Held] = {}
        """By request id."""

    def root(self, namespace: str) -> Row:
        return self.roots.setdefault(namespace, Row(0, None, namespace=namespace))

    def tops(self) -> list[Row]:
        """Below the roots; the last first."""
        return [row for root in reversed(self.roots.values()) for row in reversed(root.children.values())]

    def walk(self, among: Set[int] | None = None) -> Iterator[Row]:
        """Every node, or those among these; parents before their children."""
        stack = self.tops()
        while stack:
            row = stack.pop()
            if among is None or row.id in among:
                yield row
                stack += reversed(row.children.values())

    def largest(self, number: int) -> set[int]:
        """Of so many nodes the largest subtrees, and what running requests hold."""
        found = largest(self.tops(), number)
        for held in self.held.values():
            found |= {step.id for step in held.row.path()}
        return found

    def holders(self) -> dict[int, list[str]]:
        """Running requests by the nodes that they hold: nothing of these can be evicted."""
        holders: dict[int, list[str]] = {}
        for rid, held in self.held.items():
            for step in held.row.path():
                holders.setdefault(step.id, []).append(rid)
        return holders


def left_out(row: Row, among: Set[int] | None) -> list[Row]:
    """Its children that are not among these; None stands for all nodes."""
    return [] if among is None else [child for child in row.children.values() if child.id not in among]


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
