"""The radix tree, folded from the log: which text is stored once, who made it, who found it there, who holds it now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import NodeAdded, NodeEvicted, NodeSplit, PathHeld, PathReleased, RequestScheduled, TokenSampled
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.tree_picture import NodeFacts, TreePicture

MAX_USERS = 8
"""As many users of a node are remembered as the engine remembers."""
MAX_ROWS = 5000
"""Nodes that are drawn one by one; of a larger tree the largest, the rest is summed up."""
MAX_CHANGES = 64
"""Last changes that are drawn as movements."""
HEAD_TOKENS = 24
"""So many tokens of a node are shown as text without a click."""


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


class TreeFold(Fold):
    def __init__(self, facts: Facts | None = None) -> None:
        super().__init__(facts)
        self.roots: dict[str, Row] = {}
        self.rows: dict[int, Row] = {}
        self.held: dict[str, Held] = {}
        self.changes: deque[tuple[int, str, int, str]] = deque(maxlen=MAX_CHANGES)
        """(number, "added", "split" or "evicted", node, who), to be drawn as movements."""
        self.num_changes = 0
        self.num_tokens = 0
        self.num_evicted = 0
        """Tokens that left so far."""
        self.now = 0.0
        """Time of the last event that concerned the tree, on the engine's clock."""

    def handlers(self) -> Handlers:
        return {
            NodeAdded: self._added, NodeSplit: self._split, NodeEvicted: self._evicted, PathHeld: self._hold,
            PathReleased: self._release, RequestScheduled: self._scheduled, TokenSampled: self._sampled,
        }  # fmt: skip

    # -- events -------------------------------------------------------------------------------------------------

    def _added(self, event: NodeAdded) -> None:
        parent = self.rows.get(event.parent_id) if event.parent_id else self._root(event.namespace)
        if parent is None:
            return
        used_at = event.time if event.used_at is None else event.used_at
        row = Row(
            event.node_id, parent, event.token_ids, event.namespace, event.rid, event.time, used_at, event.num_hits, event.used_by
        )
        self.rows[row.id] = parent.children[row.id] = row
        self.num_tokens += len(row.token_ids)
        self._note("added", row.id, event.rid, max(event.time, used_at))

    def _split(self, event: NodeSplit) -> None:
        row = self.rows.get(event.node_id)
        if row is None or row.parent is None:
            return
        parent = row.parent
        head = Row(event.head_id, parent, row.token_ids[: event.num_head], row.namespace, row.made_by, row.made_at, row.used_at,
                   row.num_hits, row.used_by)  # fmt: skip
        del parent.children[row.id]
        self.rows[head.id] = parent.children[head.id] = head
        row.parent, row.token_ids, row.head = head, row.token_ids[event.num_head :], None
        head.children[row.id] = row
        self._note("split", head.id, "", event.time)

    def _evicted(self, event: NodeEvicted) -> None:
        row = self.rows.pop(event.node_id, None)
        if row is None or row.parent is None:
            return
        row.parent.children.pop(row.id, None)
        self.num_tokens -= len(row.token_ids)
        self.num_evicted += len(row.token_ids)
        self._note("evicted", row.id, event.needed_by, event.time)

    def _hold(self, event: PathHeld) -> None:
        row = self.rows.get(event.node_id) if event.node_id else self._root(event.namespace)
        if row is None:
            return
        held = self.held.get(event.rid)
        for step in row.path() if event.is_hit else held.row.path() if held else ():
            step.used_at = event.time
            if event.is_hit:
                step.num_hits += 1
                step.used_by = (*step.used_by[1 - MAX_USERS :], event.rid)
        self.held[event.rid] = Held(row, event.num_tokens, held.num_tokens if held else event.num_tokens)
        self.now = max(self.now, event.time)

    def _release(self, event: PathReleased) -> None:
        held = self.held.pop(event.rid, None)
        for step in held.row.path() if held else ():
            step.used_at = event.time
        self.now = max(self.now, event.time)

    def _scheduled(self, event: RequestScheduled) -> None:
        if (held := self.held.get(event.rid)) is not None:
            held.num_tokens = event.num_cached + event.num_pending

    def _sampled(self, event: TokenSampled) -> None:
        if (held := self.held.get(event.rid)) is not None:
            held.num_tokens += 1

    def _root(self, namespace: str) -> Row:
        return self.roots.setdefault(namespace, Row(0, None, namespace=namespace))

    def _note(self, what: str, node_id: int, who: str, now: float) -> None:
        self.num_changes += 1
        self.changes.append((self.num_changes, what, node_id, who))
        self.now = max(self.now, now)

    # -- facts --------------------------------------------------------------------------------------------------

    @property
    def num_referenced(self) -> int:
        """Tokens that requests wanted of what is stored: each node counts for its maker and for every time it was found."""
        return sum(len(row.token_ids) * (1 + row.num_hits) for row in self.rows.values())

    def pins(self) -> dict[int, list[str]]:
        """Running requests by the node that they hold: nothing of it can be evicted."""
        holders: dict[int, list[str]] = {}
        for rid, held in self.held.items():
            for step in held.row.path():
                holders.setdefault(step.id, []).append(rid)
        return holders

    def node(self, node_id: int) -> NodeFacts:
        """All about one node. Raises for one that is not in the tree (any more)."""
        row = self.rows.get(node_id)
        if row is None:
            raise InvalidRequest("node", node_id, "a node of the tree", hint="it was evicted, or its number was never given")
        path = row.path()
        above = [token for step in path[:-1] for token in step.token_ids]
        before = self.facts.decode(above) if above else ""
        holders = tuple(rid for rid, held in self.held.items() if row in held.row.path())
        return NodeFacts(
            id=row.id, parent_id=path[-2].id if len(path) > 1 else 0, children=tuple(row.children), namespace=row.namespace,
            token_ids=row.token_ids, text=self.facts.decode([*above, *row.token_ids])[len(before) :], text_before=before,
            num_before=len(above), num_hits=row.num_hits, made_by=row.made_by, used_by=row.used_by, held_by=holders,
            made_at=row.made_at, used_at=row.used_at, age_s=self.now - row.made_at, idle_s=self.now - row.used_at,
        )  # fmt: skip

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self.node(int(asked.get("id", 0))).to_dict()

    def picture(self) -> TreePicture:
        holders = self.pins()
        rows = tuple(
            (depth, row.id, len(row.token_ids), row.num_hits, self._head(row), tuple(holders.get(row.id, ())))
            for depth, row in self._walk()
        )
        return TreePicture(rows, len(self.rows), self.num_tokens, self.num_referenced, self.num_evicted)

    def state(self) -> dict[str, Any]:
        holders = self.pins()
        rows = [
            [row.id, row.parent.id if row.parent else 0, len(row.token_ids), row.num_hits, row.used_at, self._head(row),
             holders.get(row.id, [])]
            for _, row in self._walk()
        ]  # fmt: skip
        return {
            "rows": rows, "num_nodes": len(self.rows), "num_tokens": self.num_tokens, "num_referenced": self.num_referenced,
            "num_evicted": self.num_evicted, "now": self.now, "changes": [list(change) for change in self.changes],
            "running": [[rid, h.row.id, h.num_shared, h.num_tokens] for rid, h in self.held.items()],
        }  # fmt: skip

    def _walk(self) -> list[tuple[int, Row]]:
        """(depth, node), parents before their children, at most `MAX_ROWS`."""
        found: list[tuple[int, Row]] = []
        stack = [(0, row) for root in reversed(self.roots.values()) for row in reversed(root.children.values())]
        while stack and len(found) < MAX_ROWS:
            depth, row = stack.pop()
            found.append((depth, row))
            stack += [(depth + 1, child) for child in reversed(row.children.values())]
        return found

    def _head(self, row: Row) -> str:
        if row.head is None:
            row.head = self.facts.decode(row.token_ids[:HEAD_TOKENS])
        return row.head
