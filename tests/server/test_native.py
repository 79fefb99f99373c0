"""The native routes on a server process of the real model, beside the same engine in this process."""

from __future__ import annotations

import json
from itertools import pairwise

import httpx
import numpy as np
import pytest

import workbench

PROMPT = "The capital of France is"
GREEDY = {"temperature": 0, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def http(real_server):
    with httpx.Client(base_url=real_server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine("smollm2-135m", dtype="float32", max_total_tokens=4096) as engine:
        yield engine


def generate(http, **body):
    answer = http.post("/generate", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_one_prompt_and_many_have_the_shapes_and_the_texts_of_the_engine(http, engine):
    prompts = [PROMPT, "One, two, three,"]
    assert generate(http, text=PROMPT, sampling_params=GREEDY)["text"] == engine.generate(PROMPT, GREEDY)["text"]
    many = generate(http, text=prompts, sampling_params=[GREEDY, GREEDY | {"n": 2}], rid=["a", "b"])
    assert [many[0]["meta_info"]["id"], many[1][0]["meta_info"]["id"]] == ["a", "b-0"]
    assert many[1][0]["text"] == many[1][1]["text"] == engine.generate(prompts[1], GREEDY)["text"]
    assert generate(http, text=PROMPT)["meta_info"]["completion_tokens"] > 0, "no sampling parameters are needed"


def test_a_stream_repeats_the_whole_text_and_ends_with_done(http):
    with http.stream("POST", "/generate", json={"text": PROMPT, "sampling_params": GREEDY, "stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    texts = [json.loads(line)["text"] for line in lines[:-1]]
    assert lines[-1] == "[DONE]"
    assert all(later.startswith(text) for text, later in pairwise(texts))
    assert texts[-1] == generate(http, text=PROMPT, sampling_params=GREEDY)["text"]


def test_the_reference_client_scores_prompts_with_its_nulls_and_empty_lists(http, engine):
    params = {"max_new_tokens": 0, "stop": [], "stop_token_ids": [], "regex": None, "json_schema": None, "temperature": 0}
    scored = generate(http, text=PROMPT, sampling_params=params, return_logprob=True)["meta_info"]["input_token_logprobs"]
    ids = http.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    assert [entry[1] for entry in scored] == ids == list(engine.tokenizer.encode(PROMPT))
    assert scored[0][0] is None
    local = engine.generate(PROMPT, params, return_logprob=True, logprob_start_len=0)["meta_info"]["input_token_logprobs"]
    assert [entry[0] for entry in scored[1:]] == pytest.approx([entry[0] for entry in local[1:]], abs=1e-3)


def test_unknown_fields_are_ignored_and_known_ones_without_a_feature_refused(http):
    added = {"background": False, "no_logs": True, "log_metrics": False, "lora_path": None, "modalities": [], "image_data": None}
    assert generate(http, text=PROMPT, sampling_params=GREEDY, **added)["text"]
    for name, value in {"image_data": "x.png", "lora_path": "a", "input_embeds": [[0.1]]}.items():
        answer = http.post("/generate", json={"text": PROMPT, name: value})
        assert (answer.status_code, name in answer.json()["error"]["message"]) == (400, True)


def test_a_prompt_may_be_embeddings(http, engine):
    rows = np.random.default_rng(0).normal(0, 0.1, (7, 576)).tolist()
    found = generate(http, input_embeds=rows, sampling_params=GREEDY)
    assert found["text"] == engine.generate(input_embeds=rows, sampling_params=GREEDY)["text"]
    assert found["meta_info"]["prompt_tokens"] == 7
    assert [each["text"] for each in generate(http, input_embeds=[rows, rows], sampling_params=GREEDY)] == [found["text"]] * 2
    answer = http.post("/generate", json={"input_embeds": [[0.5]]})
    assert (answer.status_code, "the width of the model" in answer.json()["error"]["message"]) == (400, True)


def test_hidden_states_and_infinite_numbers_are_json(http):
    result = generate(http, text=PROMPT, sampling_params=GREEDY | {"logit_bias": {"7042": -100}}, return_hidden_states=True)
    assert len(result["meta_info"]["hidden_states"][0]) == 5
    banned = GREEDY | {"regex": "(a|b)", "max_new_tokens": 2}
    assert generate(http, text=PROMPT, sampling_params=banned, return_logprob=True, top_logprobs_num=3)["text"] in ("a", "b")


def test_info_has_exactly_its_keys_and_hides_keys(http):
    assert http.get("/get_model_info").json() == {
        "model_path": "smollm2-135m", "tokenizer_path": "smollm2-135m", "is_generation": True,
    }  # fmt: skip
    info = http.get("/get_server_info").json()
    assert (info["max_total_num_tokens"], info["context_length"], info["api_key"]) == (30000, 8192, None)
    assert http.get("/get_max_total_num_tokens").json() == {"max_total_num_tokens": 30000}


def test_health_generates_and_the_cache_is_flushed(http):
    assert http.get("/health_generate").status_code == 200
    generate(http, text=PROMPT, sampling_params=GREEDY)
    assert "flushed" in http.post("/flush_cache").text
    assert generate(http, text=PROMPT, sampling_params=GREEDY)["meta_info"]["cached_tokens"] == 0
    assert generate(http, text=PROMPT, sampling_params=GREEDY)["meta_info"]["cached_tokens"] == 4


def test_text_and_tokens_go_both_ways(http, engine):
    ids = http.post("/tokenize", json={"prompt": ["hello world", "é"]}).json()["tokens"]
    assert ids == [list(engine.tokenizer.encode("hello world")), list(engine.tokenizer.encode("é"))]
    assert http.post("/detokenize", json={"tokens": ids}).json()["text"] == ["hello world", "é"]
    messages = [{"role": "user", "content": "hi"}]
    chat = http.post("/tokenize", json={"messages": messages}).json()["tokens"]
    assert chat == engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert http.post("/detokenize", json={"tokens": [10**6]}).status_code == 400
    assert http.post("/tokenize", json={}).status_code == 400


def test_calls_are_found_in_a_text(http):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    body = {"text": 'Hm {"name": "f", "parameters": {"a": 1}}', "tools": tools, "tool_call_parser": "llama3"}
    body["text"] = '<|python_tag|>{"name": "f", "parameters": {"a": 1}}'
    call = http.post("/function_call", json=body).json()["calls"][0]
    assert (call["name"], json.loads(call["parameters"]), call["tool_index"]) == ("f", {"a": 1}, 0)


def test_a_request_is_aborted_by_its_id(http):
    body = {"text": PROMPT, "sampling_params": {"max_new_tokens": 5000, "ignore_eos": True}, "rid": "long", "stream": True}
    with http.stream("POST", "/generate", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert httpx.post(http.base_url.join("/abort_request"), json={"rid": "long"}, timeout=60).status_code == 200
        rest = [line for line in lines if line]
    assert json.loads(rest[-2].removeprefix("data: "))["meta_info"]["finish_reason"]["type"] == "abort"


NO_OBJECTS = [b"", b"{", b"[]", b'{"text": NaN}', b'{"text": "\xff"}', b"[" * 100_000, b"{}"]


@pytest.mark.parametrize("content", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_body_that_is_no_json_object_is_refused(http, content):
    answer = http.post("/generate", content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert http.get("/health").status_code == 200


def test_a_call_that_only_the_reference_client_knows_does_nothing_and_succeeds(http):
    answer = http.post("/concate_and_append_request", json={"src_rids": ["a", "b"], "dst_rid": "c"})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
