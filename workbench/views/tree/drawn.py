"""Drawn part of the tree: a row for each node, or for those in the largest subtrees, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from workbench.views.tree.state import Nodes, Row, largest_children, left_out

MAX_NODES, NUM_DRAWN = 5000, 2000
"""A tree of more than `MAX_NODES` is drawn as the `NUM_DRAWN` nodes of its largest subtrees; the rest is summed up."""
RENEW_S = 2.0
"""Seconds between two look-ups of a large tree's largest subtrees, each of which takes some ten milliseconds. For a smaller tree:
seconds between two messages with all rows, where those between have only the rows that changed."""


class DrawnNodes:
    """The rows of a tree. `touch` marks nodes, `take` returns all rows, `take_changes` those that changed."""

    def __init__(self, nodes: Nodes, text: Callable[[Row], str]) -> None:
        self.opened: set[int] = set()
        """Nodes all of whose children are drawn in a tree of any size."""
        self._nodes, self._text = nodes, text
        self._texts: RowTexts | None = RowTexts(self.row)
        """Rows of all nodes; None while these are too many."""
        self._parts: LargestParts | None = None
        self._num_touches = 0

    def touch(self, *rows: Row) -> None:
        """Marks nodes that came, changed or left: their rows are made again."""
        self._num_touches += len(rows)
        if self._texts is not None:
            for row in rows:
                self._texts.touch(row.id)

    def take(self, now: float) -> tuple[msgspec.Raw, list[int]]:
        """Returns the rows (`row`), and the numbers of nodes and tokens below the root that are left out. What did not change is
        the same object as before."""
        by_id = self._nodes.by_id
        if len(by_id) > MAX_NODES:
            self._texts, parts = None, self._largest_parts(now)
            return parts.rows, parts.hidden
        self._texts = self._texts or RowTexts(self.row, by_id)
        self._parts = None
        return self._texts.take(by_id), [0, 0]

    def take_changes(self, now: float, renew_s: float = RENEW_S) -> msgspec.Raw | None:
        """Returns the changes of the rows taken since the last call: {"gone": ids, "rows": rows}; None where a page needs all.

        That is every `renew_s`, so a page that missed a message is wrong for no longer.
        """
        return None if self._texts is None else self._texts.take_changes(now, renew_s)

    def settle(self) -> bool:
        """Lets the next rows of a large tree hold all changes. Returns whether any waited."""
        is_late = self._parts is not None and self._parts.num_touches < self._num_touches
        if is_late:
            self._parts = None
        return is_late

    def row(self, row: Row, among: set[int] | None = None) -> list[Any]:
        """Returns id, parent, tokens, hits, used at, first text, maker, users, hidden nodes, hidden tokens, namespace. Hidden are
        the children that are not `among` the drawn nodes."""
        hidden = left_out(row, among)
        return [
            row.id, row.parent.id if row.parent else 0, len(row.token_ids), row.num_hits, row.used_at, self._text(row),
            row.made_by, row.used_by[-3:], sum(child.num_nodes for child in hidden), sum(child.num_tokens for child in hidden),
            row.namespace,
        ]  # fmt: skip

    def _largest_parts(self, now: float) -> LargestParts:
        """Returns the largest subtrees, looked up again after `RENEW_S` where something changed."""
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
    """The drawn part of a large tree: when it was looked up, after how many touches, with which nodes opened; its rows, and the
    numbers of nodes and tokens that are left out below the root."""

    time: float
    num_touches: int
    opened: frozenset[int]
    rows: msgspec.Raw
    hidden: list[int]


class RowTexts:
    """All rows as one JSON text, in which only changed rows are written again: a busy engine's tree changes with every step."""

    def __init__(self, row: Callable[[Row], Any], rows: Iterable[int] = ()) -> None:
        self._row = row
        self._texts: dict[int, bytes] = {}
        self._changed = dict.fromkeys(rows)
        """Changed nodes in the order of their first change, in which their rows stand."""
        self._unsent: dict[int, None] = {}
        """Nodes that changed since `take_changes`, in the order of their first change."""
        self._all_sent_at = -math.inf
        self._all = msgspec.Raw(b"[]")

    def touch(self, node_id: int) -> None:
        """Marks a node that came, changed or left."""
        self._changed[node_id] = None

    def take(self, rows: Mapping[int, Row]) -> msgspec.Raw:
        """Returns all rows: the same object as before where nothing changed."""
        if self._changed:
            for node_id in self._changed:
                if (row := rows.get(node_id)) is None:
                    self._texts.pop(node_id, None)
                else:
                    self._texts[node_id] = msgspec.json.encode(self._row(row))
            self._unsent |= self._changed
            self._changed.clear()
            if len(self._unsent) > len(self._texts):  # all rows are shorter; and without a page they would pile up
                self._unsent, self._all_sent_at = {}, -math.inf
            self._all = _array(self._texts.values())
        return self._all

    def take_changes(self, now: float, renew_s: float) -> msgspec.Raw | None:
        """Returns the changes since the last call; None every `renew_s`, when a page needs all rows."""
        new, self._unsent = self._unsent, {}
        if now >= self._all_sent_at + renew_s:
            self._all_sent_at = now
            return None
        gone = [node_id for node_id in new if node_id not in self._texts]
        rows = _array(self._texts[node_id] for node_id in new if node_id in self._texts)
        return msgspec.Raw(msgspec.json.encode({"gone": gone, "rows": rows}))


def _array(texts: Iterable[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"[%s]" % b",".join(texts))
