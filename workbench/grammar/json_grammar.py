"""A JSON Schema as an EBNF grammar, with patterns spelled out as rules.

The backend has an automaton of its own for patterns inside JSON, which takes more than the pattern where an optional or
alternative part ends in a repetition: `a(?:b[0-9]{1,2})?c` lets `a1c` through. Its rules for whole regular expressions are right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PATTERN_RULE = re.compile(r'^(\w+) ::= Regex\("((?:\\.|[^"\\])*)", json_string=true\)$', re.MULTILINE)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\.")
_RULE = re.compile(r"^(\w+) ::=", re.MULTILINE)
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|(?P<name>\b[A-Za-z_]\w*\b)')


def json_grammar(schema: str, **options: Any) -> Any:
    """An `xgrammar.Grammar` of an enforceable schema (`json_schema.enforceable`); `options` are those of `from_json_schema`."""
    from xgrammar.grammar import Grammar  # not the package: a child that compiles has no torch

    grammar = Grammar.from_json_schema(schema, **options)
    own = set(_patterns(json.loads(schema)))
    if not own:
        return grammar
    spelled = _PATTERN_RULE.sub(lambda found: _as_rules(found[1], _unescaped(found[2]), found[0], own), as_ebnf(grammar))
    return Grammar.from_ebnf(spelled)


def as_ebnf(grammar: Any) -> str:
    r"""An `xgrammar.Grammar` as its reader takes it: the printer writes `ße` as `\xdfe`, which is read as one character."""
    return _ESCAPE.sub(lambda found: rf"\u00{found[1]}" if found[1] else found[0], str(grammar))


def _as_rules(name: str, pattern: str, rule: str, own: set[str]) -> str:
    """The backend's formats stay as they are: they escape what a JSON string cannot hold; patterns hold nothing of the kind."""
    if pattern not in own:
        return rule
    from xgrammar.grammar import Grammar

    text = as_ebnf(Grammar.from_regex(pattern))
    renamed = {old: name if old == "root" else f"{name}_{old}" for old in _RULE.findall(text)}
    return _QUOTED.sub(lambda found: renamed.get(found["name"] or "", found[0]), text).strip()


def _unescaped(text: str) -> str:
    """What the backend's printer escaped: quotes, backslashes and question marks, and control characters."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), text)


def _patterns(schema: Any) -> Iterator[str]:
    """Every pattern of a schema, also those of properties' names; too many do no harm."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            elif key == "patternProperties" and isinstance(value, dict):
                yield from value
            yield from _patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _patterns(value)
