"""A conversation beside the radix tree: which of its tokens are stored now, in which nodes, and why no more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from workbench.events import CacheFlushed, Event, NodeAdded, NodeEvicted, NodeSplit
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.template.picture import SEES, TemplateView, Turn
from workbench.views.tree.fold import TreeFold
from workbench.views.tree.rows import Row
from workbench.why.prefix.reasons import why_no_more

NEXT_TOKENS = 8
"""So many tokens of the stored text are shown where it goes on otherwise."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the tree holds of a prompt."""

    path: tuple[tuple[int, int], ...]
    """(node, how many of the prompt's tokens it holds), from the top."""
    reason: str
    why: str

    @property
    def num_cached(self) -> int:
        return sum(num for _, num in self.path)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer to what is stored, and what makes it an old one."""

    stored: Stored
    time: float
    path: frozenset[int]
    """Nodes of it, each with a child that holds what comes next, but for the last."""
    end: int | None
    """The node whose children do not hold what comes next; None where the prompt ends or parts inside a node."""


class TemplateFold(Fold):
    """`turn` is what is shown, `before` the turn to compare it with."""

    sees = SEES

    def __init__(self, facts: Facts | None, turn: Turn, before: Turn | None = None, namespace: str = "") -> None:
        self.tree = TreeFold(facts)
        super().__init__(facts)
        self.turn, self.before, self.namespace = turn, before, namespace
        self._ids = tuple(token.id for token in turn.tokens)
        self._lost: dict[int, float] = {}
        """Where parts of this prompt that left the tree began, and when each left."""
        self._found: Found | None = None
        """None when it has to be looked up again: of a busy engine's events few concern this prompt."""
        self._state: tuple[Stored, dict[str, Any]] | None = None

    def handlers(self) -> Handlers:
        return {NodeAdded: self._added, NodeSplit: self._split, NodeEvicted: self._evicted, CacheFlushed: self._flushed}

    def _added(self, event: NodeAdded) -> None:
        if event.namespace == self.namespace:
            self._touch(event.node_id, event.parent_id)
        self.tree.apply(event)

    def _split(self, event: NodeSplit) -> None:
        if (row := self.tree.nodes.by_id.get(event.node_id)) is not None and row.parent is not None:
            self._touch(row.id, row.parent.id)
        self.tree.apply(event)

    def _touch(self, node_id: int, parent_id: int) -> None:
        if self._found is not None and (node_id in self._found.path or parent_id == self._found.end):
            self._found = None

    def _evicted(self, event: NodeEvicted) -> None:
        row = self.tree.nodes.by_id.get(event.node_id)
        if row is not None and row.namespace == self.namespace and event.needed_by:  # a flush is no eviction
            before = [token for step in row.path()[:-1] for token in step.token_ids]
            held = (*before, *row.token_ids[: self.facts.page_size])
            if held == self._ids[: len(held)]:
                self._lost[len(before)] = event.time
        if row is not None and row.parent is not None:
            self._touch(row.id, row.parent.id)
        self.tree.apply(event)

    def _flushed(self, event: Event) -> None:
        self._lost.clear()
        self._found = None

    def stored(self) -> Stored:
        """What would be reused of this prompt now. The last token of a prompt is always computed."""
        found = self._found
        if found is None or (found.stored.reason == "evicted" and self.tree.now >= found.time + 1):  # it says how long ago
            found = self._found = self._look_up()
        return found.stored

    def _look_up(self) -> Found:
        page, limit = self.facts.page_size, len(self._ids) - 1
        limit -= limit % page
        row, path = self.tree.nodes.roots.get(self.namespace), []
        at = 0
        rest: tuple[int, ...] = ()
        while row is not None and at < limit:
            below = _child(row, self._ids, at, page)
            if below is None:
                break
            same = sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(below.token_ids, self._ids[at:limit], strict=False))
            )
            same -= same % page
            path.append((below.id, same))
            at += same
            if same < len(below.token_ids):
                rest = below.token_ids[same:]
                break
            row = below
        end = None if rest or at >= limit else 0 if row is None else row.id
        return Found(Stored(tuple(path), *self._reason(row, rest, at, limit)), self.tree.now, frozenset(dict(path)), end)

    def _reason(self, row: Row | None, rest: tuple[int, ...], at: int, limit: int) -> tuple[str, str]:
        if at >= limit:
            return "whole prompt", ""
        if at in self._lost:
            return "evicted", why_no_more("evicted", at, evicted_ago=max(0.0, self.tree.now - self._lost[at]))
        stored = [rest] if rest else [child.token_ids for child in reversed(row.children.values())] if row is not None else []
        if not stored:
            return "nothing stored", why_no_more("nothing stored", at)
        if any(ids[0] == self._ids[at] for ids in stored):
            return "below page size", why_no_more("below page size", at)
        goes_on = self.facts.decode(stored[0][:NEXT_TOKENS])
        return "diverged", why_no_more("diverged", at, stored=goes_on)

    # -- as a picture and as JSON ---------------------------------------------------------------------------------

    def picture(self) -> TemplateView:
        stored = self.stored()
        node = stored.path[-1][0] if stored.path else 0
        reuse = {"num_cached": stored.num_cached, "reason": stored.reason, "node_id": node}
        return TemplateView(self.turn, self.before, reuse, stored.why)

    def state(self) -> dict[str, Any]:
        """The same object as before where nothing changed."""
        stored = self.stored()
        if self._state is None or self._state[0] is not stored:
            self._state = (stored, self._drawn(stored))
        return self._state[1]

    def _drawn(self, stored: Stored) -> dict[str, Any]:
        picture = self.picture()
        owners = [node for node, num in stored.path for _ in range(num)]
        tokens = [
            [i, token.id, token.text, token.message, owners[i] if i < len(owners) else 0]
            for start, end in picture.windows() for i, token in enumerate(self.turn.tokens[start:end], start)
        ]  # fmt: skip
        return {
            "sentences": picture.sentences(), "roles": list(self.turn.roles), "tokens": tokens, "num_tokens": len(self._ids),
            "break_at": picture.break_at, "around": [list(row) for row in picture.around()],
        }  # fmt: skip


def _child(row: Row, ids: tuple[int, ...], at: int, page: int) -> Row | None:
    """The child that holds the next page of the prompt."""
    first, wanted = ids[at], ids[at : at + page]
    below = (child for child in row.children.values() if child.token_ids[0] == first)
    return next((child for child in below if child.token_ids[:page] == wanted), None)
