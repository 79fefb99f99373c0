"""Which place of a constraint a text has come to: a path in the JSON, parts of the regular expression, rules of the grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from workbench.grammar.syntax import Span, read
from workbench.types import GrammarSpec
from workbench.why.chart import Chart, TooMuch
from workbench.why.expected import quoted

MAX_SHOWN = 100
UNTOLD = {"title", "description", "$defs", "definitions", "$schema", "$ref", "anyOf", "oneOf", "allOf"}
"""What is not shown of a schema's part: annotations, and branches, which are shown one by one."""


@dataclass(frozen=True)
class Place:
    """`words` says it; what is not known of this kind of constraint is empty."""

    words: str
    path: str = ""
    """JSON: `.wand.length`; "." is the whole."""
    key: str | None = None
    """JSON: as much of a property's name as stands there, where a name is being written or may begin."""
    in_string: bool = False
    """JSON: inside a string."""
    schema: str = ""
    """JSON: what the schema says of the path."""
    rules: tuple[str, ...] = ()
    """EBNF: from `root` to the rule that goes on here."""
    spans: tuple[Span, ...] = ()
    """Regular expression and EBNF: the parts of the source that take the next character."""


def find_place(spec: GrammarSpec, text: str) -> Place | None:
    """Where `text`, which the constraint has accepted so far, goes on. None where nobody can tell."""
    if spec.kind in ("json_schema", "json_object"):
        return _in_json(spec.text if spec.kind == "json_schema" else "{}", text)
    syntax = read(spec.kind, spec.text)
    if syntax is None:
        return None
    try:
        chart = Chart(syntax)
        if not all(map(chart.push, text)):
            return None
    except TooMuch:
        return None
    return _in_source(spec, chart.parts())


def _in_source(spec: GrammarSpec, parts: list[tuple[Span, tuple[str, ...]]]) -> Place:
    spans = tuple(span for span, _ in parts)
    if not spans:
        return Place(f"at the end of the {'pattern' if spec.kind == 'regex' else 'grammar'}")
    shown = [f"`{_short(spec.text[low:high])}`" for low, high in spans[:3]] + ["…"] * (len(spans) > 3)
    listed = f"the {'part' if len(spans) == 1 else 'parts'} {', '.join(shown)}"
    if spec.kind == "regex":
        return Place(f"in {listed} of the pattern", spans=spans)
    inner = list(dict.fromkeys(rules[-1] for _, rules in parts if rules))
    named = (
        f"the {'rule' if len(inner) == 1 else 'rules'} {', '.join(f'`{name}`' for name in inner[:4])}{', …' * (len(inner) > 4)}"
    )
    return Place(f"in {named}, {listed}", rules=parts[0][1], spans=spans)


# -- JSON -------------------------------------------------------------------------------------------------------


def _in_json(schema: str, text: str) -> Place:
    steps, key, in_string = json_path(text)
    path = (
        "".join(f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f"[{json.dumps(s)}]" for s in steps) or "."
    )
    try:
        root = json.loads(schema)
        found = [json.dumps(part, ensure_ascii=False) for part in dict.fromkeys(map(_Frozen, _schemas_at(root, root, steps, 0)))]
    except (ValueError, RecursionError):
        found = []
    says = _short(" or ".join(found))
    words = f"in {path}{f', which is {says}' if says else ''}" if steps else "in the outermost value"
    return Place(words, path=path, key=key, in_string=in_string, schema=says)


def written_path(steps: Iterable[str | int]) -> str:
    """`.wand.length`, `.tags[1]`, `["two words"]`; "." is the whole."""
    written = (f".{s}" if isinstance(s, str) and s.isidentifier() else f"[{json.dumps(s)}]" for s in steps)
    return "".join(written) or "."


def json_words(texts: Iterable[str], place: Place) -> list[str]:
    """Continuations at a place of some JSON, cut to the next name or value: `the key "name"`."""
    words = []
    for text in texts:
        if place.in_string:
            part = _IN_STRING.match(text)
            named = None if place.key is None or part is None else place.key + part[0].removesuffix('"')
            words.append(f'the key "{named}"' if named is not None else quoted(part[0] if part else text))
        elif place.key is not None and (name := _STRING.match(text)):
            words.append(f"the key {name[0]}")
        else:
            words.append(quoted(_OUTSIDE.match(text)[0]))  # type: ignore[index]
    return list(dict.fromkeys(words))


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_IN_STRING = re.compile(r'(?:[^"\\]|\\.)+|"', re.DOTALL)
_OUTSIDE = re.compile(r'[^"]*(?:"(?:[^"\\]|\\.)*"?)?', re.DOTALL)


def json_path(text: str) -> tuple[list[str | int], str | None, bool]:
    """(keys and indexes down to the value where `text`, the beginning of some JSON, ends; the property's name there so far;
    whether it ends inside a string). The name is None where none is being written and none may begin.
    """
    steps: list[str | int | None] = []  # one for each open bracket: None where no key has come yet
    typed: str | None = None
    in_string = False
    for found in _TOKEN.finditer(text):
        token, typed = found[0], None
        in_string = token[0] == '"' and not _STRING.fullmatch(token)
        if token in "{[":
            steps.append(None if token == "{" else 0)
            typed = "" if token == "{" else None
        elif token in "}]":
            if steps:
                steps.pop()
        elif token == ",":
            if steps and isinstance(steps[-1], int):
                steps[-1] += 1
            elif steps:
                steps[-1], typed = None, ""
        elif token[0] == '"' and steps and steps[-1] is None:
            if in_string:
                typed = _unquoted(token + '"')
            else:
                steps[-1] = _unquoted(token)
    return [step for step in steps if step is not None], typed, in_string


def _unquoted(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:  # inside an escape
        return token.strip('"')


class _Frozen(dict[str, Any]):
    """A schema that can be told from others."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema if isinstance(schema, dict) else {"allowed": schema})

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


def _schemas_at(root: Any, schema: Any, steps: list[str | int], depth: int) -> Iterator[Any]:
    """What may hold at a path: through references and every branch."""
    if not isinstance(schema, dict) or depth > 20:
        return
    branches = [branch for keyword in ("anyOf", "oneOf", "allOf") for branch in schema.get(keyword, ())]
    if "$ref" in schema:
        branches.append(target(root, str(schema["$ref"])))
    for branch in branches:
        yield from _schemas_at(root, branch, steps, depth + 1)
    if not steps:
        own = {key: value for key, value in schema.items() if key not in UNTOLD}
        if own or not branches:
            yield own
        return
    first, *rest = steps
    for part in _items(schema, first) if isinstance(first, int) else _named(schema, first):
        yield from _schemas_at(root, part, rest, depth)


def _items(schema: dict[str, Any], at: int) -> list[Any]:
    for keyword, others in (("prefixItems", "items"), ("items", "additionalItems")):
        fixed = schema.get(keyword)
        if isinstance(fixed, list):
            return [fixed[at] if at < len(fixed) else schema.get(others)]
    return [schema.get("items")]


def _named(schema: dict[str, Any], name: str) -> list[Any]:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    found = [named[name]] if name in named else []
    for pattern, part in patterns.items():
        try:
            found += [part] * bool(re.search(pattern, name))
        except re.error:  # one of another dialect: nobody can tell here
            continue
    return found or [schema.get("additionalProperties")]


def target(root: Any, pointer: str) -> Any:
    """What a reference inside the schema leads to; None for all others."""
    for escaped in pointer.split("/")[1:]:
        name = unquote(escaped).replace("~1", "/").replace("~0", "~")
        try:
            root = root[int(name)] if isinstance(root, list) else root[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return root


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
