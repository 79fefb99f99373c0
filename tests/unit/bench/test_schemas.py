"""The harness of public schemas finds the errors of a reader, and finds none in a correct reader."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from workbench.bench.schemas.judge import Judge, ecma, exact_value
from workbench.bench.schemas.measure import Measure
from workbench.bench.schemas.readers import Compiled, Refused, open_reader
from workbench.bench.schemas.report import goals, report, verdict
from workbench.bench.schemas.sets import Case, find_cases, sample
from workbench.bench.schemas.spelling import Layout, Ways, written
from workbench.bench.schemas.workers import measure_all
from workbench.grammar import Vocabulary

POINT = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}, "required": ["x", "y"]}
CLOSED = {**POINT, "additionalProperties": False}
TESTS = ((True, {"y": 1, "x": 2}), (False, {"x": 1}), (False, {"x": "a", "y": 1}))


class Instead:
    """A wrong reader: it reads another schema than the given one."""

    def __init__(self, vocabulary: Vocabulary, schema: Any) -> None:
        self._reader, self._schema = open_reader("workbench", vocabulary), schema

    def compile(self, schema: Any) -> Compiled:
        if schema == "refused":
            raise Refused("json_schema.a: it is refused")
        return self._reader.compile(self._schema)


def test_a_reader_that_lets_too_much_through_is_found(letters: Vocabulary) -> None:
    row = Measure("wrong", Instead(letters, {}), letters).row(Case("a", "f", CLOSED, TESTS), 40)
    assert len(row["accepted"]) == 2
    assert row["bad"]
    assert verdict(row) == "wrong"


def test_a_reader_that_lets_too_little_through_is_found(letters: Vocabulary) -> None:
    other = {**CLOSED, "properties": {"x": {"const": 1}, "y": {"const": 1}}}
    row = Measure("wrong", Instead(letters, other), letters).row(Case("a", "f", CLOSED, TESTS), 4)
    assert [(one["why"], one["fits"], one["then"]) for one in row["rejected"]] == [("other", '{"x": ', '2, "y": 1}')]
    assert not row["bad"]
    assert verdict(row) == "wrong"


def test_a_right_reader_is_right_and_its_masks_are_timed(letters: Vocabulary) -> None:
    row = Measure("workbench", open_reader("workbench", letters), letters).row(Case("a", "f", CLOSED, TESTS), 10)
    assert verdict(row) == "right"
    assert row["draws"] >= 8
    assert len(row["masks_us"]) > 5
    assert row["valid_taken"] == 1


def test_rows_become_tables_and_goals(letters: Vocabulary) -> None:
    measure = Measure("workbench", Instead(letters, CLOSED), letters)
    rows = [measure.row(Case("a", "f", CLOSED, TESTS), 4), measure.row(Case("b", "f", "refused", ()), 4)]
    rows[0]["compile_s"] = 0.001
    text = report([json.loads(json.dumps(row)) for row in rows])
    assert "| refused: it is refused | 1 | b |" in text
    assert goals(rows) == ["97 % of the schemas taken: 50.0%"]


@pytest.mark.process
def test_a_case_over_its_time_ends_alone(letters: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    def row(measure: Any, case: Case, num_draws: int, seed: int = 0, note: Any = None) -> dict[str, Any]:
        if case.name == "slow":
            time.sleep(60)
        return {"name": case.name, "taken": True}

    monkeypatch.setattr(Measure, "row", row)
    cases = [Case(name, "f", {}, ()) for name in ("slow", "a", "b")]
    rows = list(measure_all(cases, "workbench", letters, processes=1, limit_s=4, num_draws=0, seed=0))
    assert [(row["name"], row["taken"], row.get("why")) for row in rows] == [
        ("slow", False, "the time limit"), ("a", True, None), ("b", True, None),
    ]  # fmt: skip


def test_properties_are_written_in_the_schemas_order() -> None:
    schema = {
        "allOf": [{"$ref": "#/definitions/b~1c"}],
        "properties": {"z": {"items": {"properties": {"q": {}, "p": {}}}}, "a": {}},
        "definitions": {"b/c": {"properties": {"m": {}}}},
    }
    value = {"other": 1, "m": 2, "a": 3, "z": [{"p": 1, "r": 2, "q": 3}]}
    assert written(Layout(schema).ordered(value)) == '{"z": [{"q": 3, "p": 1, "r": 2}], "a": 3, "m": 2, "other": 1}'


def test_a_value_is_written_in_any_order_that_a_reader_takes(letters: Vocabulary) -> None:
    reader = open_reader("workbench", letters)
    start = reader.compile(CLOSED).start
    assert Ways().fits(start(), {"y": 1, "x": 2})
    assert not Ways().fits(start(), {"y": 1, "x": 2, "z": 3})
    assert not Ways().fits(start(), {"y": 1.0, "x": 2})
    assert Ways(numbers=True).fits(start(), {"y": 1.0, "x": 2})


def test_rules_that_narrow_are_told_from_faults(letters: Vocabulary) -> None:
    measure = Measure("narrow", Instead(letters, CLOSED), letters)
    more = (True, {"x": 1, "y": 2, "z": 3})
    untyped = {key: value for key, value in POINT.items() if key != "type"}
    assert verdict(measure.row(Case("a", "f", POINT, (more,)), 0)) == "right by rules"
    assert verdict(measure.row(Case("a", "f", untyped, ((True, 12),)), 0)) == "right by rules"
    assert verdict(measure.row(Case("a", "f", {**POINT, "additionalProperties": True}, (more,)), 0)) == "wrong"
    assert verdict(measure.row(Case("a", "f", POINT, ((True, {"x": 1, "y": 2 << 200, "z": 3}),)), 0)) == "right by rules"
    wide = {"type": ["object", "integer"]}
    assert verdict(measure.row(Case("a", "f", wide, ((True, 12),)), 0)) == "wrong"


@pytest.mark.parametrize(
    "schema, text, verdict",
    [
        ({"multipleOf": 0.1}, "0.3", "valid"),
        ({"multipleOf": 0.1}, "0.35", "invalid"),
        ({"type": "integer"}, "1.0", "valid"),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}, "1.0", "invalid"),
        ({"minimum": 0, "exclusiveMinimum": True}, "0.5", "valid"),
        ({"items": [{"minimum": 0, "exclusiveMinimum": True}]}, "[0]", "invalid"),
        ({"items": [{"type": "null"}], "additionalItems": False}, "[null, 1]", "invalid"),
        ({"format": "date"}, '"2020-02-30"', "invalid"),
        ({"pattern": r"^\d$"}, '"٣"', "invalid"),
        ({"pattern": r"^\p{L}$"}, '"é"', "valid"),
        ({"pattern": "^a$"}, '"a\\n"', "invalid"),
        ({"$ref": "http://elsewhere.org/a"}, "1", "unjudged"),
        ({}, "[1,]", "invalid"),
        ({}, "NaN", "invalid"),
        ({"type": "number"}, "1e99999999999999999999", "unjudged"),
    ],
)
def test_texts_are_judged_as_the_standard_means(schema: Any, text: str, verdict: str) -> None:
    assert Judge(schema).text(text.encode()).verdict == verdict


def test_only_what_is_named_as_unenforced_is_excused() -> None:
    schema = {"properties": {"a": {"format": "date"}, "b": {"uniqueItems": True}}}
    judge = Judge(schema, ['json_schema.properties.a: format "date"'])
    assert judge.value({"a": "x"}).verdict == "excused"
    assert judge.value({"a": "x", "b": [1, 1]}).verdict == "invalid"
    assert Judge(schema, ['json_schema.properties.a: format "time"']).value({"a": "x"}).verdict == "invalid"
    either = Judge({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, ['json_schema.anyOf.0: format "date"'])
    assert either.value("x").verdict == "excused"
    assert either.value(1).verdict == "invalid"
    one = Judge({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, ["json_schema.oneOf[1]: that it must not hold"])
    assert one.value(3).verdict == "excused"
    none = Judge({"oneOf": [{"minimum": 9}, {"maximum": 5}]}, ["json_schema.oneOf[1]: that it must not hold"])
    assert none.value(7).verdict == "invalid"


def test_expressions_are_read_as_in_ecma_script() -> None:
    assert ecma(r"(?<n>[\w$]+)\s$").search("a$\u00a0")
    assert not ecma(r"^\w$").search("é")
    assert ecma(r"\$$").search("5$")


def test_numbers_are_exact() -> None:
    assert str(exact_value("0.10000000000000000000000000000000001")) == "0.10000000000000000000000000000000001"


def test_a_sample_has_every_family_and_is_the_same_again(tmp_path: Any) -> None:
    cases = [Case(f"{family}{i}", family, {}, ((True, i),)) for family in "abc" for i in range(10 if family == "a" else 2)]
    (tmp_path / "all.jsonl").write_text("".join(case.to_json() + "\n" for case in cases))
    read = find_cases([tmp_path / "all.jsonl"])
    assert read == cases
    taken = sample(read, 5, seed=1)
    assert {case.family for case in taken} == set("abc")
    assert taken == sample(read, 5, seed=1)
    assert taken != sample(read, 5, seed=2)


@pytest.fixture(scope="module")
def letters() -> Vocabulary:
    """A tokenizer with one token per character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["</s>"])
    return Vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"), len(pieces), frozenset({0}))
