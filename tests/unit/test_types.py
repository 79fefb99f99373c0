"""`SamplingParams` accepts the dict that users write, and refuses a wrong value with its name, the value and the limit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from workbench.errors import InvalidRequest, UnknownParameter
from workbench.types import GRAMMAR_FIELDS, GrammarSpec, SamplingParams, is_ggml_bnf, slots_of_pages


def test_nothing_given_is_every_default() -> None:
    assert SamplingParams.make(None) == SamplingParams.make({}) == SamplingParams()
    assert SamplingParams.make({"temperature": None}) == SamplingParams()


@pytest.mark.parametrize(
    "given, field, value",
    [
        ({"max_tokens": 7}, "max_new_tokens", 7),
        ({"stop": "end"}, "stop", ("end",)),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"stop_token_ids": [2, 3]}, "stop_token_ids", (2, 3)),
        ({"logit_bias": {"5": 1}}, "logit_bias", {5: 1.0}),
        ({"temperature": 1}, "temperature", 1.0),
        ({"choices": ["yes", "no", "yes"]}, "choices", ("yes", "no")),
        ({"json_schema": {"type": "null"}}, "json_schema", '{"type":"null"}'),
    ],
)
def test_values_are_taken_as_users_write_them(given: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(SamplingParams.make(given), field) == value


@pytest.mark.parametrize(
    "given, words",
    [
        ({"max_new_tokens": -1}, "max_new_tokens is -1, it must be at least 0"),
        ({"max_new_tokens": True}, "max_new_tokens is True, it must be an integer"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, r"min_new_tokens is 5, it must be between 0 and 4 \(max_new_tokens\)"),
        ({"temperature": -0.1}, "temperature is -0.1, it must be at least 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0.*above 0 and at most 1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0.*above 0 and at most 2"),
        ({"frequency_penalty": 2.5}, "frequency_penalty is 2.5, it must be between -2 and 2"),
        ({"n": 0}, "n is 0, it must be between 1 and 1024"),
        ({"stop": ""}, "stop is .*at least one character"),
        ({"logit_bias": {"a": 1}}, "logit_bias is 'a'"),
        ({"regex": "a", "ebnf": "b"}, "regex and ebnf are given together"),
        ({"max_tokens": 1, "max_new_tokens": 2}, "max_tokens and max_new_tokens are given"),
        ("greedy", "sampling_params is 'greedy', it must be a dict"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_limit(given: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        SamplingParams.make(given)


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownParameter, match=r"(?s)temprature.*did you mean .temperature"):
        SamplingParams.make({"temprature": 1})


@pytest.mark.parametrize("field", GRAMMAR_FIELDS)
def test_each_constraint_becomes_a_spec_of_its_kind(field: str) -> None:
    value: Any = {"json_object": True, "choices": ["a"]}.get(field, "{}")
    spec = SamplingParams.make({field: value}).constraint
    assert spec is not None
    assert spec.kind == field
    assert hash(spec) == hash(GrammarSpec(spec.kind, spec.text, spec.max_whitespace)), "it is the key of every grammar cache"
    assert SamplingParams().constraint is None


def test_white_space_belongs_to_json_alone() -> None:
    both = {"max_whitespace": 3}
    assert SamplingParams.make({"json_schema": "{}", **both}).constraint == GrammarSpec("json_schema", "{}", 3)
    assert SamplingParams.make({"regex": "a", **both}).constraint == GrammarSpec("regex", "a", 0)


@pytest.mark.parametrize(
    "given, greedy", [({"temperature": 0}, True), ({"top_k": 1}, True), ({}, False), ({"temperature": 0.1}, False)]
)
def test_greedy_is_temperature_zero_or_one_token_to_draw_from(given: dict[str, Any], greedy: bool) -> None:
    assert SamplingParams.make(given).is_greedy == greedy


def test_params_cross_processes_unchanged() -> None:
    params = SamplingParams.make({"stop": ["a"], "logit_bias": {5: float("-inf")}, "seed": 3, "regex": "é+"})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams) == params


@pytest.mark.parametrize(
    "grammar, is_bnf", [('root ::= "a"', True), ('# one\n// two\nroot ::= "a"', True), ('start: "a"', False), ("", False)]
)
def test_the_first_rule_tells_the_dialect_of_a_grammar(grammar: str, is_bnf: bool) -> None:
    assert is_ggml_bnf(grammar) == is_bnf


def test_pages_become_slots_in_order() -> None:
    assert slots_of_pages([3, 1], 1) == [3, 1]
    assert slots_of_pages([3, 1], 2) == [6, 7, 2, 3]
