"""A constraint holds whatever else a request contains, on both backends, with and without jump-forward, under retraction."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import regex
from tiny_text import END, write_text_model

import workbench
from workbench.errors import InvalidRequest
from workbench.events import RequestRetracted

SCHEMA = {
    "type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "alive": {"enum": ["yes", "no"]}},
    "required": ["name", "alive"], "additionalProperties": False,
}  # fmt: skip
NUMBER = r"[0-9]{3}-(red|green)-[a-f]{2,40}"
ARGS = {"load_format": "dummy", "dtype": "float32", "random_seed": 0, "num_threads": 1, "disable_outlines_disk_cache": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_text_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module", params=[("xgrammar", False), ("xgrammar", True), ("outlines", False), ("outlines", True)])
def engine(folder, request):
    backend, off = request.param
    with workbench.Engine(folder, grammar_backend=backend, disable_jump_forward=off, max_total_tokens=20_000, **ARGS) as engine:
        yield engine


def fits(pattern: str, result: dict[str, Any]) -> bool:
    """Returns whether the text matches; if it was cut, whether it begins a match."""
    is_cut = result["meta_info"]["finish_reason"]["type"] == "length"
    assert is_cut or result["meta_info"]["finish_reason"]["type"] == "stop"
    return bool(regex.fullmatch(pattern, result["text"], partial=is_cut))


MORE = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 1.0, "top_k": 20, "seed": 1},
    "penalties": {"temperature": 0, "frequency_penalty": 1.0, "presence_penalty": 0.5, "repetition_penalty": 1.3},
    "log-probabilities": {"temperature": 1.0, "seed": 2},
}


@pytest.mark.parametrize("more", MORE)
def test_constrained_and_free_requests_share_a_batch(engine, more):
    params = [
        MORE[more] | {"max_new_tokens": 60} | how
        for how in ({"regex": NUMBER}, {}, {"json_schema": SCHEMA}, {"choices": ["up", "down"]})
    ]
    asks = {"return_logprob": True} if more == "log-probabilities" else {}
    number, free, record, choice = engine.generate(["A"] * 4, params, **asks)
    assert fits(NUMBER, number)
    assert free["text"]
    if record["meta_info"]["finish_reason"]["type"] == "stop":
        jsonschema.validate(json.loads(record["text"]), SCHEMA)
    assert choice["text"] in ("up", "down")
    if asks:
        assert len(number["meta_info"]["output_token_logprobs"]) == number["meta_info"]["completion_tokens"]


def test_each_of_n_samples_fits_and_they_differ(engine):
    results = engine.generate("A", {"regex": NUMBER, "n": 4, "temperature": 1.0, "seed": 3, "max_new_tokens": 60})
    assert len(results) == 4
    assert all(fits(NUMBER, result) for result in results)
    assert len({result["text"] for result in results}) > 1


@pytest.mark.parametrize("more", [{}, {"stop": "green"}, {"n": 2}])
def test_what_was_streamed_is_never_written_anew(engine, more):
    params = {"regex": NUMBER, "temperature": 1.0, "seed": 4, "max_new_tokens": 60} | more
    seen: dict[int, str] = {}
    last: dict[int, dict[str, Any]] = {}
    for chunk in engine.generate("A", params, stream=True):
        index = chunk.get("index", 0)
        assert chunk["text"].startswith(seen.get(index, ""))
        seen[index], last[index] = chunk["text"], chunk
    assert len(seen) == more.get("n", 1)
    assert all(regex.fullmatch(NUMBER, text, partial=True) for text in seen.values())


def test_a_stop_string_ends_a_constrained_text(engine):
    result = engine.generate("A", {"regex": NUMBER, "stop": "-", "temperature": 0, "max_new_tokens": 60})
    assert re.fullmatch("[0-9]{3}", result["text"])
    assert result["meta_info"]["finish_reason"] == {"type": "stop", "matched": "-"}


@pytest.mark.parametrize("pattern", [NUMBER, "[0-9]{3}(-[a-z]{1,9})*", "[0-9]*-?[a-f]*"])
@pytest.mark.parametrize("stop", [[], "-", "red", ["een", "b"]])
@pytest.mark.parametrize("limit", [3, 60])
def test_meta_info_says_whether_the_text_satisfies_the_constraint_and_what_else_could_come(engine, pattern, stop, limit):
    params = {"regex": pattern, "stop": stop, "temperature": 1.0, "max_new_tokens": limit, "n": 4, "seed": 5}
    for result in engine.generate("A", params):
        text, meta = result["text"], result["meta_info"]
        assert meta["constraint_met"] is bool(re.fullmatch(pattern, text)), text
        assert ("constraint_expected" in meta) is not meta["constraint_met"]
        if meta.get("constraint_expected", "").startswith("one of "):
            coming = meta["constraint_expected"].removeprefix("one of ")[0]
            assert regex.fullmatch(pattern, text + coming, partial=True)


def test_a_stream_says_it_at_its_end_and_an_abort_says_it_too(engine):
    params = {"regex": "[0-9]{3}-[a-f]{300}", "temperature": 0, "max_new_tokens": 400}
    *chunks, last = engine.generate("A", params, stream=True, timeout_s=60)
    assert not any("constraint_met" in chunk["meta_info"] for chunk in chunks)
    assert last["meta_info"]["constraint_met"] is True
    longer = params | {"regex": "[0-9]{3}-[a-f]{900}", "max_new_tokens": 1000}
    for chunk in engine.generate("A", longer, stream=True, rid="leaves"):
        engine.abort("leaves")
        last = chunk
    assert last["meta_info"]["finish_reason"]["type"] == "abort"
    assert last["meta_info"]["constraint_met"] is False
    assert "constraint_met" not in engine.generate("A", {"max_new_tokens": 2})["meta_info"]


def test_min_new_tokens_keeps_an_optional_text_going_and_is_an_error_where_none_can(engine):
    bias = {engine.tokenizer.convert_tokens_to_ids(END): 50.0}
    params = {"regex": "[a-c]*", "temperature": 0, "max_new_tokens": 30, "logit_bias": bias}
    assert engine.generate("A", params)["text"] == ""
    long = engine.generate("A", params | {"min_new_tokens": 10})
    assert long["meta_info"]["completion_tokens"] >= 10
    assert re.fullmatch("[a-c]+", long["text"])
    ended = engine.generate("A", {"regex": "abc", "temperature": 0, "max_new_tokens": 30, "min_new_tokens": 20})
    reason = ended["meta_info"]["finish_reason"]
    assert reason["type"] == "abort"
    assert "grammar and min_new_tokens left none" in reason["message"]
    assert "the text so far ends in 'abc'" in reason["message"]


def test_two_constraints_are_an_error_that_names_both(engine):
    with pytest.raises(InvalidRequest, match=r"regex and json_schema|json_schema and regex"):
        engine.generate("A", {"regex": "a", "json_schema": SCHEMA})


def test_a_cut_text_says_so_and_where(engine):
    result = engine.generate("A", {"json_schema": SCHEMA, "temperature": 0, "max_new_tokens": 4})
    reason = result["meta_info"]["finish_reason"]
    assert (reason["type"], reason["constraint"]) == ("length", "incomplete")
    assert "next may come" in reason["message"]
    runaway = engine.generate("A", {"json_schema": {"type": "string", "minLength": 200}, "temperature": 0, "max_new_tokens": 100})
    assert "cut inside a string of" in runaway["meta_info"]["finish_reason"]["message"]


@pytest.mark.parametrize("backend", ["xgrammar", "outlines"])
def test_retraction_and_prefix_reuse_change_nothing(folder, backend):
    long = r"[0-9]{3}-(red|green)-[a-f]{50,60}"
    params = [{"regex": long, "temperature": 1.0, "seed": i, "max_new_tokens": 70} for i in range(8)]
    prompts = ["The same beginning of all prompts, " + str(i) for i in range(8)]

    def outputs(**args: Any) -> tuple[list[list[int]], int]:
        with workbench.Engine(folder, grammar_backend=backend, **ARGS | args) as engine:
            results = engine.generate(prompts, params)
            assert all(fits(long, result) for result in results)
            retracted = [event for event in engine.log.read()[1] if isinstance(event, RequestRetracted)]
            return [result["output_ids"] for result in results], len(retracted)

    roomy, none = outputs(max_total_tokens=20_000, disable_radix_cache=True)
    tight, some = outputs(max_total_tokens=200, schedule_conservativeness=0.01)
    assert none == 0 < some
    assert tight == roomy
