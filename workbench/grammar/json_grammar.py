"""A JSON Schema as an EBNF grammar, with patterns spelled out as rules.

The backend has an automaton of its own for patterns inside JSON, which takes more than the pattern where an optional or
alternative part ends in a repetition: `a(?:b[0-9]{1,2})?c` lets `a1c` through. Its rules for whole regular expressions are right.
"""

from __future__ import annotations

import json
import re
from typing import Any

from workbench.grammar.json_keys import whole_strings
from workbench.grammar.regex_rules import as_ebnf, regex_rules

_RULE = re.compile(r'^(\w+) ::= Regex\("pattern_(\d+)", json_string=true\)$', re.MULTILINE)
_NAMED = ("properties", "$defs", "definitions")
"""Keywords whose value names schemas."""


def json_grammar(schema: str, **options: Any) -> Any:
    """An `xgrammar.Grammar` of an enforceable schema (`json_schema.enforceable`); `options` are those of `from_json_schema`."""
    from xgrammar.grammar import Grammar  # not the package: a child that compiles has no torch

    patterns: dict[str, int] = {}
    grammar = Grammar.from_json_schema(json.dumps(_numbered(json.loads(schema), patterns)), **options)
    names: dict[int, str] = {}

    def spelled(found: re.Match[str]) -> str:
        name, number = found[1], int(found[2])
        first = names.setdefault(number, name)
        return regex_rules(list(patterns)[number], name, before='"') if first == name else f"{name} ::= {first}"

    return Grammar.from_ebnf(_RULE.sub(spelled, whole_strings(as_ebnf(grammar))))


def _numbered(schema: Any, patterns: dict[str, int]) -> Any:
    """With `pattern_<i>` in the place of every pattern, which the backend passes on. Changes: `patterns`, with their numbers."""

    def number(pattern: str) -> str:
        return f"pattern_{patterns.setdefault(pattern, len(patterns))}"

    def keyword(key: str, value: Any) -> Any:
        if key == "pattern":
            return number(value)
        if key == "patternProperties":
            return {number(pattern): _numbered(part, patterns) for pattern, part in value.items()}
        if key in _NAMED:
            return {name: _numbered(part, patterns) for name, part in value.items()}
        return value if key in ("const", "enum") else _numbered(value, patterns)

    if isinstance(schema, list):
        return [_numbered(part, patterns) for part in schema]
    return {key: keyword(key, value) for key, value in schema.items()} if isinstance(schema, dict) else schema
