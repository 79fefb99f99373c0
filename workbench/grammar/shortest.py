"""Computes how much fixed text a grammar demands, to refuse rules without an end, or with one that is too far away.

A backend writes down all the text that must come next. For `root ::= "a" root`, and for a schema that requires itself, that text
has no end and takes all of the memory.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any

import msgspec

from workbench.errors import InvalidRequest
from workbench.types import GrammarSpec

MAX_FIXED = 1 << 17
"""Largest number of bytes in a row that an alternative may demand."""
MAX_RECURSIVE = 1 << 12
"""The same for a rule that leads to itself, since a long text can have as many of these open."""
BYTES, CLASS, REF, SEQUENCE, CHOICES, REPEAT = 0, 1, 4, 5, 6, 8
"""Kinds of expressions in xgrammar's own form. Others (repeated classes, free text, nothing) demand no text."""


class _Form(msgspec.Struct):
    """The part of `xgrammar.Grammar.serialize_json` that is read here."""

    rules: list[tuple[Any, ...]]
    """(name, number of its expression, ...)"""
    grammar_expr_data: list[int]
    """Kind of each expression, the number of its parts, its parts."""
    grammar_expr_indptr: list[int]


def check_lengths(grammar: Any, spec: GrammarSpec) -> None:
    """Raises InvalidRequest about `spec` if a rule of an `xgrammar.Grammar` has no end, or none within reach."""
    rules = _Rules(msgspec.json.decode(grammar.serialize_json(), type=_Form))
    numbers = range(len(rules.names))
    endless = next((rule for rule in numbers if rules.shortest[rule] == math.inf and rules.is_recursive(rule)), None)
    if endless is not None:
        limit = f"a constraint with an end ({_named(spec, rules.names[endless])} has none)"
        hint = "it always requires itself: make that optional, or give it an alternative"
        raise InvalidRequest(spec.kind, spec.text, limit, hint=hint)
    for rule in numbers:
        demand = rules.demand(rule)
        if demand > MAX_FIXED or (demand > MAX_RECURSIVE and rules.is_recursive(rule)):
            most = MAX_FIXED if demand > MAX_FIXED else MAX_RECURSIVE
            limit = f"at most {most:,} bytes of fixed text in a row ({_named(spec, rules.names[rule])} has {demand:,})"
            raise InvalidRequest(spec.kind, spec.text, limit, hint="write shorter texts, or smaller counts")


def _named(spec: GrammarSpec, rule: str) -> str:
    """Describes a rule for a message. In kinds other than EBNF the backend named it: `defs_Node` for a definition, `root_prop_0`
    for a property."""
    return f"its {'rule' if spec.kind in ('ebnf', 'grammar') else 'part'} `{rule}`"


class _Rules:
    def __init__(self, form: _Form) -> None:
        self._form = form
        self.names = [rule[0] for rule in form.rules]
        self._bodies = [rule[1] for rule in form.rules]
        self._users: dict[int, set[int]] = defaultdict(set)
        for rule, body in enumerate(self._bodies):
            for used in self._used(body):
                self._users[used].add(rule)
        self.shortest: list[float] = [math.inf] * len(self.names)
        """Bytes of fixed text that every text of a rule holds; infinite if it has no end."""
        todo = deque(reversed(range(len(self.names))))
        while todo:
            rule = todo.popleft()
            length = self._length(self._bodies[rule])
            if length < self.shortest[rule]:
                self.shortest[rule] = length
                todo += self._users[rule]

    def demand(self, rule: int) -> int:
        """Returns the fixed text of its longest alternative, in bytes."""
        kind, parts = self._expression(self._bodies[rule])
        return int(max(map(self._length, parts if kind == CHOICES else [self._bodies[rule]])))

    def is_recursive(self, rule: int) -> bool:
        found: set[int] = set()
        todo = [rule]
        while todo:
            users = self._users[todo.pop()] - found
            found |= users
            todo += users
        return rule in found

    def _expression(self, number: int) -> tuple[int, list[int]]:
        data, at = self._form.grammar_expr_data, self._form.grammar_expr_indptr[number]
        return data[at], data[at + 2 : at + 2 + data[at + 1]]

    def _length(self, number: int) -> float:
        kind, parts = self._expression(number)
        if kind == BYTES:
            return len(parts)
        if kind == REF:
            return self.shortest[parts[0]]
        if kind == SEQUENCE:
            return sum(map(self._length, parts))
        if kind == CHOICES:
            return min(map(self._length, parts))
        if kind == REPEAT:
            rule, low, _ = parts
            return low * self.shortest[rule] if low else 0
        return int(kind == CLASS and parts[1:2] == parts[2:])  # one character

    def _used(self, number: int) -> set[int]:
        kind, parts = self._expression(number)
        if kind in (REF, REPEAT):
            return {parts[0]}
        return set().union(*map(self._used, parts)) if kind in (SEQUENCE, CHOICES) else set()
