"""A schema as alternatives, each a list of schemas that hold together and have no branches any more.

References, `allOf`, `anyOf`, `oneOf`, `not`, `if` and `dependent...` are worked off here; what remains are the keywords
about one value: its type, bounds, properties, items. Where alternatives would become too many, or a negation cannot be said,
fewer are kept, which makes the constraint narrower; a keyword that cannot be kept at all is reported as not enforced.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from workbench.errors import InvalidRequest
from workbench.grammar.effort import spend
from workbench.grammar.schema.apart import are_apart, requires_nothing_possible
from workbench.grammar.schema.clause import Clause, Entry
from workbench.grammar.schema.names import required_names, values_at
from workbench.grammar.schema.negate import LISTED, TYPES, is_whole, negation
from workbench.grammar.schema.source import FIELD, Made, SchemaNode, SchemaSource

MAX_CLAUSES, MAX_UNCHECKED, MAX_OPPOSITE = 256, 4, 2
MAX_OF_NEGATION, MAX_STEPS, MAX_TOGETHER = 24, 400, 4
MAX_DEPTH, MAX_DEPTH_APART = 64, 3
"""Depth of references and branches at one value."""
BRANCHES = {
    *("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *("dependentRequired", "dependentSchemas"),
}


class Clauses:
    """Makes the alternatives of schemas of one document."""

    def __init__(self, source: SchemaSource) -> None:
        self.source = source
        self._known: dict[SchemaNode, list[Clause]] = {}

    def of(self, nodes: Iterable[SchemaNode]) -> list[Clause]:
        """Returns the alternatives of schemas that hold together, without negatives."""
        return [clause for found in self.together(nodes) for clause in self.without_negatives(found)]

    def expand(self, node: SchemaNode, parent: Entry | None, depth: int) -> list[Clause]:
        """Returns the alternatives of one schema, with negatives."""
        if parent is not None:
            return self._expanded(node, parent, depth)
        if node not in self._known:
            self._known[node] = self._expanded(node, None, depth)
        return self._known[node]

    def _expanded(self, node: SchemaNode, parent: Entry | None, depth: int) -> list[Clause]:
        if isinstance(node.schema, bool):
            return [Clause()] if node.schema else []
        if depth > MAX_DEPTH or (depth and _is_inside(node, parent)):
            raise InvalidRequest(f"{FIELD}{node.path}", node.schema, "a schema that does not refer to itself at the same value")
        keywords = self.source.keywords(node)
        spend(5 + len(keywords))
        entry = Entry(node, keywords, parent)
        _check_types(entry)
        clauses = [Clause()]
        is_in = False
        for keyword in keywords:
            if keyword not in BRANCHES:
                if not is_in:
                    clauses = [clause + Clause((entry,)) for clause in clauses]
                    is_in = True
                continue
            branches = self.branch(keyword, keywords, entry, depth + 1)
            if branches is not None:
                clauses = self.both(clauses, branches, node, repr(keyword))
        return [clause for clause in clauses if not clause.is_empty]

    def branch(self, keyword: str, keywords: dict[str, Any], entry: Entry, depth: int) -> list[Clause] | None:
        """Returns the alternatives that one keyword adds; None if it adds nothing."""
        value, node = keywords[keyword], entry.node
        if keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            return self.expand(self.source.target(keyword, value, node), entry, depth)
        if keyword == "not":
            return [Clause(negatives=(self.source.part(value, node, ".not"),))]
        if keyword == "if":
            return self.conditional(keywords, entry, depth)
        if keyword == "dependentRequired":
            return self.dependent(value, {name: {"required": [name, *others]} for name, others in value.items()}, entry, depth)
        if keyword == "dependentSchemas":
            return self.dependent(
                value, {name: {"required": [name], "allOf": [part]} for name, part in value.items()}, entry, depth
            )
        if keyword not in ("allOf", "anyOf", "oneOf"):
            return None
        if not isinstance(value, list):
            raise InvalidRequest(f"{FIELD}{node.path}.{keyword}", value, "a list of schemas")
        parts = [self.source.part(part, node, f".{keyword}[{i}]") for i, part in enumerate(value)]
        found = [self.expand(part, entry, depth) for part in parts]
        if keyword == "allOf":
            clauses = [Clause()]
            for branch in found:
                clauses = self.both(clauses, branch, node, "'allOf'")
            return clauses
        if keyword == "anyOf":
            return [clause for branch in self.several(found, node) for clause in branch]
        return [
            clause + Clause(negatives=tuple(other for other in parts if other is not part))
            for part, branch in zip(parts, found, strict=True)
            for clause in branch
        ]

    def several(self, branches: list[list[Clause]], node: SchemaNode) -> list[list[Clause]]:
        """Returns the branches, and all sets of them: what several evaluate together counts for `unevaluated...`."""
        if not self.source.asks_for_unevaluated or len(branches) > MAX_TOGETHER:
            return branches
        sets: list[list[Clause]] = []
        for branch in branches:
            sets += [branch, *(self.both(other, branch, node, "'anyOf'") for other in sets)]
        return sets

    def conditional(self, keywords: dict[str, Any], entry: Entry, depth: int) -> list[Clause] | None:
        """Returns the alternatives of `if`, `then` and `else`. `if` alone adds none, except for what `unevaluated...` counts."""
        if not {"then", "else"} & keywords.keys() and not self.source.asks_for_unevaluated:
            return None
        node = entry.node
        test = self.source.part(keywords["if"], node, ".if")
        then, other = (self.source.part(keywords.get(name, True), node, f".{name}") for name in ("then", "else"))
        held = self.both(self.expand(test, entry, depth), self.expand(then, entry, depth), node, "'if'")
        opposite = self.expand(negation(self.source, test), None, 0)
        if len(opposite) > MAX_OPPOSITE:  # it may turn out that the test cannot hold anyway
            opposite = [Clause(negatives=(test,))]
        return held + self.both(opposite, self.expand(other, entry, depth), node, "'if'")

    def dependent(self, names: Any, schemas: dict[str, Any], entry: Entry, depth: int) -> list[Clause]:
        clauses = [Clause()]
        for name in names:
            listed = [other for other in self.names_in(schemas[name], entry) if other != name]
            make = partial(Made, {"properties": {name: False}, LISTED: listed})
            absent = self.source.made(("absent", name, *listed), entry.node, make)
            present = self.source.made(("present", name, len(schemas[name])), entry.node, partial(Made, schemas[name]))
            either = self.expand(absent, entry, depth) + self.expand(present, entry, depth)
            clauses = self.both(clauses, either, entry.node, f"'dependentRequired' of {name!r}")
        return clauses

    def names_in(self, schema: dict[str, Any], entry: Entry) -> list[str]:
        """Returns the properties that a schema which depends on another one lists: they may come without that one too."""
        nodes = [self.source.resolved(self.source.part(part, entry.node, "")) for part in schema.get("allOf", ())]
        listed = [self.source.keywords(node).get("properties", {}) for node in nodes if not isinstance(node.schema, bool)]
        return [*dict.fromkeys(name for names in listed for name in names)]

    def both(self, clauses: list[Clause], others: list[Clause], node: SchemaNode, what: str) -> list[Clause]:
        """Returns the conjunctions of one clause of each list. Where these are too many, the second list is not enforced."""
        if len(clauses) * len(others) > max(16 * MAX_CLAUSES, len(clauses), len(others)):
            self.source.drop(node, f"{what}, of too many alternatives")
            return clauses
        spend(3 * len(clauses) * len(others))
        found = [whole for clause in clauses for other in others if not (whole := clause + other).is_empty]
        if len(found) > MAX_UNCHECKED:
            found = [clause for clause in found if not requires_nothing_possible(self.source, clause)]
        if len(found) > max(MAX_CLAUSES, len(clauses), len(others)):
            self.source.drop(node, f"{what}, of too many alternatives")
            return clauses
        return found

    def without_negatives(self, clause: Clause) -> list[Clause]:
        """Returns the clause with its negatives as positive schemas. Where these are too many, some alternatives are left out."""
        done: list[Clause] = []
        todo = [clause]
        for _ in range(MAX_STEPS):
            if not todo or len(done) >= MAX_OF_NEGATION:
                return done
            first = todo.pop(0)
            if not first.negatives:
                done.append(first)
                continue
            node, *others = first.negatives
            rest = Clause(first.entries, tuple(others))
            if any(entry.node is node for entry in first.entries):
                continue  # it holds here
            todo[:0] = [self.with_types(rest)] if self.is_apart(first, node) else self.failing(rest, node)
        if not done:
            self.source.drop(clause.negatives[0], "'not', of too many alternatives")
            return [Clause(clause.entries)]
        return done

    def failing(self, clause: Clause, node: SchemaNode) -> list[Clause]:
        """Returns the alternatives of a clause in which a node does not hold."""
        failed = self.expand(negation(self.source, node), None, 0)
        # New negatives go first: a dead end is found before the other negatives multiply it.
        every = (Clause(clause.entries + other.entries, other.negatives + clause.negatives) for other in failed)
        found = [whole for whole in every if not whole.is_empty]
        if not found and not is_whole(self.source, node):
            self.source.drop(node, "'not' or 'oneOf': that this must not hold")
            return [clause]
        return found

    def with_types(self, clause: Clause) -> Clause:
        """Returns the clause with the types that it means now, which further schemas could change where none is named."""
        if clause.names_types or not clause.entries:
            return clause
        types = sorted(clause.meant)
        meant = self.source.made(("types", *types), clause.entries[0].node, partial(Made, type=types))
        return clause + Clause((Entry(meant, self.source.keywords(meant), None),))

    def is_apart(self, clause: Clause, node: SchemaNode) -> bool:
        """Returns whether no value of the clause can satisfy `node`; False where that is not plain to see."""
        return all(self.are_apart(clause, other, 0) for other in self.expand(node, None, 0))

    def are_apart(self, clause: Clause, other: Clause, depth: int) -> bool:
        """Returns whether no value of the one can satisfy the other."""
        if are_apart(self.source, clause, other):
            return True
        types = clause.types if depth else clause.meant  # further schemas can change what a part means
        if depth >= MAX_DEPTH_APART or types & other.types != {"object"}:
            return False
        return any(
            self.values_apart(values_at(self.source, clause, name), values_at(self.source, other, name), depth + 1)
            for name in required_names(clause)
        )

    def values_apart(self, nodes: list[SchemaNode], others: list[SchemaNode], depth: int) -> bool:
        if not nodes or not others:
            return False
        some, more = ([*self.together(which)] for which in (nodes, others))
        return all(self.are_apart(clause, other, depth) for clause in some for other in more)

    def together(self, nodes: Iterable[SchemaNode]) -> list[Clause]:
        """Returns the alternatives of schemas that hold together, with negatives."""
        clauses = [Clause()]
        for node in nodes:
            clauses = self.both(clauses, self.expand(node, None, 0), node, "'allOf'")
        return clauses


def _is_inside(node: SchemaNode, parent: Entry | None) -> bool:
    """Returns whether a node is a branch of itself."""
    while parent is not None and parent.node is not node:
        parent = parent.parent
    return parent is not None


def _check_types(entry: Entry) -> None:
    known = {*TYPES, "number"}
    value = entry.keywords.get("type", [])
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(name, str) and name in known for name in named):
        raise InvalidRequest(f"{FIELD}{entry.node.path}.type", value, "a type of JSON, or a list of them")
    if not isinstance(entry.keywords.get("enum", []), list):
        raise InvalidRequest(f"{FIELD}{entry.node.path}.enum", entry.keywords["enum"], "a list of values")
