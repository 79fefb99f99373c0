"""The fields of `/generate`: one meaning for keywords and JSON bodies, typed as they are checked."""

from __future__ import annotations

import random
import typing
from dataclasses import fields

import pytest

from workbench.errors import InvalidRequest, NotSupported, UnknownParameter
from workbench.field_docs import field_docs
from workbench.native.options import ConstraintOptions, GenerateBody, GenerateOptions, SamplingOptions
from workbench.native.requests import KINDS, MEDIA, SAMPLING, GenerateRequest, PromptOptions, make_batch
from workbench.native.results import Completion
from workbench.types import GRAMMAR_FIELDS, SamplingParams, SeenPrompt

A, B = [1, 2, 3], [4, 5]


def see(prompt, shown) -> SeenPrompt:
    assert not shown, "no prompt here has pictures"
    return SeenPrompt(tuple(prompt.encode()) if isinstance(prompt, str) else prompt)


def batch(request: GenerateRequest):
    return make_batch(request, lambda ids, params: ids, random.Random(0), lambda session, rid, own: own, see)


@pytest.mark.parametrize(
    "body",
    [
        {"text": "hi"},
        {"text": ["hi", "ho"], "sampling_params": [{"temperature": 0}, {"n": 2}], "rid": ["x", "y"]},
        {"input_ids": A, "sampling_params": {"max_new_tokens": 3}, "return_logprob": True, "top_logprobs_num": 2},
        {"input_ids": [A, B], "return_logprob": [True, None], "token_ids_logprob": [[1], None], "priority": 3},
        {"text": "hi", "regex": "a+", "stream": True},
    ],
)
def test_a_json_body_is_the_same_request_as_keywords(body):
    rest = {name: value for name, value in body.items() if name not in ("text", "input_ids", "sampling_params", "stream")}
    made = GenerateRequest.from_json(body)
    keywords = GenerateRequest.make(
        body.get("text"), body.get("input_ids"), body.get("sampling_params"), rest, body.get("stream", False)
    )
    assert made == keywords
    assert made.stream is body.get("stream", False)


def test_one_prompt_and_a_list_of_one_are_told_apart_and_samples_are_side_by_side():
    one, many = GenerateRequest.from_json({"text": "a"}), GenerateRequest.from_json({"text": ["a"], "n": 2, "rid": ["r"]})
    assert (one.is_one, many.is_one) == (True, False)
    made = batch(many)
    assert [request.rid for request in made.requests] == ["r-0", "r-1"]
    assert {request.group for request in made.requests} == {"r"}
    results: list[Completion] = [{"output_ids": [i], "meta_info": {}} for i in range(2)]  # type: ignore[typeddict-item]
    assert made.shape(results) == [results]
    assert made.chunk(results[1], 1)["index"] == 1
    assert "index" not in batch(one).chunk(results[0], 0)


def test_prompts_without_a_seed_draw_one_each_and_a_seed_repeats():
    request = GenerateRequest.from_json({"input_ids": [A, A], "sampling_params": [{}, {"seed": 7}]})
    first, second = batch(request).requests
    assert second.seed == 7 != first.seed
    assert [r.seed for r in batch(request).requests] == [first.seed, 7]


@pytest.mark.parametrize(
    "body, error, words",
    [
        ({}, InvalidRequest, "neither prompt nor input_ids"),
        ({"text": "a", "input_ids": A}, InvalidRequest, "both given"),
        ({"text": "a", "stream": "yes"}, InvalidRequest, "stream is 'yes', it must be of type bool"),
        ({"text": "a", "temprature": 1}, UnknownParameter, "temperature"),
        ({"text": "a", "lora_path": "x"}, NotSupported, "adapters are not available yet"),
        ({"text": ["a", "b"], "rid": "x"}, InvalidRequest, "a list of 2 ids"),
        ({"text": "a", "sampling_params": {"n": 2}, "n": 3}, InvalidRequest, "n is given as a keyword and in sampling_params"),
    ],
)
def test_a_wrong_body_is_refused_before_any_model_is_asked(body, error, words):
    with pytest.raises(error, match=words):
        GenerateRequest.from_json(body)


def test_options_that_the_reference_has_and_this_engine_lacks_are_taken_as_null():
    assert GenerateRequest.from_json({"text": "a", "image_data": None, "lora_path": None}).is_one


def test_the_typed_keywords_are_the_ones_that_are_checked():
    assert GenerateOptions.__annotations__.keys() == (SAMPLING - {"n"}) | KINDS.keys() | {"input_embeds", *MEDIA}
    assert ConstraintOptions.__annotations__.keys() == {*GRAMMAR_FIELDS, "max_whitespace"}
    assert not SamplingOptions.__annotations__.keys() & ConstraintOptions.__annotations__.keys()
    assert GenerateBody.__annotations__.keys() == KINDS.keys() | {
        "text",
        "input_ids",
        "input_embeds",
        "sampling_params",
        "stream",
        *MEDIA,
    }
    assert KINDS.keys() == {field.name for field in fields(PromptOptions)} == field_docs(PromptOptions).keys()


def test_each_keyword_has_the_type_of_its_field():
    keywords, checked = typing.get_type_hints(GenerateOptions), typing.get_type_hints(SamplingParams)
    for name in ("max_new_tokens", "temperature", "top_k", "ignore_eos", "seed", "regex", "json_object"):
        kind = checked[name]
        assert keywords[name] == kind | None, name
