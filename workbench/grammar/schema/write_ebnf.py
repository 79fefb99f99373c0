"""The rules of a schema as an EBNF grammar of JSON texts.

Every place in a text is a rule of its own that continues with the next, and states which characters may follow it (`(=...)`): so
a backend computes in advance which tokens fit there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.grammar.effort import spend
from workbench.grammar.language import Language, words
from workbench.grammar.schema.build import Schema
from workbench.grammar.schema.forms import Array, Form, Number, Object, String, Values
from workbench.grammar.schema.moves import START, Move, Moves, State, array_moves, merged, object_moves
from workbench.grammar.schema.write_language import BACKSLASH, CHAR, ESCAPE, States, quoted, spelled_char

LIMIT = "\x01"
"""Mark of a string whose characters a matcher counts. It replaces the content: this, then `<200>` for 200 characters. No JSON
text holds the character; with it a matcher reads the limit from the grammar."""
MAX_ALTERNATIVES = 64
INTEGER = '"-"? ("0" | [1-9] [0-9]*)'
FRACTION = '("." [0-9]+)? ([eE] [+\\-]? [0-9] [0-9]?)?'
"""Fraction and exponent. Exponents have at most two digits, which every reader's doubles hold."""


@dataclass(frozen=True)
class Style:
    """The separators of the parts of a JSON text."""

    max_whitespace: int = 0
    """White space characters allowed between two parts; 0 fixes the separators to ", " and ": "."""
    after: str | None = None
    """Characters that may follow the whole; None if they are unknown."""

    @property
    def space(self) -> str:
        return f"[ \\n\\r\\t]{{0,{self.max_whitespace}}} " if self.max_whitespace else ""

    @property
    def comma(self) -> str:
        return f'{self.space}"," {self.space}'.strip() if self.max_whitespace else '", "'

    @property
    def colon(self) -> str:
        return f'{self.space}":" {self.space}'.strip() if self.max_whitespace else '": "'

    def ahead(self, characters: str | None) -> str:
        """Returns an assertion about the characters behind a rule."""
        if characters is None:
            return ""
        if characters == self.after:
            return f" (={quoted(characters)})"
        return f" (=[{characters}])" if not self.max_whitespace else f" (=[ \\n\\r\\t{characters}])"


NEXT, COLON = r",}\]", ":"
"""Characters that follow a value inside an array or object, and those that follow a name."""


def schema_ebnf(schema: Schema, style: Style, root: str = "root") -> str:
    """Returns a grammar whose rule `root` is the schema; its other rules are named after it. The limits that `schema.has_limits`
    means are left to the matcher."""
    writer = _Writer(schema, style, root)
    writer.write()
    return "\n".join(f"{name} ::= {body}" for name, body in writer.rules.items())


