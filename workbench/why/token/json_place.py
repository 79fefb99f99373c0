"""Paths in JSON that is not finished, and the parts of a schema that hold there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from workbench.why.words import quoted

NOT_SHOWN = {"title", "description", "$defs", "definitions", "$schema", "$ref", "anyOf", "oneOf", "allOf"}
"""Keywords that are left out of a shown schema: annotations, and branches, which are shown one by one."""


def written_path(steps: Iterable[str | int]) -> str:
    """Returns a path as `.wand.length`, `.tags[1]` or `["two words"]`; "." is the whole value."""
    written = (f".{s}" if isinstance(s, str) and s.isidentifier() else f"[{json.dumps(s)}]" for s in steps)
    return "".join(written) or "."


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_IN_STRING = re.compile(r'(?:[^"\\]|\\.)+|"', re.DOTALL)
_OUTSIDE = re.compile(r'[^"]*(?:"(?:[^"\\]|\\.)*"?)?', re.DOTALL)


def continuations(texts: Iterable[str], key: str | None, in_string: bool) -> list[str]:
    """Returns the words for JSON texts that may follow, each cut to the next name or value: `the key "name"`.

    `key` and `in_string` are those of `json_path`.
    """
    words = []
    for text in texts:
        if in_string:
            part = _IN_STRING.match(text)
            named = None if key is None or part is None else key + part[0].removesuffix('"')
            words.append(f'the key "{named}"' if named is not None else quoted(part[0] if part else text))
        elif key is not None and (name := _STRING.match(text)):
            words.append(f"the key {name[0]}")
        else:
            words.append(quoted(_OUTSIDE.match(text)[0]))  # type: ignore[index]
    return list(dict.fromkeys(words))


def json_path(text: str) -> tuple[list[str | int], str | None, bool]:
    """Returns where `text`, the beginning of some JSON, ends: (keys and indexes down to the value, the property name so far,
    whether it ends inside a string).

    The name is None if no name is being written and none may begin.
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


class Distinct(dict[str, Any]):
    """A schema that can be a key, so that equal ones are shown once."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema if isinstance(schema, dict) else {"allowed": schema})

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


def schemas_at(root: Any, schema: Any, steps: list[str | int], depth: int = 0) -> Iterator[Any]:
    """Yields the schemas that may hold at a path below `schema`, through references and every branch."""
    if not isinstance(schema, dict) or depth > 20:
        return
    branches = [branch for keyword in ("anyOf", "oneOf", "allOf") for branch in schema.get(keyword, ())]
    if "$ref" in schema:
        branches.append(target(root, str(schema["$ref"])))
    for branch in branches:
        yield from schemas_at(root, branch, steps, depth + 1)
    if not steps:
        own = {key: value for key, value in schema.items() if key not in NOT_SHOWN}
        if own or not branches:
            yield own
        return
    first, *rest = steps
    for part in _items(schema, first) if isinstance(first, int) else _named(schema, first):
        yield from schemas_at(root, part, rest, depth)


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
        except re.error:  # a pattern of another dialect
            continue
    return found or [schema.get("additionalProperties")]


def target(root: Any, pointer: str) -> Any:
    """Returns the value that a reference inside the schema leads to; None for other references."""
    for escaped in pointer.split("/")[1:]:
        name = unquote(escaped).replace("~1", "/").replace("~0", "~")
        try:
            root = root[int(name)] if isinstance(root, list) else root[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return root
