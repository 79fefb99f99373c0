"""A conversation beside the radix tree: which of its tokens are stored now, in which nodes, and why no more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from workbench.events import CacheFlushed, Event, NodeAdded, NodeEvicted, NodeSplit
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.reuse import why_no_more
from workbench.views.template import TemplateView, Turn
from workbench.views.tree import TreeFold
from workbench.views.tree_rows import Row

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


class TemplateFold(Fold):
    """`turn` is what is shown, `before` the turn to compare it with."""

    def __init__(self, facts: Facts | None, turn: Turn, before: Turn | None = None, namespace: str = "") -> None:
        self.tree = TreeFold(facts)
        super().__init__(facts)
        self.turn, self.before, self.namespace = turn, before, namespace
        self._ids = tuple(token.id for token in turn.tokens)
        self._lost: dict[int, float] = {}
        """Where parts of this prompt that left the tree began, and when each left."""

    def handlers(self) -> Handlers:
        return {NodeAdded: self.tree.apply, NodeSplit: self.tree.apply, NodeEvicted: self._evicted, CacheFlushed: self._flushed}

    def _evicted(self, event: Event) -> None:
        assert isinstance(event, NodeEvicted)
        row = self.tree.rows.get(event.node_id)
        if row is not None and row.namespace == self.namespace and event.needed_by:  # a flush is no eviction
            before = [token for step in row.path()[:-1] for token in step.token_ids]
            held = (*before, *row.token_ids[: self.facts.page_size])
            if held == self._ids[: len(held)]:
                self._lost[len(before)] = event.time
        self.tree.apply(event)

    def _flushed(self, event: Event) -> None:
        self._lost.clear()

    def stored(self) -> Stored:
        """What would be reused of this prompt now. The last token of a prompt is always computed."""
        page, limit = self.facts.page_size, len(self._ids) - 1
        limit -= limit % page
        row, path = self.tree.roots.get(self.namespace), []
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
        return Stored(tuple(path), *self._reason(row, rest, at, limit))

    def _reason(self, row: Row | None, rest: tuple[int, ...], at: int, limit: int) -> tuple[str, str]:
        if at >= limit:
            return "whole prompt", ""
        if at in self._lost:
            return "evicted", why_no_more("evicted", at, max(0.0, self.tree.now - self._lost[at]))
        stored = [rest] if rest else [child.token_ids for child in row.children.values()] if row is not None else []
        if not stored:
            return "nothing stored", why_no_more("nothing stored", at)
        likely = max(stored, key=lambda ids: _num_same(ids, self._ids[at:]))
        if _num_same(likely, self._ids[at:]):
            return "below page size", why_no_more("below page size", at)
        goes_on = self.facts.decode(likely[:NEXT_TOKENS])
        return "diverged", f"{why_no_more('diverged', at)}: {goes_on!r}"

    # -- as a picture and as JSON ---------------------------------------------------------------------------------

    def picture(self) -> TemplateView:
        stored = self.stored()
        node = stored.path[-1][0] if stored.path else 0
        reuse = {"num_cached": stored.num_cached, "reason": stored.reason, "node_id": node}
        return TemplateView(self.turn, self.before, reuse, stored.why)

    def state(self) -> dict[str, Any]:
        picture, owners = self.picture(), self._nodes()
        tokens = [
            [i, token.id, token.text, token.message, owners[i] if i < len(owners) else 0]
            for start, end in picture.windows() for i, token in enumerate(self.turn.tokens[start:end], start)
        ]  # fmt: skip
        return {
            "sentences": picture.sentences(), "roles": list(self.turn.roles), "tokens": tokens, "num_tokens": len(self._ids),
            "break_at": picture.break_at, "around": [list(row) for row in picture.around()],
        }  # fmt: skip

    def _nodes(self) -> list[int]:
        """For each token that is stored, in which node."""
        return [node for node, num in self.stored().path for _ in range(num)]


def _child(row: Row, ids: tuple[int, ...], at: int, page: int) -> Row | None:
    """The child that holds the next page of the prompt."""
    wanted = ids[at : at + page]
    return next((child for child in row.children.values() if child.token_ids[:page] == wanted), None)


def _num_same(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
