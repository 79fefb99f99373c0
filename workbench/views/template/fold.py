"""A conversation as a fold over the radix tree's events: which of its tokens are stored now, where, and why no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from workbench.errors import NotSupported, WorkbenchError
from workbench.events import CacheFlushed, Event, NodeAdded, NodeEvicted, NodeSplit, PictureNumbered
from workbench.text import chat
from workbench.types import first_of
from workbench.views.fold import Facts, Fold, Handlers
from workbench.views.seen import SeenPicture
from workbench.views.template.picture import SEES, TemplateView
from workbench.views.template.state import Messages, Turn, turn_before, turn_of
from workbench.views.tree.fold import TreeFold
from workbench.views.tree.state import Row
from workbench.why.prefix.reasons import why_no_more

if TYPE_CHECKING:
    from workbench.pictures.eyes import Eyes

UNSEEN = 1 << 62
"""Number that no picture has."""
NEXT_TOKENS = 8
"""Tokens of the stored text that are shown where it goes on differently."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The part of a prompt that the tree holds."""

    path: tuple[tuple[int, int], ...]
    """Nodes from the top, each with the number of the prompt's tokens that it holds."""
    reason: str
    why: str

    @property
    def num_cached(self) -> int:
        return sum(num for _, num in self.path)


@dataclass(frozen=True, slots=True)
class Found:
    """A prompt's stored part as it was looked up, and what makes it out of date."""

    stored: Stored
    time: float
    path: frozenset[int]
    """Nodes that hold it: of all but the last, a child holds what comes next."""
    end: int | None
    """Node whose children do not hold what comes next; None where the prompt ends or parts inside a node."""


class TemplateFold(Fold[TemplateView]):
    """`turn` is shown, beside `before` where there is such a turn."""

    sees = SEES

    def __init__(self, facts: Facts | None, turn: Turn, before: Turn | None = None, namespace: str = "") -> None:
        self.tree = TreeFold(facts)
        super().__init__(facts)
        self.turn, self.before, self.namespace = turn, before, namespace
        self._numbers: dict[str, int] = {}
        """Numbers of the turn's pictures that the engine has seen, by digest."""
        self._ids = self._keys()
        self._lost: dict[int, float] = {}
        """Places in the prompt where a part left the tree, and when."""
        self._found: Found | None = None
        """Last look-up; None once an event concerned this prompt, which few of a busy engine's events do."""
        self._state: tuple[Stored, dict[str, Any]] | None = None

    def handlers(self) -> Handlers:
        return {
            NodeAdded: self._added, NodeSplit: self._split, NodeEvicted: self._evicted, CacheFlushed: self._flushed,
            PictureNumbered: self._numbered,
        }  # fmt: skip

    def _keys(self) -> tuple[int, ...]:
        """Returns the prompt as the tree has it. A picture that the engine has not seen is in no tree."""
        return tuple(key if isinstance(key, int) else -self._numbers.get(key, UNSEEN) for key in self.turn.keys)

    def _numbered(self, event: PictureNumbered) -> None:
        if any(picture.digest == event.digest for picture in self.turn.pictures):
            self._numbers[event.digest] = event.number
            self._ids, self._found = self._keys(), None
        self.tree.apply(event)

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
        """Returns what would be reused of this prompt now. The last token of a prompt is always computed."""
        found = self._found
        if found is None or (found.stored.reason == "evicted" and self.tree.now >= found.time + 1):  # its words say how long ago
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
        goes_on = self.facts.decode(first_of(stored[0], NEXT_TOKENS))
        return "diverged", why_no_more("diverged", at, stored=goes_on)

    # -- as a picture and as JSON ---------------------------------------------------------------------------------

    def picture(self) -> TemplateView:
        stored = self.stored()
        node = stored.path[-1][0] if stored.path else 0
        reuse = {"num_cached": stored.num_cached, "reason": stored.reason, "node_id": node}
        return TemplateView(self.turn, self.before, reuse, stored.why)

    def state(self) -> dict[str, Any]:
        """Returns what is drawn: the same object as before where nothing changed."""
        stored = self.stored()
        if self._state is None or self._state[0] is not stored:
            self._state = (stored, self._drawn(stored))
        return self._state[1]

    def _drawn(self, stored: Stored) -> dict[str, Any]:
        picture = self.picture()
        owners = [node for node, num in stored.path for _ in range(num)]
        pictures = self.turn.pictures
        tokens = []
        for start, end in picture.windows():
            for i, token in enumerate(self.turn.tokens[start:end], start):
                if token.picture is None or i == pictures[token.picture].start:
                    row = [i, token.id, token.text, token.message, owners[i] if i < len(owners) else 0]
                    whole = [] if token.picture is None else [token.picture, pictures[token.picture].end - i]
                    tokens.append(row + whole)
        return {
            "sentences": picture.sentences(), "roles": list(self.turn.roles), "tokens": tokens, "num_tokens": len(self._ids),
            "break_at": picture.break_at, "around": [list(row) for row in picture.around()],
            "pictures": [SeenPicture.of(one).to_state() for one in pictures],
        }  # fmt: skip


def _child(row: Row, ids: tuple[int, ...], at: int, page: int) -> Row | None:
    """Returns the child that holds the next page of the prompt; None where there is none."""
    first, wanted = ids[at], ids[at : at + page]
    below = (child for child in row.children.values() if child.token_ids[0] == first)
    return next((child for child in below if child.token_ids[:page] == wanted), None)


def template_fold(
    facts: Facts, messages: Messages | None = None, against: Messages | None = None, tools: Sequence[Any] | None = None
) -> TemplateFold:
    """Returns the fold for a conversation. `against` is one to compare it with, by default the same one turn before.

    Raises `NotSupported` for an engine without a tokenizer, what the model's template raises for these messages, and what reading
    their pictures raises. Where the model's folder is not here, pictures are what the template writes for them.
    """
    if facts.tokenizer is None:
        raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="load without skip_tokenizer_init")
    now = chat.checked(messages)
    before = against or turn_before(now)
    eyes = _opened(facts)
    turn = turn_of(facts.tokenizer, now, tools, eyes)
    return TemplateFold(facts, turn, turn_of(facts.tokenizer, chat.checked(before), tools, eyes) if before else None)


def _opened(facts: Facts) -> Eyes | None:
    try:
        return None if facts.eyes is None else facts.eyes()
    except WorkbenchError:
        return None
