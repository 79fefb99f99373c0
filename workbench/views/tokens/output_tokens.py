"""Output tokens as the event log tells of them, and how each came about: free, constrained, forced or overruled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from workbench.events import Event, TokenDetail, TokenSampled
from workbench.html.escape import to_html, visible
from workbench.html.parts import duration
from workbench.types import GrammarSpec

Kind = Literal["free", "constrained", "forced", "overruled"]
SAYS: dict[Kind, str] = {
    "free": "no constraint",
    "constrained": "chosen among what the constraint allows",
    "forced": "the constraint left no other text, and no step was spent on it",
    "overruled": "the constraint forbade the model's first choice",
}
TAGS: dict[Kind, tuple[str, str]] = {
    "free": ("span", ""), "constrained": ("span", "wb-con"), "forced": ("i", ""), "overruled": ("b", "wb-over"),
}  # fmt: skip


class OutputToken(msgspec.Struct, frozen=True, gc=False):
    """`gc=False`: views keep tens of thousands, and a collector that walks through them stands in an engine's way."""

    position: int
    token_id: int
    is_constrained: bool = False
    num_allowed: int | None = None
    """By the constraint; None without one, where the token is forced, and where nobody knows any more."""
    forced: bool = False
    latency_s: float | None = None
    """Since the token before it; None for the first that is known."""
    detail: TokenDetail | None = None

    @property
    def kind(self) -> Kind:
        """Without token detail nobody knows what was overruled."""
        if self.forced:
            return "forced"
        if self.detail is not None and self.detail.overruled:
            return "overruled"
        return "constrained" if self.is_constrained else "free"

    def words(self, name: Callable[[int], str]) -> str:
        """What is known of it, in one line; `name` gives the text of a token."""
        facts = [] if self.forced or self.num_allowed is None else [f"{self.num_allowed:,} allowed"]
        if self.forced:
            facts.append("forced")
        if (detail := self.detail) is not None:
            facts += [f"{percent(detail.probability)}, rank {detail.rank:,}", f"entropy {detail.entropy:.2f} nats"]
            if detail.drawn != self.token_id:
                facts.append(f"drawn as {quote(name(detail.drawn))}")
            if detail.after:
                facts.append(f"{percent(detail.removed)} removed by the mask")
            if detail.overruled:
                first, share = detail.before[0]
                facts.append(f"the model wanted {quote(name(first))} ({percent(share)})")
        if self.latency_s is not None:
            facts.append(duration(self.latency_s))
        return "; ".join(facts)


JOINER = "\u200d"
"""Makes one emoji of the two beside it."""
MAX_PENDING = {False: 4, True: 8}
"""Tokens that one character may take; with a joiner before it."""


class Pieces:
    """The text each token adds, in order. A token that completes no character adds "", the next that does adds it all.

    Each piece is decoded behind the one before it, since some decoders treat the first token of a text otherwise. Emoji that
    are joined to one stand where the first of them does.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.texts: list[str] = []
        self.first_changed = 0
        """Place of the first text that the last token changed."""
        self._decode = decode
        self._before: list[int] = []
        self._pending: list[int] = []

    def add(self, token_id: int) -> None:
        self._pending.append(token_id)
        self.texts.append("")
        self.first_changed = len(self.texts) - 1
        text = self._pending_text()
        if text.endswith(("\ufffd", JOINER)) and len(self._pending) < MAX_PENDING[JOINER in text]:
            return
        self._before, self._pending = self._pending, []
        before = next((i for i in range(self.first_changed, -1, -1) if self.texts[i]), self.first_changed)
        if _are_joined(self.texts[before], text):
            self.first_changed = before
        self.texts[self.first_changed] += text

    def all(self) -> list[str]:
        """With what an unfinished character at the end looks like."""
        return [*self.texts[:-1], self._pending_text()] if self._pending else list(self.texts)

    def _pending_text(self) -> str:
        return self._decode(self._before + self._pending)[len(self._decode(self._before)) :]


def _are_joined(before: str, after: str) -> bool:
    """Whether an emoji goes on from one text to the next: a joiner can be seen where none is inside."""
    near = before.endswith(JOINER) or after.startswith(JOINER)
    return near and visible(before + after) != visible(before) + visible(after)


def token_pieces(decode: Callable[[list[int]], str], ids: Sequence[int]) -> tuple[str, ...]:
    """The text each of these tokens adds."""
    pieces = Pieces(decode)
    for token_id in ids:
        pieces.add(token_id)
    return tuple(pieces.all())


@dataclass(slots=True, eq=False)
class Output:
    """What one request has produced so far."""

    rid: str
    grammar: GrammarSpec | None = None
    tokens: list[OutputToken] = field(default_factory=list)
    last_s: float | None = None
    """When the last token came."""
    finish: str = ""
    """Why it ended, once it has."""
    detail_s: float | None = None
    """What token detail cost; None where it was off all the time."""

    def add(self, event: TokenSampled) -> None:
        """The event's token stands at its position, and none behind it."""
        del self.tokens[event.position :]
        latency_s = None if self.last_s is None else event.time - self.last_s
        is_constrained = self.grammar is not None or event.num_allowed is not None
        self.tokens.append(
            OutputToken(event.position, event.token_id, is_constrained, event.num_allowed, event.forced, latency_s, event.detail)
        )
        self.last_s = event.time
        if event.detail is not None:
            self.detail_s = (self.detail_s or 0.0) + event.detail.cost_s

    @property
    def ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]


def output_of(events: Iterable[Event], rid: str) -> Output:
    """Folded from the event log: what the request produced."""
    output = Output(rid)
    for event in events:
        if isinstance(event, TokenSampled) and event.rid == rid:
            output.add(event)
    return output


def marked_token(text: str, kind: Kind, note: str = "", extra: str = "") -> str:
    """One token as HTML, its kind as a mark that needs no hue; `extra` is a class more."""
    tag, name = TAGS[kind]
    names = " ".join(filter(None, (name, extra)))
    title = f' title="{to_html(note)}"' if note else ""
    named = f' class="{names}"' if names else ""
    return f"<{tag}{named}{title}>{to_html(text)}</{tag}>"


def legend(kinds: Iterable[Kind]) -> str:
    """What the marks mean, of the kinds that occur; nothing where all is free."""
    found = list(kinds)
    counts = {kind: found.count(kind) for kind in SAYS}
    if counts["free"] == len(found):
        return ""
    keys = [f"<span>{marked_token(kind, kind)}: {SAYS[kind]} ({num:,})</span>" for kind, num in counts.items() if num]
    return f'<p class="wb-soft wb-kinds">{" ".join(keys)}</p>'


def percent(share: float) -> str:
    """Never 100 % or 0 % of what is not."""
    if math.isnan(share):
        return "unknown"
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{share:.1%}".replace("%", " %").replace(".0 ", " ")


def quote(text: str) -> str:
    """In the quotes that it does not hold itself; white space as it is written in Python."""
    if not text.strip() or "\n" in text:
        return repr(text)
    return f'"{text}"' if '"' not in text else f"'{text}'" if "'" not in text else f"`{text}`"
