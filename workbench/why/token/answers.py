"""The answers about one place of a constrained text: why a token may come or not, what may come, how far a text fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.html.escape import to_html, visible
from workbench.html.parts import plural, table
from workbench.types import GrammarSpec
from workbench.why.answer import TAIL, Answer, Token
from workbench.why.marked_text import line_with_carets, marked
from workbench.why.token.place import Place
from workbench.why.words import either, quoted

MAX_SOURCE = 4000
"""Longest source of a constraint, in characters, that is shown around its marks."""


@dataclass(frozen=True, repr=False)
class Why(Answer):
    """The answer why a token may, or may not, come after `text`."""

    spec: GrammarSpec
    text: str
    token: Token
    allowed: bool
    num_fit: int
    """Bytes of the token that fit, from its first."""
    num_bytes: int
    expected: tuple[str, ...]
    """The texts that may stand at the byte where it breaks, or after the token if it fits, in words."""
    nearest: tuple[Token, ...]
    """Allowed tokens that are most like it; empty if it is allowed."""
    num_allowed: int
    place: Place | None
    is_stop: bool = False
    """True if it is a token that ends the text."""
    step: int | None = None
    """The output position in a request; None for a text."""
    chosen: Token | None = None
    """The token that the request has there."""

    @property
    def fits(self) -> str:
        """The part of the token before the byte where it breaks."""
        return self.token.text.encode()[: self.num_fit].decode("utf-8", "ignore")

    @property
    def sentence(self) -> str:
        """The whole answer in one sentence."""
        where = f" at step {self.step}" if self.step is not None else f" after {quoted(self.text[-TAIL:])}" if self.text else ""
        came = f" What came there is {self.chosen}." if self.chosen is not None and self.chosen != self.token else ""
        if self.allowed:
            others = f"so are {self.num_allowed - 1:,} other tokens" if self.num_allowed > 1 else "no other token is"
            return (
                f"{self.token} is allowed{where}; {others if self.token.token_id is not None else 'it is no single token'}{came}."
            )
        return f"{self.token} is not allowed{where}: {self._reason()}{self._in_place()}{self._nearest()}.{came}"

    def _reason(self) -> str:
        wanted = either(self.expected)
        if self.is_stop:
            return f"the text may not end there, {wanted} must come"
        if self.num_fit == self.num_bytes:
            return "it is a special token, whose text is no part of the output"
        byte = f"its byte {self.num_fit}"
        before = f", after {quoted(self.fits)}," if self.fits else ""
        return f"it breaks at {byte}{before} where {wanted} is expected"

    def _in_place(self) -> str:
        return f" ({self.place.words})" if self.place is not None else ""

    def _nearest(self) -> str:
        return f". Nearest that are: {', '.join(map(str, self.nearest))}" if self.nearest else ""

    def to_text(self) -> str:
        shown = [visible(self.sentence)]
        if not self.allowed and not self.is_stop:
            at = len(self.text) + len(self.fits)
            shown.append(line_with_carets(self.text + self.token.text, [(at, at + 1)]))
        return "\n".join([*shown, *_source_text(self.spec, self.place)])

    def body(self) -> str:
        at = len(self.text) + len(self.fits)
        whole = self.text + self.token.text
        span, kind = ((len(self.text), len(whole)), "fine") if self.allowed else ((at, len(whole)), "bad")
        drawn = f'<div class="wb-text">{marked(whole, [span], kind)}</div>'
        rows = [
            ("broken at", "" if self.allowed else f"byte {self.num_fit} of {self.num_bytes}"),
            ("then" if self.allowed else "expected", either(self.expected)),
            ("nearest", ", ".join(f"{token} ({token.token_id})" for token in self.nearest)),
            ("allowed there", plural(self.num_allowed, "token")),
            ("came there", "" if self.chosen is None else str(self.chosen)),
        ]
        facts = table((), [row for row in rows if row[1]])
        return f"<p>{to_html(self.sentence)}</p>{drawn}{facts}{_source_html(self.spec, self.place)}"


@dataclass(frozen=True, repr=False)
class Replay(Answer):
    """The answer how far a stored text follows its constraint."""

    spec: GrammarSpec
    text: str
    fits: bool
    """True if every character is allowed at its place."""
    is_complete: bool
    """True if it fits and may end where it ends."""
    num_fit: int
    """Characters before the first that is not allowed."""
    expected: tuple[str, ...]
    """The texts that may stand there, or at its end, in words."""
    place: Place | None
    hint: str = ""

    @property
    def line(self) -> int:
        """The line of the character at which it breaks, from 1."""
        return self.text.count("\n", 0, self.num_fit) + 1

    @property
    def column(self) -> int:
        return self.num_fit - self.text.rfind("\n", 0, self.num_fit)

    @property
    def sentence(self) -> str:
        if self.is_complete:
            return f"The text satisfies the constraint: all of its {plural(self.num_fit, 'character')}."
        where = f" ({self.place.words})" if self.place is not None else ""
        wanted = either(self.expected)
        if self.fits:
            return f"The text fits but is incomplete: after {plural(self.num_fit, 'character')} {wanted} must follow{where}."
        at = f"character {self.num_fit} (line {self.line}, column {self.column})"
        return f"The text breaks the constraint: {quoted(self.text[self.num_fit])} at {at}, where {wanted} is expected{where}."

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"line": self.line, "column": self.column}

    def to_text(self) -> str:
        shown = [visible(self.sentence), *([self.hint] if self.hint else [])]
        if not self.is_complete:
            shown.append(line_with_carets(self.text, [(self.num_fit, self.num_fit + 1)]))
        return "\n".join([*shown, *(() if self.is_complete else _source_text(self.spec, self.place))])

    def body(self) -> str:
        at, kind = self.num_fit, "fine" if self.is_complete else "bad" if not self.fits else "here"
        span = (0, len(self.text)) if self.is_complete else (at, at + 1) if not self.fits else (at, at)
        hint = f'<p class="wb-soft">{to_html(self.hint)}</p>' if self.hint else ""
        source = "" if self.is_complete else _source_html(self.spec, self.place)
        drawn = f'<div class="wb-text">{marked(self.text, [span], kind)}</div>'
        return f"<p>{to_html(self.sentence)}</p>{hint}{drawn}{source}"


@dataclass(frozen=True, repr=False)
class Allowed(Answer):
    """The tokens that may come after `text`."""

    spec: GrammarSpec
    text: str
    tokens: tuple[Token, ...]
    is_end: bool
    """True if the text may end there."""
    expected: tuple[str, ...]
    place: Place | None

    @property
    def sentence(self) -> str:
        where = f" after {quoted(self.text[-TAIL:])}" if self.text else ""
        place = f" ({self.place.words})" if self.place is not None else ""
        return f"{plural(len(self.tokens), 'token')} may come{where}{place}: {either(self.expected)}."

    def to_text(self) -> str:
        more = f" and {len(self.tokens) - 20:,} more" if len(self.tokens) > 20 else ""
        return "\n".join([visible(self.sentence), visible(", ".join(map(str, self.tokens[:20])) + more)])

    def body(self) -> str:
        pieces = "".join(f"<span>{to_html(token.text)}</span> " for token in self.tokens[:200])
        more = f'<span class="wb-soft">and {len(self.tokens) - 200:,} more</span>' if len(self.tokens) > 200 else ""
        return f'<p>{to_html(self.sentence)}</p><div class="wb-text wb-tok">{pieces}{more}</div>'


def _source_text(spec: GrammarSpec, place: Place | None) -> list[str]:
    if place is None or not place.spans:
        return []
    first = min(place.spans)
    line = slice(spec.text.rfind("\n", 0, first[0]) + 1, (spec.text + "\n").index("\n", first[0]))
    return [line_with_carets(spec.text, [span for span in place.spans if line.start <= span[0] < line.stop])]


def _source_html(spec: GrammarSpec, place: Place | None) -> str:
    if place is None or not place.spans or len(spec.text) > MAX_SOURCE:
        return ""
    named = {"regex": "The pattern", "ebnf": "The grammar"}.get(spec.kind, "The constraint")
    drawn = f'<div class="wb-text">{marked(spec.text, place.spans, "here")}</div>'
    return f'<p class="wb-soft">{named}, with what takes the next character</p>{drawn}'
