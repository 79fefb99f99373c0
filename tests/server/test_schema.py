"""The schemas of `/openapi.json` beside what the server answers: a body is valid exactly if it is not refused.

What depends on the model or on other fields' lengths is in words there: the vocabulary, pictures, one constraint at most.
"""

from __future__ import annotations

import copy

import httpx
import jsonschema
import pytest
from byte_model import write_byte_model

import workbench
from workbench.server.app import make_app
from workbench.server.serving import Serving

pytestmark = pytest.mark.heavy
ONE = {"max_new_tokens": 1}
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
BODIES = [
    ("/generate", {"sampling_params": ONE}, [
        {"text": "a"}, {"text": ["a", "b"], "priority": [1, 2]}, {"text": ["a", "b"], "sampling_params": [ONE, ONE]},
        {"input_ids": [3]}, {"input_ids": [3.0]}, {"input_ids": [[3], [4]]}, {"input_embeds": [[0.5] * 32]},
        {"text": "a", "sampling_params": {"max_new_tokens": 1.0, "regex": None, "ebnf": 'root ::= "a"', "top_k": -1}},
        {"text": "a", "temperature": 0.5, "top_k": -1}, {"text": ["a", "b"], "sampling_params": None, "max_tokens": 1},
        {"text": "a", "top_logprobs_num": 2.0, "return_logprob": True, "logprob_start_len": 0.0},
    ], [
        {}, {"text": ""}, {"text": "a", "input_ids": [1]}, {"input_ids": [-1]}, {"input_ids": [1.5]}, {"input_ids": [2**63]},
        {"input_embeds": []}, {"input_embeds": [[]]}, {"text": "a", "timeout_s": 0}, {"text": "a", "modalities": "sound",
        "image_data": "x"}, {"text": "a", "priority": 2**64}, {"text": "a", "session_params": {"name": "s"}},
        {"text": "a", "sampling_params": {"top_k": 0}},
        {"text": "a", "sampling_params": {"max_tokens": 1, "max_new_tokens": 1}},
        {"text": "a", "sampling_params": {"temprature": 1}}, {"text": "a", "temperature": -1}, {"text": "a", "choices": []},
        {"text": "a", "sampling_params": None, "max_tokens": 1, "max_new_tokens": 1}, {"text": "a", "ignore_eos": "yes"},
    ]),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 1}, [
        {}, {"max_tokens": None}, {"max_tokens": 1.0}, {"logprobs": True, "top_logprobs": 2}, {"top_logprobs": 0},
        {"stream": True, "stream_options": {"include_usage": True}}, {"stream_options": None}, {"tool_choice": "auto"},
        {"tools": [TOOL], "tool_choice": "required"}, {"choices": ["a", "b"]}, {"regex": "a", "ebnf": None},
        {"response_format": {"type": "json_object"}}, {"timeout_s": 5, "priority": 1, "namespace": "class"},
    ], [
        {"messages": []}, {"messages": [{"role": "user"}, {"content": 5}]}, {"max_tokens": -1}, {"max_tokens": 1.5},
        {"top_logprobs": 2}, {"logprobs": False, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 21},
        {"stream_options": {"include_usage": True}}, {"stream": False, "stream_options": {}}, {"tool_choice": "required"},
        {"tools": [], "tool_choice": "required"}, {"tool_choice": "some"}, {"n": 129},
        {"choices": []}, {"timeout_s": 0}, {"temperature": -1}, {"stop": [""]}, {"response_format": {"type": "xml"}},
    ]),
    ("/v1/completions", {"prompt": "a", "max_tokens": 1}, [
        {}, {"prompt": [3, 4]}, {"prompt": ["a", "b"]}, {"logprobs": 0}, {"logprobs": True}, {"best_of": 2, "n": 2},
    ], [{"prompt": []}, {"prompt": ""}, {"prompt": [-1]}, {"logprobs": 21}, {"best_of": 0}, {"stream_options": {}}]),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 1}, [
        {}, {"system": [{"type": "text", "text": "Be brief."}]}, {"thinking": {"type": "disabled"}},
        {"tool_choice": {"type": "auto"}},
    ], [
        {"max_tokens": None}, {"max_tokens": 0}, {"thinking": {}}, {"thinking": {"type": "deep"}},
        {"thinking": {"type": "enabled", "budget_tokens": 0}}, {"tool_choice": {"type": "any"}}, {"tool_choice": {"type": "one"}},
        {"system": [{"type": "picture"}]}, {"stop_sequences": [""]},
    ]),
    ("/v1/responses", {"max_output_tokens": 1}, [
        {"input": "a"}, {"input": HELLO}, {"input": [*HELLO, {"type": "reasoning", "content": [{"text": "Hm."}]}]},
        {"input": "a", "tools": [FLAT], "tool_choice": {"type": "function", "name": "f"}},
        {"input": "a", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"input": "a", "text": {"format": {"type": "json_object"}}},
    ], [
        {}, {"input": ""}, {"input": []}, {"input": [{"type": "message"}]}, {"input": [{"type": "computer_call"}]},
        {"input": [{"type": "function_call_output", "output": "a"}]}, {"input": "a", "top_logprobs": 501},
        {"input": "a", "include": ["all"]}, {"input": "a", "tools": [{"type": "web_search"}]},
        {"input": "a", "tool_choice": "required"},
        {"input": "a", "max_output_tokens": 0}, {"input": "a", "text": {"verbosity": "high"}},
        {"input": "a", "reasoning": {"summary": "detailed"}}, {"input": "a", "text": {"format": {"type": "json_schema"}}},
    ]),
    ("/tokenize", {}, [{"prompt": "a"}, {"text": ["a", "b"]}, {"messages": HELLO}], [{}, {"prompt": "a", "messages": HELLO}]),
    ("/detokenize", {}, [{"tokens": [3]}, {"tokens": []}, {"tokens": [[3], [4]]}], [{"tokens": [-1]}, {"tokens": "a"}, {}]),
    ("/function_call", {"text": "a"}, [{"tool_call_parser": "qwen25"}, {"tool_call_parser": "hermes", "tools": [TOOL]}],
     [{"tool_call_parser": "unknown"}, {"tool_call_parser": "hermes", "tools": [{}]}]),
    ("/open_session", {}, [{}, {"capacity_of_str_len": 10.0}], [{"capacity_of_str_len": -1}]),
    ("/abort_request", {}, [{"rid": "a"}], [{}, {"rid": ""}]),
    ("/v1/batches", {"endpoint": "/v1/chat/completions"}, [],
     [{"input_file_id": "f", "endpoint": "/v1/nothing"}, {"input_file_id": "f", "completion_window": "1h"}, {}]),
    ("/api/generate", {"model": "any", "prompt": "a", "stream": False, "options": {"num_predict": 1}},
     [{}, {"suffix": ""}, {"template": None}, {"options": {"num_predict": 1.0, "top_k": 3}}],
     [{"suffix": "b"}, {"template": "t"}, {"options": {"top_p": 2}}, {"format": "xml"}]),
]  # fmt: skip
CASES = [
    pytest.param(path, {**base, **more}, is_valid, id=f"{path} {more}"[:60])
    for path, base, valid, invalid in BODIES
    for is_valid, all_more in ((True, valid), (False, invalid))
    for more in all_more
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = str(write_byte_model(tmp_path_factory.mktemp("model"), context_length=256))
    settings = {"load_format": "dummy", "dtype": "float32", "max_total_tokens": 2000, "file_storage_pth": f"{folder}/files"}
    with workbench.Engine(folder, **settings) as engine:
        yield make_app(Serving(engine._handle))


@pytest.fixture(scope="module")
def schemas(served):
    return ask(served, "GET", "/openapi.json").json()["paths"]


def ask(app, method, path, body=None):
    import anyio

    async def send():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:
            return await client.request(method, path, json=body)

    return anyio.run(send)


@pytest.mark.parametrize(("path", "body", "is_valid"), CASES)
def test_a_body_is_valid_exactly_if_it_is_answered(served, schemas, path, body, is_valid):
    schema = schemas[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    answer = ask(served, "POST", path, copy.deepcopy(body))
    assert (answer.status_code == 200) == is_valid, answer.text
    assert jsonschema.Draft202012Validator(schema).is_valid(body) == is_valid
