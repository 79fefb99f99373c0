"""What a page draws of the tree: the rows of all nodes, or of the largest parts, written as JSON as they change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from workbench.views.tree.rows import Nodes, Row, largest_children, left_out

MAX_NODES, NUM_DRAWN = 5000, 2000
"""A tree of more nodes is drawn as its so many largest subtrees; the rest is summed up under their parents."""
RENEW_S = 2.0
"""Of a larger tree it takes some ten milliseconds to find these; what runs and what changed is told with every state. Of a
smaller one all rows are told so often, and between that those that changed."""


class DrawnNodes:
    """It is told what to draw anew (`touch`), and asked for all rows (`take`) or for those that changed (`take_changes`)."""

    def __init__(self, nodes: Nodes, text: Callable[[Row], str]) -> None:
        self.opened: set[int] = set()
        """Nodes whose children are all to be drawn, whatever the size of the tree."""
        self._nodes, self._text = nodes, text
        self._texts: RowTexts | None = RowTexts(self.row)
        """None while there are too many nodes to draw all."""
        self._parts: LargestParts | None = None
        self._num_touches = 0

    def touch(self, *rows: Row) -> None:
        """They came, changed or left, and are to be drawn anew."""
        self._num_touches += len(rows)
        if self._texts is not None:
            for row in rows:
                self._texts.touch(row.id)

    def take(self, now: float) -> tuple[msgspec.Raw, list[int]]:
        """The rows (`row`), and how many nodes and tokens hang at the root and are not among them. What did not change is the
        same object as before."""
        by_id = self._nodes.by_id
        if len(by_id) > MAX_NODES:
            self._texts, parts = None, self._largest_parts(now)
            return parts.rows, parts.hidden
        self._texts = self._texts or RowTexts(self.row, by_id)
        self._parts = None
        return self._texts.take(by_id), [0, 0]

    def take_changes(self, now: float) -> msgspec.Raw | None:
        """What is new in the rows taken since the last call: {"gone": ids, "rows": rows}. None where a page is to be told all:
        every `RENEW_S`, so that whatever a page missed, it is wrong for no longer."""
        return None if self._texts is None else self._texts.take_changes(now)

    def settle(self) -> bool:
        """Whether there is something to draw that waited, since the tree is large; the next rows have it."""
        is_late = self._parts is not None and self._parts.num_touches < self._num_touches
        if is_late:
            self._parts = None
        return is_late

    def row(self, row: Row, among: set[int] | None = None) -> list[Any]:
        """id, parent, tokens, hits, used at, first text, maker, users, hidden nodes, hidden tokens, namespace. Hidden are the
        children that are not `among` those drawn."""
        hidden = left_out(row, among)
        return [
            row.id, row.parent.id if row.parent else 0, len(row.token_ids), row.num_hits, row.used_at, self._text(row),
            row.made_by, row.used_by[-3:], sum(child.num_nodes for child in hidden), sum(child.num_tokens for child in hidden),
            row.namespace,
        ]  # fmt: skip

    def _largest_parts(self, now: float) -> LargestParts:
        """Made anew no sooner than `RENEW_S` later."""
        parts = self._parts
        is_late = parts is not None and parts.num_touches < self._num_touches and now >= parts.time + RENEW_S
        if parts is None or parts.opened != self.opened or is_late:
            among = self._nodes.largest(NUM_DRAWN) | self._below_opened()
            hidden = [row for row in self._nodes.tops() if row.id not in among]
            rows = [self.row(row, among) for row in self._nodes.walk(among)]
            parts = self._parts = LargestParts(
                now, self._num_touches, frozenset(self.opened), msgspec.Raw(msgspec.json.encode(rows)),
                [sum(row.num_nodes for row in hidden), sum(row.num_tokens for row in hidden)],
            )  # fmt: skip
        return parts

    def _below_opened(self) -> set[int]:
        by_id = self._nodes.by_id
        below = {row.id for row in self._nodes.tops()[:MAX_NODES]} if 0 in self.opened else set()
        for node_id in self.opened & by_id.keys():
            below |= {step.id for step in by_id[node_id].path()} | largest_children(by_id[node_id], NUM_DRAWN)
        return below


class LargestParts(NamedTuple):
    """What was drawn of a tree of too many nodes: when, after how many touches, with which nodes opened, and what was left out
    at the root."""

    time: float
    num_touches: int
    opened: frozenset[int]
    rows: msgspec.Raw
    hidden: list[int]


class RowTexts:
    """All nodes as one JSON text, in which only what changed is written anew: a busy engine's tree changes with every step."""

    def __init__(self, row: Callable[[Row], Any], rows: Iterable[int] = ()) -> None:
        self._row = row
        self._texts: dict[int, bytes] = {}
        self._changed = dict.fromkeys(rows)
        """In order of the first change, as their texts then stand."""
        self._untold: dict[int, None] = {}
        """What was taken and not told, in order of the first change."""
        self._all_told_at = -math.inf
        self._all = msgspec.Raw(b"[]")

    def touch(self, node_id: int) -> None:
        self._changed[node_id] = None

    def take(self, rows: Mapping[int, Row]) -> msgspec.Raw:
        """The same object as before where nothing changed."""
        if self._changed:
            for node_id in self._changed:
                if (row := rows.get(node_id)) is None:
                    self._texts.pop(node_id, None)
                else:
                    self._texts[node_id] = msgspec.json.encode(self._row(row))
            self._untold |= self._changed
            self._changed.clear()
            if len(self._untold) > len(self._texts):  # to tell all is shorter; and where nobody asks, they would pile up
                self._untold, self._all_told_at = {}, -math.inf
            self._all = _array(self._texts.values())
        return self._all

    def take_changes(self, now: float) -> msgspec.Raw | None:
        new, self._untold = self._untold, {}
        if now >= self._all_told_at + RENEW_S:
            self._all_told_at = now
            return None
        gone = [node_id for node_id in new if node_id not in self._texts]
        rows = _array(self._texts[node_id] for node_id in new if node_id in self._texts)
        return msgspec.Raw(msgspec.json.encode({"gone": gone, "rows": rows}))


def _array(texts: Iterable[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"[%s]" % b",".join(texts))
