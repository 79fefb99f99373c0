"""The document of a schema: its references and anchors, and the keywords of each draft read as those of 2020-12."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from workbench.errors import InvalidRequest, NotSupported
from workbench.grammar.effort import spend
from workbench.grammar.schema.forms import String
from workbench.grammar.schema.shapes import check_shapes

FIELD = "json_schema"
MAX_REFERENCES = 16
ANNOTATIONS = {
    *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator"),
    *("$comment", "$schema", "$id", "id", "$vocabulary", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$recursiveAnchor"),
    *("contentEncoding", "contentMediaType", "contentSchema"),
}
"""Keywords without an effect on values."""
_VALUES = {"const", "enum", "default", "examples", "example"}
"""Keywords whose values are no schemas."""
_WITH_ID = ("draft-03", "draft-04", "draft-05")
"""Drafts in which `id` names a schema; later ones have `$id`."""
_OLD = (*_WITH_ID, "draft-06", "draft-07")


class Made(dict[str, Any]):
    """A schema that is not written in the document, but follows from what is."""


@dataclass(frozen=True, eq=False)
class SchemaNode:
    """A schema and its place. Compared by identity: one schema has one node."""

    schema: Mapping[str, Any] | bool
    path: str
    """Its place, for messages: `.name[0]`."""

    def __repr__(self) -> str:
        return f"Node({self.path or '.'})"


@dataclass
class _Resource:
    uri: str
    root: Any
    anchors: dict[str, Any]


class SchemaSource:
    """One schema document."""

    def __init__(self, root: Any) -> None:
        if not isinstance(root, (dict, bool)):
            raise InvalidRequest(FIELD, root, "a schema: an object, true or false")
        self.root = root
        named = root.get("$schema") if isinstance(root, dict) else None
        named = named if isinstance(named, str) else ""
        self.is_old = any(draft in named for draft in _OLD)
        """Draft 3 to 7: what stands beside `$ref` counts for nothing."""
        self._has_id = any(draft in named for draft in _WITH_ID)
        self.unenforced: dict[str, None] = {}
        """What is not enforced, in the order of discovery."""
        self.limited: dict[String, SchemaNode] = {}
        """Strings whose characters a matcher counts, with the node that asks for their limit."""
        self._nodes: dict[int, SchemaNode] = {}
        self._made: dict[Hashable, SchemaNode] = {}
        self._opposites: dict[int | bool, Made] = {}
        self._keywords: dict[int, dict[str, Any]] = {}
        first = _Resource("", root, {})
        self._resources = {"": first}
        self._resource_of: dict[int, _Resource] = {}
        self._dynamic: dict[str, list[Any]] = {}
        text = json.dumps(root) if isinstance(root, dict) else ""
        spend(len(text) // 20)
        self.asks_for_unevaluated = '"unevaluated' in text
        if any(f'"{name}"' in text for name in ("$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor")):
            self._index(root, first)

    def node(self, schema: Any, path: str) -> SchemaNode:
        """Returns the node of a schema in this document, or of one made of its parts. Raises InvalidRequest for what is none."""
        if not isinstance(schema, (dict, bool)):
            raise InvalidRequest(f"{FIELD}{path}", schema, "a schema: an object, true or false")
        if isinstance(schema, bool):
            return SchemaNode(schema, path)
        key = id(schema)
        if key not in self._nodes:
            self._nodes[key] = SchemaNode(schema, path)
        return self._nodes[key]

    def part(self, schema: Any, node: SchemaNode, step: str) -> SchemaNode:
        """Returns the node of a schema that stands in another, at a path like `.name` or `[0]`."""
        return self.node(schema, node.path if isinstance(schema, Made) else node.path + step)

    def made(self, tag: Hashable, node: SchemaNode, make: Callable[[], Made]) -> SchemaNode:
        """Returns a schema that follows from a node; always the same one for one tag."""
        key = (id(node.schema), node.path if isinstance(node.schema, bool) else "", tag)
        if key not in self._made:
            self._made[key] = self.node(make(), node.path)
        return self._made[key]

    def opposite(self, schema: Any) -> Made:
        """Returns `not` of a schema; always the same one."""
        key = schema if isinstance(schema, bool) else id(schema)
        if key not in self._opposites:
            self._opposites[key] = Made({"not": schema})
        return self._opposites[key]

    def drop(self, node: SchemaNode, what: str) -> None:
        """Notes that something at a node is not enforced."""
        self.unenforced[f"{FIELD}{node.path}: {what}"] = None

    def keywords(self, node: SchemaNode) -> dict[str, Any]:
        """Returns the keywords of a node, as those of draft 2020-12."""
        assert isinstance(node.schema, Mapping)
        key = id(node.schema)
        if key not in self._keywords:
            read = self._read(node.schema)
            check_shapes(read, f"{FIELD}{node.path}")
            self._keywords[key] = read
        return self._keywords[key]

    def _read(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.is_old and "$ref" in schema:
            return {"$ref": schema["$ref"]}
        read = dict(schema)
        if isinstance(read.get("items"), list):
            read["prefixItems"] = read.pop("items")
            if "additionalItems" in read:
                read["items"] = read.pop("additionalItems")
        read.pop("additionalItems", None)
        for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if isinstance(read.get(exclusive), bool) and read.pop(exclusive) and inclusive in read:
                read[exclusive] = read.pop(inclusive)
        dependencies = read.pop("dependencies", None)
        if isinstance(dependencies, dict):
            names = {name: [value] if isinstance(value, str) else value for name, value in dependencies.items()}
            lists = {name: value for name, value in names.items() if isinstance(value, list)}
            schemas = {name: value for name, value in names.items() if not isinstance(value, list)}
            read["dependentRequired"] = {**lists, **read.get("dependentRequired", {})}
            read["dependentSchemas"] = {**schemas, **read.get("dependentSchemas", {})}
        return read

    def resolved(self, node: SchemaNode) -> SchemaNode:
        """Returns the target of a node that is only a reference; True for a node without an effect."""
        for _ in range(MAX_REFERENCES):
            if isinstance(node.schema, bool):
                break
            says = self.keywords(node).keys() - ANNOTATIONS
            if says == {"$ref"}:
                node = self.target("$ref", self.keywords(node)["$ref"], node)
                continue
            return node if says else SchemaNode(True, node.path)
        return node

    def target(self, keyword: str, reference: Any, node: SchemaNode) -> SchemaNode:
        """Returns the target of a `$ref`, `$dynamicRef` or `$recursiveRef`. Raises NotSupported if it is not in this document."""
        if not isinstance(reference, str):
            raise InvalidRequest(f"{FIELD}{node.path}.{keyword}", reference, "a reference: a string")
        resource = self._resource_of.get(id(node.schema), self._resources[""])
        uri, fragment = urldefrag(reference)
        if uri:
            resource = self._resources.get(urljoin(resource.uri, uri).rstrip("#"), _NO_RESOURCE)
        fragment = unquote(fragment)
        if fragment[:1] not in ("", "/"):
            found = self._anchor(keyword, resource, fragment)
        else:
            found = _pointed(resource.root, fragment)
            if found is None and not uri:  # many schemas with an `$id` inside mean the whole document
                found = _pointed(self.root, fragment)
        depends_on_way = keyword == "$recursiveRef" and len(self._dynamic.get("", ())) > 1
        if not isinstance(found, (dict, bool)) or depends_on_way:
            raise NotSupported(
                f"{FIELD}{node.path}: the reference {reference!r} cannot be enforced while generating",
                hint="references go to '#/$defs/NAME' or an anchor in the schema itself",
            )
        return self.node(found, f"{node.path}.{keyword}")

    def _anchor(self, keyword: str, resource: _Resource, name: str) -> Any:
        found = resource.anchors.get(name)
        same = self._dynamic.get(name, [])
        if keyword != "$ref" and found is not None and any(found is other for other in same) and len(same) > 1:
            return None  # which one is meant depends on the way that led here
        return found

    def _index(self, schema: Any, resource: _Resource) -> None:
        """Notes every resource and anchor below a schema."""
        if isinstance(schema, list):
            for part in schema:
                self._index(part, resource)
        if not isinstance(schema, dict):
            return
        beside_ref = self.is_old and "$ref" in schema
        own = schema.get("$id", schema.get("id") if self._has_id else None)
        if isinstance(own, str) and not beside_ref:
            uri, fragment = urldefrag(own)
            if uri:
                resource = _Resource(urljoin(resource.uri, uri), schema, {})
                self._resources[resource.uri] = resource
                if schema is self.root:
                    self._resources[""] = resource
            if fragment:
                resource.anchors[fragment] = schema
        self._resource_of[id(schema)] = resource
        if schema.get("$recursiveAnchor") is True:
            self._dynamic.setdefault("", []).append(schema)
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(keyword), str):
                resource.anchors[schema[keyword]] = schema
                if keyword == "$dynamicAnchor":
                    self._dynamic.setdefault(schema[keyword], []).append(schema)
        for name, part in schema.items():
            if name not in _VALUES or (isinstance(part, dict) and name == "default"):
                self._index(part, resource)


_NO_RESOURCE = _Resource("", None, {})


def _pointed(root: Any, pointer: str) -> Any:
    """Returns the target of a JSON pointer, None if there is none."""
    found = root
    for name in _steps(pointer):
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found


def _steps(pointer: str) -> Iterator[str]:
    for name in pointer.split("/")[1:]:
        yield name.replace("~1", "/").replace("~0", "~")
