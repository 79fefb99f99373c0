"""The radix tree as a fold over the event log: its nodes, the requests that made, found and hold them, and evictions."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from workbench.errors import InvalidRequest
from workbench.events import (
    MAX_USERS,
    NUM_SHOWN,
    NodeAdded,
    NodeEvicted,
    NodeSplit,
    PathHeld,
    PathReleased,
    PictureNumbered,
    PrefixMatched,
    RequestScheduled,
    TokenSampled,
)
from workbench.text.readable import no_text
from workbench.types import first_of
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.seen import SeenPictures
from workbench.views.tree.drawn import DrawnNodes
from workbench.views.tree.picture import SEES, NodeFacts, NodeLine, TreePicture
from workbench.views.tree.state import Held, Nodes, Row, above, left_out
from workbench.why.prefix.evictions import HEAD, NUMERIC, Evicted, EvictionJournal

MAX_PICTURE = 200
"""Nodes in a still picture."""
MAX_FOUND = 100
MAX_CHANGES = 64
"""Last changes that are drawn as movements."""
MAX_EVICTED = 500
"""Nodes that are kept after they left."""
HEAD_TOKENS = 24
"""Tokens of a node that are shown as text without a click."""


class TreeFold(Fold[TreePicture]):
    """The radix tree as the engine holds it, and the last nodes that left it."""

    sees = SEES

    def __init__(self, facts: Facts | None = None) -> None:
        self.seen = SeenPictures()
        super().__init__(facts)
        self.nodes = Nodes()
        self.drawn = DrawnNodes(self.nodes, self._head)
        self.changes: deque[tuple[int, str, int, str]] = deque(maxlen=MAX_CHANGES)
        """Last changes, to be drawn as movements: (number, "added", "split" or "evicted", node, request)."""
        self.num_changes = 0
        self.num_tokens = 0
        """Tokens stored, each once."""
        self.num_referenced = 0
        """Stored tokens that were asked for: each node counts for its maker and for every time it was found."""
        self.num_evicted = 0
        """Tokens that left so far."""
        self._evictions: OrderedDict[int, Evicted] = OrderedDict()
        """Last eviction of each text, by `_mark_of`."""
        self.now = 0.0
        """Engine time of the last event that concerned the tree."""

    def handlers(self) -> Handlers:
        return {
            NodeAdded: self._added, NodeSplit: self._split, NodeEvicted: self._evicted, PathHeld: self._hold,
            PathReleased: self._release, RequestScheduled: self._scheduled, TokenSampled: self._sampled,
            PrefixMatched: self._matched, PictureNumbered: self.seen.add,
        }  # fmt: skip

    # -- events -------------------------------------------------------------------------------------------------

    def _added(self, event: NodeAdded) -> None:
        parent = self.nodes.by_id.get(event.parent_id) if event.parent_id else self.nodes.root(event.namespace)
        if parent is None:
            return
        used_at = event.time if event.used_at is None else event.used_at
        row = Row(event.node_id, parent, event.token_ids, event.namespace, event.rid, event.time, used_at, event.num_hits,
                  event.used_by)  # fmt: skip
        self.nodes.by_id[row.id] = parent.children[row.id] = row
        self._count(row, 1, len(row.token_ids))
        self.drawn.touch(row)
        self._note("added", row.id, event.rid, max(event.time, used_at))

    def _split(self, event: NodeSplit) -> None:
        row = self.nodes.by_id.get(event.node_id)
        if row is None or row.parent is None:
            return
        parent, num_below = row.parent, row.num_tokens
        head = Row(event.head_id, parent, row.token_ids[: event.num_head], row.namespace, row.made_by, row.made_at, row.used_at,
                   row.num_hits, row.used_by, num_nodes=row.num_nodes, num_tokens=num_below)  # fmt: skip
        del parent.children[row.id]
        self.nodes.by_id[head.id] = parent.children[head.id] = head
        row.parent, row.token_ids, row.head = head, row.token_ids[event.num_head :], None
        row.num_tokens -= event.num_head
        head.children[row.id] = row
        for step in (head, *above(head)):
            step.num_nodes += 1
        self.drawn.touch(head, row)
        self._note("split", head.id, "", event.time)

    def _evicted(self, event: NodeEvicted) -> None:
        row = self.nodes.by_id.pop(event.node_id, None)
        if row is None or row.parent is None:
            return
        before = tuple(token for step in row.path()[:-1] for token in step.token_ids)
        mark = self._mark_of(row.namespace, before, row.token_ids)
        self._evictions[mark] = Evicted(row.id, row.namespace, row.token_ids, len(before), row.made_by, row.num_hits,
                                        event.time - row.made_at, event.time - row.used_at, event.time, event.score,
                                        event.needed_by)  # fmt: skip
        self._evictions.move_to_end(mark)
        if len(self._evictions) > MAX_EVICTED:
            self._evictions.popitem(last=False)
        row.parent.children.pop(row.id, None)
        self._count(row, -1, -len(row.token_ids))
        self.nodes.drop_if_empty(row.parent)
        self.num_evicted += len(row.token_ids)
        self.drawn.opened.discard(row.id)
        self.drawn.touch(row)
        self._note("evicted", row.id, event.needed_by, event.time)

    def _matched(self, event: PrefixMatched) -> None:
        """Notes that a prompt misses an evicted node."""
        if event.reason != "evicted":
            return
        row = self.nodes.by_id.get(event.node_id)
        before = tuple(token for step in (row.path() if row else ()) for token in step.token_ids)[: event.num_cached]
        node = self._evictions.get(self._mark_of(event.namespace, before, event.asked))
        if node is not None and not node.wanted_by:
            node.wanted_by, node.wanted_after_s = event.rid, event.time - node.time

    def _mark_of(self, namespace: str, before: tuple[int, ...], tokens: tuple[int, ...]) -> int:
        """Returns a mark of a text behind `before`: a prompt misses it by its first page, of which the log holds so much."""
        return hash((namespace, before, tokens[: min(self.facts.page_size, NUM_SHOWN)]))

    def _hold(self, event: PathHeld) -> None:
        row = self.nodes.by_id.get(event.node_id) if event.node_id else self.nodes.root(event.namespace)
        if row is None:
            return
        held = self.nodes.held.get(event.rid)
        used = row.path() if event.is_hit else held.row.path() if held else []
        for step in used:
            step.used_at = event.time
            if event.is_hit:
                step.num_hits += 1
                step.used_by = (*step.used_by[1 - MAX_USERS :], event.rid)
                self.num_referenced += len(step.token_ids)
        self.nodes.held[event.rid] = Held(row, event.num_tokens, held.num_tokens if held else event.num_tokens)
        self.drawn.touch(*used)
        self.now = max(self.now, event.time)

    def _release(self, event: PathReleased) -> None:
        if (held := self.nodes.held.pop(event.rid, None)) is not None:
            for step in (used := held.row.path()):
                step.used_at = event.time
            self.nodes.drop_if_empty(held.row)
            self.drawn.touch(*used)
        self.now = max(self.now, event.time)

    def _scheduled(self, event: RequestScheduled) -> None:
        if (held := self.nodes.held.get(event.rid)) is not None:
            held.num_tokens = event.num_cached + event.num_pending

    def _sampled(self, event: TokenSampled) -> None:
        if (held := self.nodes.held.get(event.rid)) is not None:
            held.num_tokens += 1
            self.now = event.time

    def _count(self, row: Row, num_nodes: int, num_tokens: int) -> None:
        self.num_tokens += num_tokens
        self.num_referenced += num_tokens * (1 + row.num_hits)
        for step in (row, *above(row)):
            step.num_nodes += num_nodes
            step.num_tokens += num_tokens

    def _note(self, what: str, node_id: int, rid: str, now: float) -> None:
        self.num_changes += 1
        self.changes.append((self.num_changes, what, node_id, rid))
        self.now = max(self.now, now)

    # -- facts --------------------------------------------------------------------------------------------------

    def node(self, node_id: int, now: float = 0.0) -> NodeFacts:
        """Returns all about one node at the engine time `now` or, where that is later, at the newest event.

        Raises `InvalidRequest` for a node that is not in the tree.
        """
        row = self.nodes.by_id.get(node_id)
        if row is None:
            raise InvalidRequest("node", node_id, "a node of the tree", hint="it was evicted or split off, or it never was")
        path = row.path()
        above = [token for step in path[:-1] for token in step.token_ids]
        before = self.facts.decode(above) if above else ""
        text = self.facts.decode([*above, *row.token_ids])
        info = self.facts.info
        return NodeFacts(
            id=row.id, parent_id=path[-2].id if len(path) > 1 else 0, children=tuple(row.children), namespace=row.namespace,
            token_ids=row.token_ids, text=text[len(before) :] if text.startswith(before) else self.facts.decode(row.token_ids),
            text_before=before, num_before=len(above), num_hits=row.num_hits, made_by=row.made_by, used_by=row.used_by,
            held_by=tuple(rid for rid, held in self.nodes.held.items() if row in held.row.path()), made_at=row.made_at,
            used_at=row.used_at, kv_bytes=len(row.token_ids) * info.get("kv_bytes_per_token", 0),
            kv_dtype=info.get("kv_cache_dtype", ""), age_s=max(now, self.now) - row.made_at,
            idle_s=max(now, self.now) - row.used_at, pictures=self.seen.in_tokens(row.token_ids),
        )  # fmt: skip

    def evictions(self, now: float = 0.0) -> EvictionJournal:
        """Returns the last nodes that left, at the engine time `now` or, where that is later, at the newest event."""
        nodes = tuple(replace(node) for node in reversed(self._evictions.values()))
        texts = tuple(self.facts.decode(first_of(node.token_ids, HEAD_TOKENS)) for node in nodes)
        policy = str(self.facts.info.get("eviction_policy", ""))
        return EvictionJournal(nodes, texts, self.num_evicted, policy, max(now, self.now))

    def search(self, text: str) -> list[int]:
        """Returns the nodes in which `text` ends, in any case, also where it begins in a node above, in the tree's order."""
        wanted, found = text.casefold(), []
        between = " " if self.facts.decode is no_text else ""
        stack = [(row, "") for row in self.nodes.tops()]
        while stack and wanted:
            row, before = stack.pop()
            here = before + self.facts.decode(row.token_ids).casefold() + between
            if wanted in here:
                found.append(row.id)
            tail = here[-(len(wanted) - 1) :] if len(wanted) > 1 else ""
            stack += [(child, tail) for child in reversed(row.children.values())]
        return found

    # -- what is drawn ------------------------------------------------------------------------------------------

    @property
    def empty(self) -> str:
        if self.nodes.by_id:
            return ""
        return f"Nothing is stored yet, as a request leaves its text here when it ends: {self.facts.advice.begins}"

    def state(self) -> dict[str, Any]:
        """Returns what is drawn. `rows` are those of `DrawnNodes.row`, children in the order in which they came; `hidden` are the
        numbers of nodes and tokens below the root that are left out."""
        rows, hidden = self.drawn.take(self.now)
        return {
            "hidden": hidden, "rows": rows, "num_nodes": len(self.nodes.by_id), "num_tokens": self.num_tokens, "now": self.now,
            "num_referenced": self.num_referenced, "num_evicted": self.num_evicted,
            "changes": [list(change) for change in self.changes],
            "running": [[rid, h.row.id, h.num_shared, h.num_tokens] for rid, h in self.nodes.held.items()],
        }  # fmt: skip

    def settle(self) -> None:
        """Lets the next state show a large tree as it is now."""
        if self.drawn.settle():
            self.version += 1

    def detail(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all about the node {"id": ...}; for {"text": ...} the nodes in which it ends and the rows to draw them with;
        for {"evictions": True} the nodes that left."""
        if "evictions" in asked:
            journal = self.evictions()
            return {"title": journal.title, "head": HEAD, "numeric": NUMERIC, "rows": journal.rows(), "rest": journal.rest}
        if "text" not in asked:
            node = self.node(int(asked.get("id", 0)))
            return node.to_dict() | {"pictures": [picture.to_state() for picture in node.pictures]}
        found = self.search(str(asked["text"]))
        drawn = {step.id for node_id in found[:MAX_FOUND] for step in self.nodes.by_id[node_id].path()}
        rows = [self.drawn.row(row) for row in self.nodes.walk(drawn)]
        return {"found": found[:MAX_FOUND], "num_found": len(found), "rows": rows}

    def questions(self) -> Iterator[tuple[dict[str, Any], Any]]:
        if self._evictions:
            yield {"evictions": True}, self.now
        holders = self.nodes.holders()
        for row in self.nodes.walk():
            parent = row.parent.id if row.parent else 0
            yield {"id": row.id}, (row.num_hits, parent, len(row.children), len(row.token_ids), holders.get(row.id))

    def picture(self) -> TreePicture:
        drawn = self.nodes.largest(MAX_PICTURE) if len(self.nodes.by_id) > MAX_PICTURE else None
        holders = self.nodes.holders()
        lines = []
        for row in self.nodes.walk(drawn):
            hidden = left_out(row, drawn)
            lines.append(
                NodeLine(
                    depth=len(row.path()) - 1, id=row.id, text=self._head(row), num_tokens=len(row.token_ids),
                    num_hits=row.num_hits, idle_s=self.now - row.used_at, made_by=row.made_by,
                    held_by=tuple(holders.get(row.id, ())), namespace=row.namespace,
                    num_hidden=sum(child.num_nodes for child in hidden), hidden_tokens=sum(child.num_tokens for child in hidden),
                )
            )  # fmt: skip
        return TreePicture(
            tuple(lines), len(self.nodes.by_id), self.num_tokens, self.num_referenced, self.num_evicted, self.empty,
            self.facts.advice.opens.format("tree"),
        )  # fmt: skip

    def _head(self, row: Row) -> str:
        if row.head is None:
            first = first_of(row.token_ids, HEAD_TOKENS)
            row.head = self.facts.decode(first) + "…" * (len(row.token_ids) > len(first))
        return row.head
