"""Warnings before generating: an error is named with its place, and a correct constraint has no warning."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from workbench.grammar import Vocabulary, compile_grammar
from workbench.types import GrammarSpec
from workbench.why.constraint import Grammar
from workbench.why.lint import linter
from workbench.why.lint.finding import Finding
from workbench.why.lint.linter import lint
from workbench.why.lint.random_texts import walks
from workbench.why.lint.schema import _narrower, _order, _runaway, schema_findings, subschemas

BOUND = {"type": "string", "maxLength": 3}
LENGTH = {"type": "integer", "minimum": 0, "maximum": 99}
IN_ORDER = "Give the name and the size."
RECORD = {
    "type": "object",
    "properties": {"name": BOUND, "size": {"type": "object", "properties": {"cm": LENGTH}, "required": ["cm"]}},
    "required": ["name", "size"],
}


def found(vocabulary: Vocabulary, kind: str, text: Any, **more: Any) -> list[tuple[str, str]]:
    """Returns the kinds and places of the findings, without costs, which depend on the load of the machine."""
    spec = GrammarSpec(kind, text if isinstance(text, str) else json.dumps(text))
    return [
        (finding.kind, finding.where) for finding in lint(spec, vocabulary, "xgrammar", **more).findings if finding.kind != "cost"
    ]


def test_a_constraint_that_can_only_end_has_no_warnings(vocabulary: Vocabulary) -> None:
    assert found(vocabulary, "regex", r"(yes|no), [0-9]{1,3} ?") == []
    assert found(vocabulary, "json_schema", RECORD, prompt=IN_ORDER) == []
    assert found(vocabulary, "ebnf", 'root ::= "a" b?\nb ::= [0-9]{1,3}') == []
    assert str(Grammar(tokenizer=vocabulary, regex="a").lint()).startswith("Nothing to warn of. It compiles in")


@pytest.mark.parametrize(
    "kind, text, where",
    [
        ("regex", r"a\s*b", r"\s*"),
        ("regex", r"a( |\n)+b", r"( |\n)+"),
        ("ebnf", 'root ::= "a" ws "b"\nws ::= [ \\t\\n]*', "[ \\t\\n]*"),
        ("ebnf", 'root ::= "a" ws "b"\nws ::= ([ \\n] ws)?', "ws"),
    ],
)
def test_endless_whitespace_is_told_from_other_repetitions(kind, text, where, vocabulary: Vocabulary) -> None:
    assert found(vocabulary, kind, text) == [("endless whitespace", where)]
    assert found(vocabulary, "regex", r"a[\sx]*b") == [("runaway", r"[\sx]*")]


@pytest.mark.parametrize(
    "schema, where",
    [
        ({"type": "string"}, ["."]),
        ({**RECORD, "properties": {**RECORD["properties"], "name": {"type": ["string", "null"]}}}, [".name"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, ["[]"]),
        ({"type": "array", "items": BOUND}, ["."]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["."]),
        ({"type": "string", "pattern": "^[a-z]{3}$"}, []),
        ({"type": "string", "format": "date"}, []),
        ({"type": "string", "format": "uri"}, ["."]),
        ({"type": "string", "format": "email"}, []),
        ({"type": "string", "format": "smile"}, ["."]),
        ({"type": "string", "pattern": "[a-z]{3}"}, ["."]),
        ({"type": "string", "pattern": "[a-z]{3}", "maxLength": 9}, []),
        ({"type": "string", "pattern": "^a|b$"}, ["."]),
        ({"type": "string", "pattern": "^(?:a|bc$)"}, ["."]),
        ({"type": "string", "pattern": "^a$|^(b|c)$"}, []),
        ({"type": "number"}, ["."]),
        ({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "additionalProperties": False}, [".n"]),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, []),
        ({"minimum": 0}, ["."]),
        ({"type": ["integer", "string"]}, [".", "."]),
        ({"type": "object"}, ["."]),
        ({"type": "object", "patternProperties": {"^x": BOUND}, "properties": {"a": BOUND}}, ["."]),
        ({"type": "object", "patternProperties": {"^x": {"type": "string"}}, "maxProperties": 2}, ["{}"]),
        ({"type": "array", "items": [{"type": "number"}], "additionalItems": False}, ["[0]"]),
        ({"enum": ["a", "b"]}, []),
        ({"anyOf": [LENGTH, {"type": "string"}]}, ["."]),
        ({"$defs": {"x": {"type": "string"}}, "type": "object", "properties": {"a b": {"$ref": "#/$defs/x"}}}, ['["a b"]']),
        ({"type": "object", "additionalProperties": {"type": "string"}}, [".", "{}"]),
        ({"type": "object", "properties": {"a": {}}}, [".a"]),
    ],
)
def test_what_nothing_ends_is_named_by_its_path(schema, where) -> None:
    """Findings need no compilation, so refused schemas have theirs too."""
    told = [(finding.kind, finding.where) for finding in schema_findings(schema, IN_ORDER)]
    assert [path for kind, path in told if kind == "runaway"] == where


@pytest.mark.parametrize("value", [True, 5, "a", [], [True], {}, {"a": 5}, None])
def test_a_schema_that_is_none_is_told_and_breaks_nothing(value) -> None:
    keywords = (
        *("type", "properties", "items", "anyOf", "$ref", "additionalProperties", "patternProperties", "prefixItems", "$defs"),
        *("enum", "pattern", "format", "minLength", "minimum", "required", "then", "additionalItems", "definitions"),
    )
    for keyword in keywords:
        for _, part in subschemas({keyword: value}):
            list(_runaway("", part))
            list(_narrower("", part))
        list(_order({keyword: value}, ""))


def test_what_gives_less_than_it_reads_is_told(vocabulary: Vocabulary) -> None:
    (told,) = (f for f in schema_findings({"type": "string", "format": "hostname"}, "") if f.kind == "narrower")
    assert told.what.startswith("of the format hostname these never come: labels with --")
    assert found(vocabulary, "regex", r"\w{2}") == [("narrower", r"\w")]
    assert found(vocabulary, "regex", r"\\w[a-z]{2}") == []


def test_what_stands_in_a_structural_tag_is_looked_at_too(vocabulary: Vocabulary) -> None:
    tag = {"structures": [{"begin": "<f>", "schema": {"type": "string"}, "end": "</f>"}], "triggers": ["<f"]}
    assert found(vocabulary, "structural_tag", tag) == [("runaway", "format.tags[0].content")]
    parts = [
        {"type": "regex", "pattern": "a+"},
        {"type": "star", "content": {"type": "grammar", "grammar": 'root ::= "a" | root "b"*'}},
    ]
    assert found(vocabulary, "structural_tag", {"format": {"type": "sequence", "elements": parts}}) == [
        ("runaway", "format.elements[0] a+"), ("runaway", 'format.elements[1].content "b"*'),
    ]  # fmt: skip
    assert found(vocabulary, "structural_tag", {"format": 5}) == [("unsupported", "")]


def test_the_order_of_properties_is_told_where_no_prompt_is_given(vocabulary: Vocabulary) -> None:
    (told,) = lint(GrammarSpec("json_schema", json.dumps(RECORD)), vocabulary, "xgrammar").findings
    assert (told.kind, told.where, told.what) == ("order", ".", "properties come in the order of the schema: name, size")
    assert found(vocabulary, "json_object", "true") == [("runaway", ".")]


def test_what_cannot_be_enforced_is_listed(vocabulary: Vocabulary) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "maxItems": 2, "uniqueItems": True}, "b": {"$ref": "other.json"}, "c": BOUND},
    }
    told = lint(GrammarSpec("json_schema", json.dumps(schema)), vocabulary, "xgrammar")
    refused = [finding for finding in told.findings if finding.kind == "unsupported"]
    assert [finding.where for finding in refused] == [".b"]
    assert "the reference 'other.json'" in refused[0].what
    assert told.costs == ()
    for kind, text in (("regex", "(?=a)"), ("ebnf", "root ::="), ("json_schema", "{"), ("regex", "(")):
        assert found(vocabulary, kind, text) == [("unsupported", "")]


def test_what_no_mask_enforces_is_listed(vocabulary: Vocabulary) -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string", "format": "smile", "maxLength": 3}}}
    (told,) = lint(GrammarSpec("json_schema", json.dumps(schema)), vocabulary, "xgrammar").findings
    assert (told.kind, told.where, told.what) == ("unenforced", ".mood", 'format "smile" is an annotation')


def test_a_stop_string_is_warned_of_only_where_it_cuts_an_unfinished_text(vocabulary: Vocabulary) -> None:
    def stops(kind: str, text: Any, stop: str) -> list[Finding]:
        spec = GrammarSpec(kind, text if isinstance(text, str) else json.dumps(text))
        return [f for f in lint(spec, vocabulary, "xgrammar", (stop,)).findings if f.kind == "stop"]

    always = stops("json_schema", RECORD, "}")
    assert [f.what.startswith("the stop string '}' came before the end in all of ") for f in always] == [True]
    assert "for example after" in stops("json_schema", RECORD, "x")[0].what
    assert stops("json_schema", RECORD, "\n") == []
    assert stops("regex", "[0-9]{1,3}( cm)?", " cm") == [], "the text is complete where it is cut"
    assert len(stops("regex", "[0-9]{1,3} cm", " cm")) == 1
    assert len(stops("regex", "[ab]{3}", "bb")) == 1


def test_texts_drawn_for_stop_strings_belong_to_the_constraint(vocabulary: Vocabulary) -> None:
    grammar = compile_grammar(GrammarSpec("regex", "[ab]{1,3}c?"), vocabulary)
    drawn = [*walks(grammar, vocabulary)]
    assert all(finished for finished, _ in drawn)
    assert drawn[0][1][-1][0] == next(walks(grammar, vocabulary))[1][-1][0], "the same each time"
    for _, trail in drawn:
        for text, matcher in trail:
            assert grammar.start().accept_bytes(text) == len(text)
            assert matcher.is_complete == bool(text)


def test_a_prompt_that_names_the_keys_in_another_order_is_told(vocabulary: Vocabulary) -> None:
    spec = GrammarSpec("json_schema", json.dumps(RECORD))
    (told,) = lint(spec, vocabulary, "xgrammar", (), "Give the size and the name.").findings
    assert (told.where, told.what) == (".", "the prompt names size, name; they are generated as name, size")
    for fine in (IN_ORDER, "Just the name.", "Resized names"):
        assert found(vocabulary, "json_schema", RECORD, prompt=fine) == []


def test_what_compiling_costs_is_measured_for_the_whole_and_its_parts(vocabulary: Vocabulary, monkeypatch) -> None:
    spec = GrammarSpec("json_schema", json.dumps(RECORD))
    costs = lint(spec, vocabulary, "xgrammar").costs
    assert [cost.where for cost in costs] == ["", ".name", ".size", ".size.cm"]
    assert all(cost.seconds > 0 and cost.num_bytes > 0 for cost in costs)
    assert costs[0].num_bytes == compile_grammar(spec, vocabulary).num_bytes
    monkeypatch.setattr(linter, "SLOW_S", 0.0)
    again = lint(spec, vocabulary, "xgrammar", prompt=IN_ORDER)
    hottest = max(again.costs[1:], key=lambda cost: cost.seconds)
    assert [(f.kind, f.where) for f in again.findings] == [("cost", hottest.where)]


def test_masks_are_timed_where_they_are_found_anew_at_each_step(vocabulary: Vocabulary, monkeypatch) -> None:
    spec = GrammarSpec("json_schema", json.dumps(RECORD))
    whole, *parts = lint(spec, vocabulary, "xgrammar").costs
    assert whole.mask_s > 0
    assert {part.mask_s for part in parts} == {None}
    monkeypatch.setattr(linter, "SLOW_MASK_S", 0.0)
    (told,) = lint(spec, vocabulary, "xgrammar", prompt=IN_ORDER).findings
    assert told.kind == "cost"
    assert re.fullmatch(r"a mask takes \d+\.\d ms on average", told.what)
    kept = lint(GrammarSpec("regex", "[ab]{1,3}"), vocabulary, "outlines")
    assert kept.costs[0].mask_s is None
    assert kept.findings == ()


def test_every_part_of_a_schema_is_visited_once_also_in_a_circle() -> None:
    schema = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": True}}},
        "prefixItems": [{"$ref": "#/$defs/node"}, {"$ref": "#/nowhere"}],
        "items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
    }
    assert [path for path, _ in subschemas(schema)] == [".", "[0]", "[]", "[0].v", "[]"]


def test_a_lint_shows_itself(vocabulary: Vocabulary) -> None:
    told = Grammar(
        tokenizer=vocabulary, json_schema={**RECORD, "properties": {"<b>": {"type": "string"}}, "required": ["<b>"]}
    ).lint()
    assert str(told).startswith("1 warning: 1 × runaway. It compiles in ")
    assert 'runaway at ["<b>"]: the string has no maxLength\n  why  only the model' in repr(told)
    assert json.loads(told.to_json())["findings"][0]["kind"] == "runaway"
    assert "<b>&quot;" not in told._repr_html_()
    assert "&lt;b&gt;" in told._repr_html_()
