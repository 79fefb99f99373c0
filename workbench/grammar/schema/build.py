"""A JSON Schema as rules: for each schema, or several that hold together, the forms that a value may have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.errors import InvalidRequest
from workbench.grammar.effort import spend
from workbench.grammar.formats import FORMATS
from workbench.grammar.language import Language, words
from workbench.grammar.schema.accept import Acceptor
from workbench.grammar.schema.arrays import array_form
from workbench.grammar.schema.clause import Clause, Entry, spelled, type_of
from workbench.grammar.schema.clauses import BRANCHES, Clauses
from workbench.grammar.schema.demand import too_long
from workbench.grammar.schema.forms import Form, Rules, String, Values
from workbench.grammar.schema.limits import disputed
from workbench.grammar.schema.moves import is_possible
from workbench.grammar.schema.negate import NOT_ENUM, NOT_MULTIPLE, NOT_PATTERN, TYPES
from workbench.grammar.schema.objects import object_form
from workbench.grammar.schema.scalars import exact, number_form, string_form
from workbench.grammar.schema.share import shared
from workbench.grammar.schema.source import ANNOTATIONS, FIELD, Made, Node, Source

OF_TYPE = {
    "string": {"minLength", "maxLength", "pattern", "format", NOT_PATTERN},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", NOT_MULTIPLE},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"},
    "object": {
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "unevaluatedProperties"),
    },
}
MAX_RULES, MAX_DISTINCT = 20_000, 7


@dataclass(frozen=True)
class Schema:
    """What a schema says, ready to be written as a grammar. The root is rule 0."""

    rules: Rules
    unenforced: tuple[str, ...]

    @property
    def has_limits(self) -> bool:
        """Whether a matcher has to count the characters of some strings."""
        return any(isinstance(form, String) and form.limit is not None for forms in self.rules for form in forms)


def read_schema(text: str, *, counts: bool = True) -> Schema:
    """Without `counts` no string is left to a matcher that counts its characters.

    Raises InvalidRequest for what is no schema or satisfied by no value, NotSupported for what cannot be enforced."""
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(FIELD, text, f"JSON ({error})") from None
    except RecursionError:
        raise InvalidRequest(FIELD, text, "less deeply nested") from None
    builder = _Builder(Source(root))
    try:
        builder.rule_of([builder.source.node(root, "")])
        builder.work()
        builder.keep_possible()
    except RecursionError:
        raise InvalidRequest(FIELD, text, "less deeply nested") from None
    if not builder.rules[0]:
        raise builder.impossible(text)
    rules = settled(builder.source, shared(builder.rules), counts=counts)
    if limit := too_long(rules):
        raise InvalidRequest(FIELD, text, limit, hint="write shorter texts, or smaller counts")
    return Schema(rules, tuple(builder.source.unenforced))


def settled(source: Source, rules: Rules, *, counts: bool) -> Rules:
    """Leaves a limit to a matcher only where no other string may stand instead: that would be cut too."""
    kept = {*source.limited} - disputed(rules) if counts else set()

    def settle(form: Form) -> Form:
        if isinstance(form, String) and form.limit is not None and form not in kept:
            return exact(source, form, source.limited[form])
        return form

    return [tuple(map(settle, forms)) for forms in rules]


class _Builder:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.clauses = Clauses(source)
        self.rules: Rules = []
        self._number: dict[frozenset[Node | bool], int] = {}
        self._todo: list[tuple[int, list[Node]]] = []
        self._noted: set[int] = set()
        self._paths: dict[int, str] = {}
        """Where the first schema of a rule stands."""
        self._contradictory: set[int] = set()

    def rule_of(self, nodes: list[Node]) -> int:
        """The number of the rule for values that satisfy all these schemas; `work` makes its forms."""
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

    def forms(self, nodes: Iterable[Node]) -> tuple[Form, ...]:
        found: list[Form] = []
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

    def of_clause(self, clause: Clause) -> list[Form]:
        spend(20)
        if clause.values is not None:
            return self.of_values(clause, clause.values)
        types = clause.types if clause.names_types else _implied(clause)
        return self.of_types(_Narrowed(clause.entries, types))

    def of_types(self, clause: Clause) -> list[Form]:
        """A form for each type of the clause."""
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
            forms.append(object_form(self.source, clause, self.rule_of, self.names))
        if any(isinstance(value, (list, dict)) for value in excluded):
            self.source.drop(clause.entries[0].node, "'not' of an array or object")
        return [form for form in forms if form is not None]

    def of_values(self, clause: Clause, values: list[Any]) -> list[Form]:
        """Those of the listed values that satisfy everything else."""
        kept = [value for value in values if type_of(value) in clause.types]
        constraints = set().union(*OF_TYPE.values()) | {NOT_ENUM}
        if kept and any(constraints & entry.keywords.keys() for entry in clause.entries):
            types = frozenset(map(type_of, kept))
            forms = self.of_types(_Narrowed(clause.entries, types))
            self.work()
            acceptor = Acceptor(self.rules)
            kept = [value for value in kept if any(acceptor.form(form, value) for form in forms)]
        return [Values(tuple(kept))] if kept else []

    def rules_of_values(self, nodes: list[Node]) -> tuple[int, ...] | None:
        """A rule for each value that satisfies all these schemas; None where they are not a few."""
        said = [self.source.keywords(node) for node in map(self.source.resolved, nodes) if not isinstance(node.schema, bool)]
        forms = self.forms(nodes) if any({"enum", "const"} & keywords.keys() for keywords in said) else ()
        values = {spelled(value): value for form in forms if isinstance(form, Values) for value in form.values}
        if not values or len(values) > MAX_DISTINCT or not all(isinstance(form, Values) for form in forms):
            return None
        first = len(self.rules)
        self.rules += [(Values((value,)),) for value in values.values()]
        return tuple(range(first, len(self.rules)))

    def names(self, nodes: list[Node]) -> Language | None:
        """The language of the strings that satisfy all these schemas; None for all strings."""
        string = self.source.made("string", nodes[0], lambda: _STRING)
        found: Language | None = None
        for form in self.forms([*nodes, string]):
            if isinstance(form, String) and form in self.source.limited:
                form = exact(self.source, form, self.source.limited[form])
            language = words(form.values) if isinstance(form, Values) else form.language if isinstance(form, String) else None
            if language is None:
                return None
            found = language if found is None else found | language
        return words(()) if found is None else found

    def impossible(self, text: str) -> InvalidRequest:
        """What to say where the root has no value; names a place whose limits contradict each other, or one that needs itself."""
        number = next((i for i in sorted(self._contradictory) if not self.rules[i]), None)
        hint = "its limits contradict each other" if number is not None else "it always requires itself: make that optional"
        return InvalidRequest(
            FIELD, text, f"a schema that some text satisfies ({FIELD}{self._paths[number or 0]} has no value)", hint=hint
        )

    def keep_possible(self) -> None:
        """Removes the forms that no value has: an object that requires a value that is never possible, and what needs that."""
        possible: set[int] = set()
        self._contradictory = {i for i, forms in enumerate(self.rules) if not forms}
        while more := {
            i for i, forms in enumerate(self.rules) if i not in possible and any(is_possible(f, possible) for f in forms)
        }:
            possible |= more
        self.rules[:] = [tuple(form for form in forms if is_possible(form, possible)) for forms in self.rules]


class _Narrowed(Clause):
    """A clause of which only some types are meant."""

    def __init__(self, entries: tuple[Entry, ...], types: frozenset[str]) -> None:
        super().__init__(entries)
        self.__dict__["types"] = types


def _implied(clause: Clause) -> frozenset[str]:
    """Keywords of one type imply it, where no type is named: `{"minLength": 1}` means strings."""
    names = {name for name, keywords in OF_TYPE.items() for entry in clause.entries if keywords & entry.keywords.keys()}
    if "number" in names:
        names |= {"integer", "fraction"}
    return frozenset(names & set(TYPES)) or frozenset(TYPES)


_STRING = Made(type="string")
_KNOWN = ANNOTATIONS | BRANCHES | {"type", "const", "enum", NOT_ENUM, "minContains", "maxContains"}.union(*OF_TYPE.values())
"""Other keywords, perhaps misspelled, are listed as not enforced, but for those with `x-`."""
