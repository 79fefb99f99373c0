"""Tests whether two schemas plainly have no value in common."""

from __future__ import annotations

from typing import Any

from workbench.grammar.schema.clause import Clause, spelled
from workbench.grammar.schema.names import is_closed, listed_names, required_names, values_at
from workbench.grammar.schema.source import SchemaNode, SchemaSource

_LIMITS = {
    "integer": ("minimum", "maximum"), "fraction": ("minimum", "maximum"), "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"), "object": ("minProperties", "maxProperties"),
}  # fmt: skip


def are_apart(source: SchemaSource, clause: Clause, other: Clause) -> bool:
    """Returns whether no value that is generated for `clause`, with the types that it now means, can satisfy `other`, as far as
    their own keywords tell."""
    types = clause.meant & other.types
    if not types:
        return True
    if clause.values is not None and other.values is not None:
        return not {*map(spelled, clause.values)} & {*map(spelled, other.values)}
    limits = {_LIMITS.get(type_) for type_ in types}
    if len(limits) == 1 and (pair := limits.pop()) is not None and _beyond(clause, other, *pair):
        return True
    return types == {"object"} and _names_apart(source, clause, other)


def _beyond(clause: Clause, other: Clause, lowest: str, highest: str) -> bool:
    for one, two in ((clause, other), (other, clause)):
        low = max((value for _, value in one.each(lowest)), default=None)
        high = min((value for _, value in two.each(highest)), default=None)
        if low is not None and high is not None and low > high:
            return True
    return False


def _names_apart(source: SchemaSource, clause: Clause, other: Clause) -> bool:
    listed = set(listed_names(clause))
    for name in required_names(other):  # the other needs what is never generated
        if name not in listed and is_closed(clause):
            return True
        if any(node.schema is False for node in values_at(source, clause, name)):
            return True
    return any(  # what is always generated is forbidden by the other
        node.schema is False for name in required_names(clause) for node in values_at(source, other, name)
    )


def requires_nothing_possible(source: SchemaSource, clause: Clause) -> bool:
    """Returns whether a required property plainly has no value: the lists of its schemas have none in common."""
    return clause.meant == {"object"} and any(
        _is_impossible(source, values_at(source, clause, name)) for name in required_names(clause)
    )


def _is_impossible(source: SchemaSource, nodes: list[SchemaNode]) -> bool:
    allowed: set[str] | None = None
    excluded: set[str] = set()
    for node in map(source.resolved, nodes):
        if isinstance(node.schema, bool):
            if not node.schema:
                return True
            continue
        keywords = source.keywords(node)
        if (values := _listed(keywords)) is not None:
            allowed = values if allowed is None else allowed & values
        refused = keywords.get("not")
        if isinstance(refused, dict) and refused.keys() <= {"const", "enum", "type"} and (values := _listed(refused)) is not None:
            excluded |= values
    return allowed is not None and not allowed - excluded


def _listed(keywords: dict[str, Any]) -> set[str] | None:
    if "const" in keywords:
        return {spelled(keywords["const"])}
    return set(map(spelled, keywords["enum"])) if isinstance(keywords.get("enum"), list) else None
