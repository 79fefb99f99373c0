"""The rules of a schema as one regular expression, for backends that support regular languages only.

Arrays, objects and strings are automata, from which states are removed one by one until only an expression is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.charsets import EVERYTHING, Ranges, intersection
from workbench.grammar.effort import TooLarge
from workbench.grammar.language import Language
from workbench.grammar.regex import literal, plain_regex
from workbench.grammar.schema.build import Schema
from workbench.grammar.schema.forms import Array, Form, Number, String, Values
from workbench.grammar.schema.moves import START, Move, Moves, array_moves, object_moves
from workbench.grammar.schema.source import FIELD
from workbench.grammar.schema.write_language import MUST_ESCAPE, RAW

MAX_CHARS, MAX_STATES, MAX_ESCAPED = 1 << 20, 400, 16
"""Limits of an expression. References are written out at their place, which can double it each time. Strings that count to more
than the last limit hold no escapes: outlines-core takes minutes for an alternative that is counted."""
_HEX = "[0-9a-fA-F]"
ESCAPE = rf"\u005c(?:[\u0022\u005c\u002fbfnrt]|u(?:[0-9a-ce-fA-CE-F]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}}))"
"""An escape that is a whole character."""
MUST = r"\u005c(?:[\u0022\u005cbfnrt]|u00[01][0-9a-fA-F])"
INTEGER, NUMBER = "-?(?:0|[1-9][0-9]*)", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
Edges = dict[int, dict[int, str]]


def schema_regex(schema: Schema, max_whitespace: int = 0, whitespace_pattern: str | None = None) -> str:
    """Writes a schema in the constructs of `plain_regex`. Between two parts stands up to `max_whitespace` white space, or a match
    of the pattern; with neither, separators are ", " and ": ".

    Raises NotSupported for a schema that is not regular, or has too many states to be written as an expression.
    """
    space = None
    if whitespace_pattern is not None:
        space = f"(?:{plain_regex(whitespace_pattern, field='constrained_json_whitespace_pattern')})"
    elif max_whitespace:
        space = rf"[\u0020\u000a\u0009]{{0,{max_whitespace}}}"
    return _Writer(schema, space).rule(0, ())


class _Writer:
    def __init__(self, schema: Schema, space: str | None) -> None:
        self.schema = schema
        self.possible = {i for i, forms in enumerate(schema.rules) if forms}
        self.comma = ", " if space is None else f"{space},{space}"
        self.colon = ": " if space is None else f"{space}:{space}"
        self.pad = space or ""
        self.num_chars = 0

    def rule(self, number: int, inside: tuple[int, ...]) -> str:
        """Writes one rule. `inside` holds the rules that are being written out."""
        if number in inside:
            raise refused("a value that may hold itself, or any JSON value,")
        text = _either(self.form(form, (*inside, number)) for form in self.schema.rules[number])
        self.num_chars += len(text)
        if self.num_chars > 16 * MAX_CHARS or len(text) > MAX_CHARS:
            raise InvalidRequest(FIELD, f"a schema of more than {MAX_CHARS:,} characters written out", "smaller")
        return text

    def form(self, form: Form, inside: tuple[int, ...]) -> str:
        if isinstance(form, Values):
            return _either(map(self.fixed, form.values))
        if isinstance(form, Number):
            if form.language is None:
                return INTEGER if form.is_integer else NUMBER
            return language_regex(form.language, in_string=False)
        if isinstance(form, String):
            return self.string(form)
        if isinstance(form, Array):
            return rf"\[{self.pad}{self.parts(array_moves(form, self.possible), inside)}{self.pad}\]"
        return rf"\{{{self.pad}{self.parts(object_moves(form, self.possible), inside)}{self.pad}\}}"

    def string(self, form: String) -> str:
        try:
            language = form.exact
        except TooLarge as error:
            raise refused(f"maxLength {form.limit} ({error})") from None
        if language is None:
            return f'"(?:{_either([_class(RAW), ESCAPE])})*"'
        return f'"{language_regex(language, in_string=True)}"'

    def parts(self, moves: Moves, inside: tuple[int, ...]) -> str:
        number = {state: i for i, state in enumerate(moves)}
        edges: Edges = {i: {} for i in number.values()}
        for state, stop in moves.items():
            for move in stop.moves:
                is_first = state == START or (move.is_property and state[1] == 0)
                text = "" if move.rule is None else ("" if is_first else self.comma) + self.part(move, inside)
                at = edges[number[state]]
                at[number[move.to]] = _either([at[number[move.to]], text]) if number[move.to] in at else text
        return automaton_regex(number[START], edges, {number[state] for state, stop in moves.items() if stop.may_end})

    def part(self, move: Move, inside: tuple[int, ...]) -> str:
        assert move.rule is not None
        value = self.rule(move.rule, inside)
        if isinstance(move.name, str):
            return f"{self.fixed(move.name)}{self.colon}{value}"
        return f"{self.string(String(move.name))}{self.colon}{value}" if move.is_property else value

    def fixed(self, value: Any) -> str:
        """Writes one value as JSON, with this writer's separators."""
        if isinstance(value, list):
            return rf"\[{self.pad}" + self.comma.join(map(self.fixed, value)) + rf"{self.pad}\]"
        if isinstance(value, dict):
            pairs = (f"{self.fixed(name)}{self.colon}{self.fixed(item)}" for name, item in value.items())
            return rf"\{{{self.pad}{self.comma.join(pairs)}{self.pad}\}}"
        return literal(json.dumps(value, ensure_ascii=False))