class _Writer:
    def __init__(self, schema: Schema, style: Style, root: str) -> None:
        self.schema, self.style, self.root = schema, style, root
        self.possible = {i for i, forms in enumerate(schema.rules) if forms}
        self.rules: dict[str, str] = {}
        self.names: dict[Any, str] = {}
        self.written: list[Language] = []
        """Languages that `names` holds by identity. They are kept so that no other object gets the same id."""
        self.todo: list[tuple[int, str, str | None]] = []

    def write(self) -> None:
        self.rules[self.root] = ""
        self.todo.append((0, self.root, self.style.after))
        while self.todo:
            number, name, after = self.todo.pop()
            self.rules[name] = " | ".join(self.alternatives(self.schema.rules[number], name, after))

    def alternatives(self, forms: Iterable[Form], name: str, after: str | None) -> Iterable[str]:
        """Returns the forms of one rule. Several objects, or arrays, become one automaton if it is not too large."""
        arrays = [form for form in forms if isinstance(form, Array)]
        objects = [form for form in forms if isinstance(form, Object)]
        for i, form in enumerate(forms):
            if not isinstance(form, (Array, Object)):
                yield self.form(form, f"{name}_{i}", after)
        for kind, graphs, write in (
            ("a", [array_moves(form, self.possible) for form in arrays], self.array),
            ("o", [object_moves(form, self.possible) for form in objects], self.object),
        ):
            whole = merged(graphs) if len(graphs) > 1 else None
            for i, moves in enumerate(graphs if whole is None else [whole]):
                yield write(moves, f"{name}_{kind}{i}")

    def rule(self, number: int) -> str:
        """Returns the name of a rule for values inside arrays and objects."""
        if number not in self.names:
            self.names[number] = f"{self.root}_v{number}"
            self.rules[self.names[number]] = ""
            self.todo.append((number, self.names[number], NEXT))
        return self.names[number]

    def form(self, form: Form, name: str, after: str | None) -> str:
        spend(20)
        if isinstance(form, Values):
            return self.values(form, after)
        if isinstance(form, Number):
            return self.number(form, after)
        assert isinstance(form, String), form
        body = self.string(form.language, after)
        return f'"\\"" {body}' if form.limit is None else f'"\\"" ("{spelled_char(ord(LIMIT))}<{form.limit}>" | {body})'

    def common(self, key: tuple[Any, ...], body: str, after: str | None) -> str:
        """Returns the name of a rule that is written once for all places."""
        if (key, after) not in self.names:
            name = self.names[key, after] = f"{self.root}_c{len(self.names)}"
            self.rules[name] = f"({body.replace('@', name)}){self.style.ahead(after)}"
        return self.names[key, after]

    def number(self, form: Number, after: str | None) -> str:
        if form.language is not None:
            return self.language(form.language, after, in_string=False)
        if form.is_integer:
            return self.common(("integer",), INTEGER, after)
        return self.common(("number",), f"{INTEGER} {FRACTION}", after)

    def string(self, language: Language | None, after: str | None) -> str:
        """Returns the name of the rule for a string without its first quote."""
        if language is None:
            escape = self.common(("escape",), ESCAPE, None)
            return self.common(("string",), f'"\\"" | {CHAR} @ | {BACKSLASH} {escape} @', after)
        return self.language(language, after, in_string=True)

    def language(self, language: Language, after: str | None, *, in_string: bool) -> str:
        """Returns the name of the rule for a language: the content of a string with the second quote, or plain text."""
        key = (id(language), in_string, after)
        if key not in self.names:
            self.names[key] = f"{self.root}_l{len(self.names)}"
            self.written.append(language)
            States(self, language, self.names[key], after, self.style.ahead(after), in_string=in_string).write()
        return self.names[key]

    def array(self, moves: Moves, name: str) -> str:
        def part(move: Move, state: State) -> str:
            assert move.rule is not None
            return f"{'' if state == START else self.style.comma} {self.rule(move.rule)}"

        return f'"[" {self.style.space}{self.parts(moves, name, "]", part)}'

    def object(self, moves: Moves, name: str) -> str:
        def part(move: Move, state: State) -> str:
            return f"{self.style.comma if state[1] else ''} {self.property(move)}"

        return f'"{{" {self.style.space}{self.parts(moves, name, "}", part)}'

    def property(self, move: Move) -> str:
        """Returns the name of the rule for a name and its value. It is written once for all places: a backend's first mask at a
        place takes time in proportion to the whole grammar."""
        assert move.rule is not None
        key = ("property", move.name if isinstance(move.name, str) else id(move.name), move.rule)
        if key not in self.names:
            self.names[key] = f"{self.root}_p{len(self.names)}"
            text = quoted(json.dumps(move.name, ensure_ascii=False)) if isinstance(move.name, str) else ""
            text = text or f'"\\"" {self.string(move.name if isinstance(move.name, Language) else None, COLON)}'
            self.rules[self.names[key]] = f"{text} {self.style.colon} {self.rule(move.rule)}"
        return self.names[key]

    def parts(self, moves: Moves, name: str, end: str, part: Any) -> str:
        """Writes rules for the states of an array or object. Returns the name of the first."""
        names = {state: f"{name}_{i}" for i, state in enumerate(moves)}
        for state, stop in moves.items():
            spend(20)
            choices = [f'{self.style.space}"{end}"'] if stop.may_end else []
            choices += [names[move.to] if move.rule is None else f"{part(move, state)} {names[move.to]}" for move in stop.moves]
            self.rules[names[state]] = " | ".join(choices)
        return names[START]

    def values(self, form: Values, after: str | None) -> str:
        """Returns one of the values. Many strings are an automaton: as alternatives, a mask would try all of them for every
        token."""
        texts = [value for value in form.values if isinstance(value, str)]
        others = [value for value in form.values if not isinstance(value, str)] if len(texts) > MAX_ALTERNATIVES else form.values
        choices = [text for value in others for text in self.spellings(value)]
        if len(texts) > MAX_ALTERNATIVES:
            choices.append(f'"\\"" {self.language(words(texts), after, in_string=True)}')
        return " | ".join(choices)

    def spellings(self, value: Any) -> Iterable[str]:
        if isinstance(value, float) and value.is_integer():
            yield quoted(str(int(value)))
        yield self.fixed(value)

    def fixed(self, value: Any) -> str:
        """Returns one value, with this style's separators."""
        space = self.style.space
        if isinstance(value, list):
            return f'"[" {space}{f" {self.style.comma} ".join(map(self.fixed, value))} {space}"]"'
        if isinstance(value, dict):
            pairs = (f"{self.fixed(name)} {self.style.colon} {self.fixed(part)}" for name, part in value.items())
            return f'"{{" {space}{f" {self.style.comma} ".join(pairs)} {space}"}}"'
        return quoted(json.dumps(value, ensure_ascii=False))
