"""A language as rules of an EBNF grammar: each state is a rule that takes one character, or a fixed text, and goes on to another.

In a JSON string, characters that it cannot hold as they are come as escapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

from workbench.grammar.charsets import EVERYTHING, MARK, Ranges, intersection, without
from workbench.grammar.effort import spend
from workbench.grammar.language import Language

RAW: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, MARK - 1))
"""Characters that a JSON string holds without escapes."""
ASCII: Ranges = ((0, 0x7F),)
MUST_ESCAPE: Ranges = ((0, 0x1F), (34, 34), (92, 92))
MUST = r'[\"\\bfnrt] | "u00" [01] [0-9A-Fa-f]'
"""Escapes, without their backslash, of the characters that a JSON string cannot hold as they are."""
_HEX = "[0-9A-Fa-f]"
_PAIR = rf'[Dd] [89ABab] {_HEX} {_HEX} "\\u" [Dd] [C-Fc-f] {_HEX} {_HEX}'
ESCAPE = rf'[\"\\/bfnrt] | "u" ([0-9A-CE-Fa-ce-f] {_HEX} {_HEX} {_HEX} | [Dd] [0-7] {_HEX} {_HEX} | {_PAIR})'
"""One whole character as an escape, without its backslash: half a character is no text, though its escape is JSON."""
BACKSLASH = '"\\\\"'
"""Stands before the rule of an escape: a rule that begins with it would be tried for every character of a token."""
CHAR = r"[^\0-\u001f\"\\\ud800-\udfff\U0010ffff]"
SHORT_CLASS = 24
"""A class of characters that is longer as text is a rule of its own, which all its places share."""


class RuleWriter(Protocol):
    """The grammar that the rules are part of."""

    rules: dict[str, str]

    def common(self, key: tuple[Any, ...], body: str, after: str | None) -> str:
        """Returns the name of a rule that is written once for all places."""

    def string(self, language: Language | None, after: str | None) -> str:
        """Returns the name of the rule for a string without its first quote."""


class States:
    """Writes a language as rules, one for each state, except states that only go on to one other."""

    def __init__(
        self, grammar: RuleWriter, language: Language, name: str, after: str | None, ahead: str, *, in_string: bool
    ) -> None:
        """Reads the states. `ahead` asserts the text `after` the language."""
        self.grammar, self.language, self.name = grammar, language, name
        self.after, self.ahead, self.in_string = after, ahead, in_string
        self.moves = [language.moves(state) for state in range(len(language.rows))]
        self.names: dict[int, str] = {}
        self.todo: list[int] = []

    def write(self) -> None:
        """Adds the rules to the grammar."""
        self.names[0] = self.name
        self.todo.append(0)
        while self.todo:
            state = self.todo.pop()
            self.grammar.rules[self.names[state]] = f"({' | '.join(self.choices(state))}){self.ahead}"

    def choices(self, state: int) -> Iterable[str]:
        spend(20)
        if self.language.final[state]:
            yield '"\\""' if self.in_string else '""'
        for target, ranges in self.moves[state].items():
            text, at = self.run(target, ranges)
            if text:
                yield f"{quoted(self.escaped(text))} {self.goto(at)}"
                continue
            first, *others = (f"{piece} {self.goto(target)}" for piece in self.one_of(ranges))
            yield first
            if len(others) > 1 and self.is_any(target):
                rest = " | ".join(others)
                others = [self.grammar.common(("rest", rest), rest, None)]  # what all places share makes a grammar small
            yield from others

    def run(self, at: int, ranges: Ranges) -> tuple[str, int]:
        """Returns the fixed text that begins with a move, and the state behind it; no text where the move is a choice."""
        text, seen = "", set()
        while len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            text += chr(ranges[0][0])
            if self.language.final[at] or len(self.moves[at]) != 1 or at in seen:
                break
            seen.add(at)
            ((following, ranges),) = self.moves[at].items()
            if len(ranges) > 1 or ranges[0][0] != ranges[0][1]:
                break
            at = following
        return text, at

    def escaped(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False)[1:-1] if self.in_string else text

    def is_any(self, state: int) -> bool:
        """Returns whether any characters of a string may follow a state."""
        return self.in_string and self.language.final[state] and self.moves[state] == {state: EVERYTHING}

    def goto(self, state: int) -> str:
        if self.is_any(state):
            return self.grammar.string(None, self.after)
        if state not in self.names:
            self.names[state] = f"{self.name}_{len(self.names)}"
            self.todo.append(state)
        return self.names[state]

    def one_of(self, ranges: Ranges) -> Iterable[str]:
        """Yields expressions for one character of a set, as it stands in a JSON string or by itself."""
        if not self.in_string:
            yield char_class(ranges)
            return
        raw = intersection(ranges, RAW)
        if in_ascii := intersection(raw, ASCII):
            yield char_class(in_ascii)
        if beyond := without(raw, ASCII):  # a rule that all places share: most of a grammar would be this
            text = char_class(beyond)
            yield text if len(text) <= SHORT_CLASS else self.grammar.common(("class", beyond), text, None)
        if ranges == EVERYTHING:
            yield f"{BACKSLASH} {self.grammar.common(('escape',), ESCAPE, None)}"
        elif escaped := intersection(ranges, MUST_ESCAPE):
            codes = (code for low, high in escaped for code in range(low, high + 1))
            body = MUST if escaped == MUST_ESCAPE else " | ".join(quoted(json.dumps(chr(code))[2:-1]) for code in codes)
            yield f"{BACKSLASH} {self.grammar.common(('escape', escaped), body, None)}"


def quoted(text: str) -> str:
    """Returns a text as EBNF writes it. Raises ValueError for half a character."""
    text.encode()
    return f'"{"".join(map(spelled_char, map(ord, text)))}"'


def char_class(ranges: Ranges) -> str:
    return (
        f"[{''.join(spelled_char(low) if low == high else f'{spelled_char(low)}-{spelled_char(high)}' for low, high in ranges)}]"
    )


def spelled_char(code: int) -> str:
    char = chr(code)
    if char.isascii() and (char.isalnum() or char in " _:,.{}"):
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
