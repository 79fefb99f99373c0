"""Output tokens folded from the event log, and how each came about: free, constrained, forced or overruled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from workbench.events import Event, TokenDetail, TokenSampled
from workbench.html.escape import visible
from workbench.html.parts import duration
from workbench.types import GrammarSpec

Kind = Literal["free", "constrained", "forced", "overruled"]
SAYS: dict[Kind, str] = {
    "free": "no constraint",
    "constrained": "chosen among what the constraint allows",
    "forced": "the constraint left no other text, and no step was spent on it",
    "overruled": "the constraint forbade the model's first choice",
}


class OutputToken(msgspec.Struct, frozen=True, gc=False):
    """One output token. `gc=False`: a garbage collector that walks through tens of thousands stops the engine meanwhile."""

    position: int
    token_id: int
    is_constrained: bool = False
    num_allowed: int | None = None
    """Tokens that the constraint allowed; None without one, for a forced token, and where the log does not hold it any more."""
    forced: bool = False
    latency_s: float | None = None
    """Seconds since the token before it; None for the first in the log."""
    detail: TokenDetail | None = None

    @property
    def kind(self) -> Kind:
        """Kind of the token. Only with token detail is it known which were overruled."""
        if self.forced:
            return "forced"
        if self.detail is not None and self.detail.overruled:
            return "overruled"
        return "constrained" if self.is_constrained else "free"

    def words(self, name: Callable[[int], str]) -> str:
        """Describes in one line what is known of the token; `name` returns the text of a token."""
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
"""Character that joins the emoji on both sides to one."""
MAX_PENDING = {False: 4, True: 8}
"""Most tokens of one character, without and with a joiner before it."""


class Pieces:
    """The text that each token adds, in order. A token that completes no character adds ""; the next that does adds all.

    Each piece is decoded behind the one before it, since some decoders treat the first token of a text differently. Emoji
    that are joined to one belong to the token of the first.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.texts: list[str] = []
        self.first_changed = 0
        """Place of the first text that the last call of `add` changed."""
        self._decode = decode
        self._before: list[int] = []
        self._pending: list[int] = []

    def add(self, token_id: int) -> None:
        """Adds a token at the end."""
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
        """Returns all texts; an unfinished character at the end is in the last one, as it looks so far."""
        return [*self.texts[:-1], self._pending_text()] if self._pending else list(self.texts)

    def _pending_text(self) -> str:
        return self._decode(self._before + self._pending)[len(self._decode(self._before)) :]


def _are_joined(before: str, after: str) -> bool:
    """Returns whether an emoji goes on from one text to the next: a joiner is visible only where it joins nothing."""
    near = before.endswith(JOINER) or after.startswith(JOINER)
    return near and visible(before + after) != visible(before) + visible(after)


def token_pieces(decode: Callable[[list[int]], str], ids: Sequence[int]) -> tuple[str, ...]:
    """Returns the text that each of these tokens adds."""
    pieces = Pieces(decode)
    for token_id in ids:
        pieces.add(token_id)
    return tuple(pieces.all())


@dataclass(slots=True, eq=False)
class ShownOutput:
    """The output of one request so far."""

    rid: str
    grammar: GrammarSpec | None = None
    tokens: list[OutputToken] = field(default_factory=list)
    last_s: float | None = None
    """Time of the last token."""
    finish: str = ""
    """Why it ended; empty while it runs."""
    detail_s: float | None = None
    """Seconds that token detail took; None where it was off all the time."""
    pictures: tuple[int, ...] = ()
    """Numbers of its prompt's pictures."""

    def add(self, event: TokenSampled) -> None:
        """Adds the event's token at its position and drops all behind it."""
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


def output_of(events: Iterable[Event], rid: str) -> ShownOutput:
    """Returns the output of a request, folded from its events."""
    output = ShownOutput(rid)
    for event in events:
        if isinstance(event, TokenSampled) and event.rid == rid:
            output.add(event)
    return output


def percent(share: float) -> str:
    """Writes a share in percent; only none is 0 % and only all is 100 %."""
    if math.isnan(share):
        return "unknown"
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{share:.1%}".replace("%", " %").replace(".0 ", " ")


def quote(text: str) -> str:
    """Quotes a text with a mark that it does not hold. White space is written as in Python."""
    if not text.strip() or "\n" in text:
        return repr(text)
    return f'"{text}"' if '"' not in text else f"'{text}'" if "'" not in text else f"`{text}`"
