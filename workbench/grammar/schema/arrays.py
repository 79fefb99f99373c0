"""Arrays of a clause: their items by position, and how many there may be."""

from __future__ import annotations

from typing import Any, Protocol

from workbench.errors import InvalidRequest
from workbench.grammar.schema.clause import Clause, Entry
from workbench.grammar.schema.forms import Array, Item
from workbench.grammar.schema.scalars import count
from workbench.grammar.schema.source import FIELD, SchemaNode, SchemaSource

MAX_COUNTED = 4096
"""More items than these are not counted one by one."""


class RuleOf(Protocol):
    def __call__(self, nodes: list[SchemaNode]) -> int:
        """Returns the number of the rule for values that satisfy all these schemas."""


class RulesOfValues(Protocol):
    def __call__(self, nodes: list[SchemaNode]) -> tuple[int, ...] | None:
        """Returns a rule for each value that satisfies all these schemas; None where they are not a few."""


def array_form(source: SchemaSource, clause: Clause, rule_of: RuleOf, rules_of_values: RulesOfValues) -> Array:
    low = max((count(value, entry.node, "minItems") for entry, value in clause.each("minItems")), default=0)
    high = min((count(value, entry.node, "maxItems") for entry, value in clause.each("maxItems")), default=None)
    if high is not None and high > MAX_COUNTED:
        entry = next(entry for entry, _ in clause.each("maxItems"))
        source.drop(entry.node, f"maxItems {high}")
        high = None
    if low > MAX_COUNTED:
        raise InvalidRequest(f"{FIELD}.minItems", low, f"at most {MAX_COUNTED:,} items")
    num_first = max((len(_prefix(entry)) for entry in clause.entries), default=0)
    needed, need, most = _contains(source, clause)

    def item(i: int | None) -> Item:
        nodes = _items_at(source, clause, i)
        if needed is None:
            return Item(rule_of(nodes))
        other = source.node(source.opposite(needed.schema), needed.path)
        return Item(rule_of(nodes), rule_of([*nodes, needed]), rule_of([*nodes, other]))

    is_open = not num_first or low > num_first or any(True for key in _OF_REST for _ in clause.each(key))
    unique = next((entry for entry, value in clause.each("uniqueItems") if value is True), None)
    if unique is not None and (high is None or high > 1):
        rules = rules_of_values(_items_at(source, clause, None)) if not num_first and needed is None else None
        if rules is not None:
            return Array((), None, low, high, distinct=rules)
        source.drop(unique.node, "uniqueItems")
    return Array(tuple(map(item, range(num_first))), item(None) if is_open else None, low, high, need, most)


_OF_REST = ("items", "unevaluatedItems")


def _prefix(entry: Entry) -> list[Any]:
    value = entry.keywords.get("prefixItems", [])
    if not isinstance(value, list):
        raise InvalidRequest(f"{FIELD}{entry.node.path}.prefixItems", value, "a list of schemas")
    return value


def _items_at(source: SchemaSource, clause: Clause, i: int | None) -> list[SchemaNode]:
    """Returns the schemas of the item at a position; None for one beyond all that are listed."""
    found = []
    for entry in clause.entries:
        prefix = _prefix(entry)
        if i is not None and i < len(prefix):
            found.append(source.part(prefix[i], entry.node, f"[{i}]"))
        elif "items" in entry.keywords:
            found.append(source.part(entry.keywords["items"], entry.node, ".items"))
    for entry, part in clause.each("unevaluatedItems"):
        below = [other for other in clause.entries if other.is_below(entry)]
        if any("contains" in other.keywords for other in below) and part is not True:
            source.drop(entry.node, "'unevaluatedItems' beside 'contains'")
        elif not any(_evaluates(other, entry, i) for other in below):
            found.append(source.part(part, entry.node, ".unevaluatedItems"))
    return list(dict.fromkeys(node for node in found if node.schema is not True))


def _evaluates(entry: Entry, asked_by: Entry, i: int | None) -> bool:
    if "items" in entry.keywords or ("unevaluatedItems" in entry.keywords and entry is not asked_by):
        return True
    return i is not None and i < len(_prefix(entry))


def _contains(source: SchemaSource, clause: Clause) -> tuple[SchemaNode | None, int, int | None]:
    """Returns the schema that some items must satisfy, and how many items at least and at most."""
    needed, need, most = None, 0, None
    for entry, part in clause.each("contains"):
        keywords, node = entry.keywords, entry.node
        low = count(keywords.get("minContains", 1), node, "minContains")
        high = count(keywords["maxContains"], node, "maxContains") if "maxContains" in keywords else None
        if low == 0 and high is None:
            continue
        if needed is not None or max(low, high or 0) > 64:
            source.drop(node, "'contains'")
            continue
        needed, need, most = source.part(part, node, ".contains"), low, high
    return needed, need, most