def refused(what: str) -> NotSupported:
    return NotSupported(
        f"{FIELD}: {what} cannot be enforced by the grammar backend outlines", hint='load with grammar_backend="xgrammar"'
    )


def language_regex(language: Language, *, in_string: bool) -> str:
    """Writes a language of plain texts, or of the content of JSON strings."""
    if len(language.rows) > MAX_STATES:
        raise refused(f"a text of {len(language.rows):,} states")
    if (counts := language.counts) is not None:
        low, high = counts
        is_long = in_string and max(low, high or 0) > MAX_ESCAPED
        one = _class(RAW) if is_long else _one_of(EVERYTHING, in_string=in_string)
        return f"(?:{one}){{{low},{'' if high is None else high}}}"
    edges = {
        state: {target: _one_of(ranges, in_string=in_string) for target, ranges in language.moves(state).items()}
        for state in range(len(language.rows))
    }
    return automaton_regex(0, edges, {state for state, is_final in enumerate(language.final) if is_final})


def automaton_regex(start: int, edges: Mapping[int, Mapping[int, str]], ends: Iterable[int]) -> str:
    """Writes the texts along the edges from `start` to one of `ends` as one expression."""
    first, last = -1, -2
    out: dict[int, dict[int, str]] = {state: dict(to) for state, to in edges.items()}
    out[first] = {start: ""}
    out[last] = {}
    for end in ends:
        out[end][last] = ""
    into: dict[int, set[int]] = {state: set() for state in out}
    for state, to in out.items():
        for target in to:
            into[target].add(state)
    left = set(edges)
    while left:
        state = min(left, key=lambda state: (len(into[state] - {state}) * len(out[state]), state))
        left.remove(state)
        to = out.pop(state)
        loop = f"(?:{to.pop(state)})*" if state in to else ""
        for source in into.pop(state) - {state}:
            head = out[source].pop(state) + loop
            for target, tail in to.items():
                text = head + tail
                out[source][target] = _either([out[source][target], text]) if target in out[source] else text
                into[target].add(source)
                if len(text) > MAX_CHARS:
                    raise refused("what is longer than a million characters as a regular expression")
        for target in to:
            into[target].discard(state)
    return out[first].get(last, "")


def _either(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(texts))
    if "" in found:
        some = [text for text in found if text]
        return f"(?:{_either(some)})?" if some else ""
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"


def _one_of(ranges: Ranges, *, in_string: bool) -> str:
    if not in_string:
        return _class(ranges)
    raw, escaped = intersection(ranges, RAW), intersection(ranges, MUST_ESCAPE)
    texts = [_class(raw)] if raw else []
    if ranges == EVERYTHING:
        texts.append(ESCAPE)
    elif escaped == MUST_ESCAPE:
        texts.append(MUST)
    else:
        texts += [literal(json.dumps(chr(code))[1:-1]) for low, high in escaped for code in range(low, high + 1)]
    return _either(texts)


def _class(ranges: Ranges) -> str:
    spelled = [(literal(chr(low)), literal(chr(high))) for low, high in ranges]
    if len(spelled) == 1 and spelled[0][0] == spelled[0][1]:
        return spelled[0][0]
    return f"[{''.join(low if low == high else f'{low}-{high}' for low, high in spelled)}]"
