"""A JSON Schema as rules: for each schema, or several that hold together, the forms that a value may have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest
from workbench.grammar.effort import spend
from workbench.grammar.formats import FORMATS
from workbench.grammar.language import Language, words
from workbench.grammar.schema.accept import Acceptor
from workbench.grammar.schema.arrays import array_form
from workbench.grammar.schema.clause import OF_TYPE, Clause, Entry, spelled, type_of
from workbench.grammar.schema.clauses import BRANCHES, Clauses
from workbench.grammar.schema.demand import too_long
from workbench.grammar.schema.forms import Chosen, Draft, Form, Rules, String, Values
from workbench.grammar.schema.limits import disputed
from workbench.grammar.schema.moves import is_possible
from workbench.grammar.schema.negate import LISTED, NOT_ENUM
from workbench.grammar.schema.objects import object_forms
from workbench.grammar.schema.scalars import exact, number_form, string_form
from workbench.grammar.schema.share import shared
from workbench.grammar.schema.source import ANNOTATIONS, FIELD, Made, SchemaNode, SchemaSource

MAX_RULES, MAX_DISTINCT = 20_000, 7


@dataclass(frozen=True)
class Schema:
    """The rules of a schema, ready to be written as a grammar. The root is rule 0."""

    rules: Rules
    unenforced: tuple[str, ...]

    @property
    def has_limits(self) -> bool:
        """True if a matcher has to count the characters of some strings."""
        return any(isinstance(form, String) and form.limit is not None for forms in self.rules for form in forms)


def read_schema(text: str, *, counts: bool = True) -> Schema:
    """Reads a schema. Without `counts` no string is left to a matcher that counts its characters.

    Raises InvalidRequest for what is no schema or satisfied by no value, NotSupported for what cannot be enforced."""
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(FIELD, text, f"JSON ({error})") from None
    except RecursionError:
        raise InvalidRequest(FIELD, text, "less deeply nested") from None
    builder = _Builder(SchemaSource(root))
    try:
        builder.rule_of([builder.source.node(root, "")])
        rules = builder.finished()
        possible = only_possible(rules)
    except RecursionError:
        raise InvalidRequest(FIELD, text, "less deeply nested") from None
    if not possible[0]:
        raise builder.impossible(text, next((i for i, forms in enumerate(rules) if not forms), None))
    rules = settled(builder.source, shared(possible), counts=counts)
    if limit := too_long(rules):
        raise InvalidRequest(FIELD, text, limit, hint="write shorter texts, or smaller counts")
    return Schema(rules, tuple(builder.source.unenforced))


def only_possible(rules: Rules) -> Rules:
    """Returns the rules without forms that no value has: objects that require a value that is never possible, and what needs
    those."""
    possible: set[int] = set()
    while more := {i for i, forms in enumerate(rules) if i not in possible and any(is_possible(f, possible) for f in forms)}:
        possible |= more
    return [tuple(form for form in forms if is_possible(form, possible)) for forms in rules]


def settled(source: SchemaSource, rules: Rules, *, counts: bool) -> Rules:
    """Returns the rules with a limit left to a matcher only where no other string may stand instead: that would be cut too."""
    kept = {*source.limited} - disputed(rules) if counts else set()

    def settle(form: Form) -> Form:
        if isinstance(form, String) and form.limit is not None and form not in kept:
            return exact(source, form, source.limited[form])
        return form

    return [tuple(map(settle, forms)) for forms in rules]


class _Builder:
    def __init__(self, source: SchemaSource) -> None:
        self.source = source
        self.clauses = Clauses(source)
        self.rules: list[tuple[Draft, ...]] = []
        self._number: dict[frozenset[SchemaNode | bool], int] = {}
        self._todo: list[tuple[int, list[SchemaNode]]] = []
        self._noted: set[int] = set()
        self._paths: dict[int, str] = {}
        """Where the first schema of a rule stands."""

    def rule_of(self, nodes: list[SchemaNode]) -> int:
        """Returns the number of the rule for values that satisfy all these schemas; `work` makes its forms."""
        nodes = [node for node in map(self.source.resolved, nodes) if node.schema is not True]
        key = frozenset(False if node.schema is False else node for node in nodes)
        if key not in self._number:
            if len(self._number) >= MAX_RULES:
                raise InvalidRequest(FIELD, f"a schema of more than {MAX_RULES:,} parts", "a smaller schema")
            self._number[key] = len(self.rules)
            self.rules.append(())
            self._paths[self._number[key]] = nodes[0].path if nodes else ""
            self._todo.append((self._number[key], nodes))
        return self._number[key]

    def work(self) -> None:
        """Makes the forms of all rules that are not made yet."""
        while self._todo:
            number, nodes = self._todo.pop()
            self.rules[number] = self.forms(nodes)

    def forms(self, nodes: Iterable[SchemaNode]) -> tuple[Draft, ...]:
        found: list[Draft] = []
        for clause in self.clauses.of(nodes):
            for entry in clause.entries:
                self.note_unknown(entry)
            found += self.of_clause(clause)
        return tuple(found)

    def note_unknown(self, entry: Entry) -> None:
        if id(entry.node) in self._noted:
            return
        self._noted.add(id(entry.node))
        for keyword in entry.keywords:
            if keyword not in _KNOWN and not keyword.startswith("x-"):
                self.source.drop(entry.node, f"keyword {json.dumps(keyword)}")
        if "format" in entry.keywords and entry.keywords["format"] not in FORMATS:
            self.source.drop(entry.node, f"format {json.dumps(entry.keywords['format'])}")

    def of_clause(self, clause: Clause) -> Sequence[Draft]:
        spend(20)
        if clause.values is not None:
            return self.of_values(clause, clause.values)
        return self.of_types(_Narrowed(clause.entries, clause.meant))

    def of_types(self, clause: Clause) -> list[Form]:
        """Returns a form for each type of the clause."""
        types, excluded = clause.types, [value for _, values in clause.each(NOT_ENUM) for value in values]
        fixed = [value for name, value in (("null", None), ("boolean", True), ("boolean", False)) if name in types]
        fixed = [value for value in fixed if not any(value is other for other in excluded)]
        forms: list[Form | None] = [Values(tuple(fixed))] if fixed else []
        if "string" in types:
            forms.append(string_form(self.source, clause))
        if types & {"integer", "fraction"}:
            forms.append(number_form(self.source, clause))
        if "array" in types:
            forms.append(array_form(self.source, clause, self.rule_of, self.rules_of_values))
        if "object" in types:
            forms += object_forms(self.source, clause, self.rule_of, self.names)
        if any(isinstance(value, (list, dict)) for value in excluded):
            self.source.drop(clause.entries[0].node, "'not' of an array or object")
        return [form for form in forms if form is not None]

    def of_values(self, clause: Clause, values: list[Any]) -> Sequence[Draft]:
        """Returns those of the listed values that satisfy everything else."""
        kept = tuple(value for value in values if type_of(value) in clause.types)
        constraints = set().union(*OF_TYPE.values()) | {NOT_ENUM}
        if not kept or not any(constraints & entry.keywords.keys() for entry in clause.entries):
            return [Values(kept)] if kept else []
        return [Chosen(kept, tuple(self.of_types(_Narrowed(clause.entries, frozenset(map(type_of, kept))))))]

    def finished(self) -> Rules:
        """Returns the rules, once all are made and listed values that do not satisfy everything else are left out."""
        self.work()
        return [tuple(map(self.chosen, forms)) for forms in self.rules]

    def chosen(self, form: Draft) -> Form:
        if not isinstance(form, Chosen):
            return form
        self.work()
        return Values(tuple(value for value in form.values if Acceptor(self.rules).form(form, value)))

    def rules_of_values(self, nodes: list[SchemaNode]) -> tuple[int, ...] | None:
        """Returns a rule for each value that satisfies all these schemas; None where they are not a few."""
        said = [self.source.keywords(node) for node in map(self.source.resolved, nodes) if not isinstance(node.schema, bool)]
        lists_values = any({"enum", "const"} & keywords.keys() for keywords in said)
        forms = tuple(map(self.chosen, self.forms(nodes))) if lists_values else ()
        values = {spelled(value): value for form in forms if isinstance(form, Values) for value in form.values}
        if not values or len(values) > MAX_DISTINCT or not all(isinstance(form, Values) for form in forms):
            return None
        first = len(self.rules)
        self.rules += [(Values((value,)),) for value in values.values()]
        return tuple(range(first, len(self.rules)))

    def names(self, nodes: list[SchemaNode]) -> Language | None:
        """Returns the language of the strings that satisfy all these schemas; None for all strings."""
        string = self.source.made("string", nodes[0], lambda: _STRING)
        found: Language | None = None
        for form in map(self.chosen, self.forms([*nodes, string])):
            if isinstance(form, String) and form in self.source.limited:
                form = exact(self.source, form, self.source.limited[form])
            language = words(form.values) if isinstance(form, Values) else form.language if isinstance(form, String) else None
            if language is None:
                return None
            found = language if found is None else found | language
        return words(()) if found is None else found

    def impossible(self, text: str, contradictory: int | None) -> InvalidRequest:
        """Returns the error for a root without values: a rule has limits that contradict each other, or the root needs itself."""
        hint = (
            "its limits contradict each other" if contradictory is not None else "it always requires itself: make that optional"
        )
        place = f"{FIELD}{self._paths.get(contradictory or 0, '')}"
        return InvalidRequest(FIELD, text, f"a schema that some text satisfies ({place} has no value)", hint=hint)


class _Narrowed(Clause):
    """A clause of which only some types are meant."""

    def __init__(self, entries: tuple[Entry, ...], types: frozenset[str]) -> None:
        super().__init__(entries)
        self.__dict__["types"] = types


_STRING = Made(type="string")
_OF_ALL = {"type", "const", "enum", NOT_ENUM, LISTED, "minContains", "maxContains"}
_KNOWN = ANNOTATIONS | BRANCHES | _OF_ALL.union(*OF_TYPE.values())
"""Other keywords, perhaps misspelled, are listed as not enforced, except those with `x-`."""
