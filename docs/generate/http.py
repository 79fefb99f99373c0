"""The page of the HTTP endpoints, from the OpenAPI description that the server shows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from generate.markdown import code, page, table, words
from workbench.server.app import ROUTES
from workbench.server.middleware import MANAGEMENT

ABOUT = """
A server shows the same at `/docs`, and as schemas at `/openapi.json`. Behaviour that all routes share is on
[](../server.md): keys, errors, streams, limits. Routes with a † ask for the management key (`--admin-api-key`) where one is set.
None stands for `null` and for a field that is left out.
"""
GROUPS = (
    ("OpenAI", ("/v1/chat", "/v1/completions", "/v1/responses", "/v1/models", "/v1/embeddings", "/v1/files", "/v1/batches")),
    ("Anthropic", ("/v1/messages",)),
    ("Ollama", ("/api/chat", "/api/")),
    ("Looking in", ("/engine/", "/page/")),
    ("Native", ("/generate", "/tokenize", "/")),
)
"""Heading -> beginnings of its paths in order; a path belongs to the first group that has one."""


def openapi() -> dict[str, Any]:
    """Returns the description of all routes, without an engine."""
    api = FastAPI(title="workbench")
    for name in ROUTES:
        api.include_router(importlib.import_module(name).router)
    return api.openapi()


def endpoints_page() -> str:
    """Writes a section per API, and per route what it does and the fields of its body."""
    groups: dict[str, list[str | list[str]]] = {name: [] for name, _ in GROUPS}
    for path, methods in sorted(openapi()["paths"].items(), key=lambda each: place_of(each[0])[1]):
        name, _ = place_of(path)
        mark = " †" if path in MANAGEMENT else ""
        for method, operation in methods.items():
            groups[name] += [f"### `{method.upper()} {path}`{mark}", operation["description"].strip()]
            if about := rules(body_of(operation)):
                groups[name].append(about)
            if found := [*parameters(operation), *fields(body_of(operation))]:
                groups[name].append(table(("field", "type", "default", "meaning"), found))
            if found := [*parts_of_messages(body_of(operation))]:
                groups[name] += ["Parts of a message beside text:", table(("part", "field", "type", "meaning"), found)]
    parts = (part for name, parts in groups.items() for part in (f"## {name}", *parts))
    return page("HTTP endpoints", ABOUT, *parts)


def place_of(path: str) -> tuple[str, int]:
    """Returns the heading of a path, and the number of its beginning there."""
    name, starts = next((name, starts) for name, starts in GROUPS if path.startswith(starts))
    return name, next(i for i, start in enumerate(starts) if path.startswith(start))


def body_of(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the schema of a route's body; empty if it takes none."""
    contents = operation.get("requestBody", {}).get("content", {})
    return next(iter(contents.values()), {}).get("schema", {})


def rules(schema: Mapping[str, Any]) -> str:
    """Returns what is written about a body beside its fields: which are given together, and which not."""
    return re.sub(r"^The body of [^.]*\.\s*", "", str(schema.get("description", "")))


def parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields a row per parameter of the address."""
    for each in operation.get("parameters", ()):
        schema = each["schema"]
        default = code(repr(schema["default"])) if "default" in schema else ""
        yield code(each["name"]), kind(schema), default, f"{words(each['description'])} In the {each['in']}."


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields a row per field of a body."""
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else code(repr(field["default"])) if "default" in field else ""
        yield code(name), kind(field), default, words(field["description"])


def parts_of_messages(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields a row per field, with a meaning, of the parts that a message's content may have."""
    message = schema.get("properties", {}).get("messages", {}).get("items", {})
    contents = message.get("properties", {}).get("content", {}).get("anyOf", ())
    for content in contents:
        for part in content.get("items", {}).get("anyOf", ()):
            name = code(part["properties"]["type"]["const"])
            for place, field in described("", part):
                yield name, code(place), kind(field), words(field["description"])


def described(place: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the values in an object that have a meaning, with their places: what is no object itself."""
    for each in schema.get("anyOf", (schema,)):
        for name, field in each.get("properties", {}).items():
            inner = f"{place}.{name}" if place else name
            if "properties" in field or "anyOf" in field:
                yield from described(inner, field)
            elif "description" in field:
                yield inner, field


LONGEST_KIND = 60


def kind(schema: Mapping[str, Any]) -> str:
    """Returns the type of a value in words, without that of the items where these are many. None stands for a field that is left
    out, and is not listed."""
    if "enum" in schema:
        return " or ".join(code(repr(value)) for value in schema["enum"])
    if "const" in schema:
        return code(repr(schema["const"]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        options = [each for each in options if each.get("type") != "null"]
        said = " or ".join(dict.fromkeys(map(kind, options)))
        return said if len(said) <= LONGEST_KIND else " or ".join(dict.fromkeys(kind(each).split(" of ")[0] for each in options))
    if schema.get("type") == "array":
        item = kind(schema.get("items", {}))
        return f"list of ({item})" if " or " in item else f"list of {item}"
    return str(schema.get("type", "any"))
