"""The nodes of the folded radix tree, and the largest of them."""

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
    """Nodes of the subtree, itself included."""
    num_tokens: int = 0
    """Tokens of the subtree."""
    head: str | None = None
    """Text of the first tokens; None until it is asked for."""

    def path(self) -> list[Row]:
        """Returns the nodes from below the root down to this one."""
        rows: list[Row] = []
        row = self
        while row.parent is not None:
            rows.append(row)
            row = row.parent
        return rows[::-1]


@dataclass(slots=True)
class Held:
    """A running request: the node its path ends at, its tokens up to there, and all its tokens."""

    row: Row
    num_shared: int
    num_tokens: int = 0


class Nodes:
    """All nodes of the tree, and the running requests that hold some."""

    def __init__(self) -> None:
        self.roots: dict[str, Row] = {}
        self.by_id: dict[int, Row] = {}
        """Nodes by id, without the roots."""
        self.held: dict[str, Held] = {}
        """Running requests by id."""

    def root(self, namespace: str) -> Row:
        """Returns the root of a namespace, and makes it where there is none."""
        return self.roots.setdefault(namespace, Row(0, None, namespace=namespace))

    def drop_if_empty(self, row: Row) -> None:
        """Drops a root without nodes; the next node of its namespace makes another one."""
        if row.parent is None and not row.children and self.roots.get(row.namespace) is row:
            del self.roots[row.namespace]

    def tops(self) -> list[Row]:
        """Returns the nodes below the roots, the last first."""
        return [row for root in reversed(self.roots.values()) for row in reversed(root.children.values())]

    def walk(self, among: Set[int] | None = None) -> Iterator[Row]:
        """Returns every node, or those with these ids; parents before their children."""
        stack = self.tops()
        while stack:
            row = stack.pop()
            if among is None or row.id in among:
                yield row
                stack += reversed(row.children.values())

    def largest(self, number: int) -> set[int]:
        """Returns the ids of the nodes in the largest subtrees, `number` in all, and of those that running requests hold."""
        found = largest(self.tops(), number)
        for held in self.held.values():
            found |= {step.id for step in held.row.path()}
        return found

    def holders(self) -> dict[int, list[str]]:
        """Returns the running requests that hold each node, which cannot be evicted meanwhile."""
        holders: dict[int, list[str]] = {}
        for rid, held in self.held.items():
            for step in held.row.path():
                holders.setdefault(step.id, []).append(rid)
        return holders


def left_out(row: Row, among: Set[int] | None) -> list[Row]:
    """Returns the children that are not among these ids; None stands for all."""
    return [] if among is None else [child for child in row.children.values() if child.id not in among]


def above(row: Row) -> Iterable[Row]:
    """Returns the nodes above one, the root last."""
    while row.parent is not None:
        row = row.parent
        yield row


def largest(tops: Iterable[Row], number: int) -> set[int]:
    """Returns the ids of `number` nodes, down from the roots: always the node with the largest subtree whose parent is in."""
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
    """Returns the ids of the `number` children with the largest subtrees."""
    return {child.id for child in heapq.nlargest(number, row.children.values(), key=_weight)}


def _weight(row: Row) -> int:
    return row.num_tokens


def _entry(row: Row) -> tuple[int, int, Row]:
    return -row.num_tokens, row.id, row
