"""OpenAI's own client against a server process of the real model. Numbers are rows of the table of users' reports."""

from __future__ import annotations

import json
import re

import httpx
import jsonschema
import openai
import pytest

HELLO = [{"role": "user", "content": "Say hello in French."}]
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"], "additionalProperties": False,
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}]
PICTURE = {"type": "image_url", "image_url": {"url": "http://169.254.1.1/x"}}
CALL = 'Look: <tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome </tool_call>", "unit": "C"}}\n</tool_call>'


@pytest.fixture(scope="module")
def client(real_server):
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def ask(client, messages=HELLO, **more):
    return client.chat.completions.create(model="any", messages=messages, **{"temperature": 0, "max_tokens": 12} | more)


def merged(stream):
    """Adds up a stream by the plain rules of the API: content, reasoning, calls by index, and finish reasons."""
    text, calls, reasons, tokens = "", {}, [], []
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += choice.logprobs.content if choice.logprobs else []
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
                assert call.id in (None, known["id"])
                known["arguments"] += call.function.arguments or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    return text, calls, reasons, tokens


def test_a_streamed_answer_is_the_whole_answer(client):
    whole = ask(client, logprobs=True, top_logprobs=3)
    text, _, reasons, tokens = merged(ask(client, logprobs=True, top_logprobs=3, stream=True))
    choice = whole.choices[0]
    assert (text, reasons) == (choice.message.content, [choice.finish_reason])
    assert [token.token for token in tokens] == [token.token for token in choice.logprobs.content]
    assert [token.logprob for token in tokens] == pytest.approx([token.logprob for token in choice.logprobs.content], abs=0.1)
    assert b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode() == text, "row 13"
    assert len({token.top_logprobs[0].token for token in tokens}) > 3, "row 17: they differ from place to place"
    assert whole.usage.prompt_tokens_details.cached_tokens >= 0, "row 15"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 12


def test_usage_comes_once_at_the_end_and_only_if_it_is_asked_for(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert [chunk.choices == [] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.completion_tokens == 12
    assert all(chunk.choices and chunk.usage is None for chunk in ask(client, stream=True)), "row 14"


def test_a_seed_repeats_a_request_and_choices_differ(client):
    drawn = {"temperature": 1.5, "n": 3, "max_tokens": 12}
    first, again = (ask(client, seed=7, **drawn) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) == 3
    assert texts != [choice.message.content for choice in ask(client, seed=8, **drawn).choices]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_call_follows_the_schema_and_nothing_stands_beside_it(client, choice):
    asked = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 100}
    whole = ask(client, **asked).choices[0]
    call = whole.message.tool_calls[0]
    jsonschema.validate(json.loads(call.function.arguments), SCHEMA)
    assert (call.function.name, whole.message.content, whole.finish_reason) == ("get_weather", None, "tool_calls")
    text, calls, reasons, _ = merged(ask(client, **asked, stream=True))
    assert (text, reasons) == ("", ["tool_calls"])
    assert calls[0] | {"id": ""} == {"id": "", "name": "get_weather", "arguments": call.function.arguments}, "row 2"
    cut = ask(client, **asked | {"max_tokens": 9}).choices[0]
    assert (cut.finish_reason, cut.message.tool_calls) == ("length", None), "row 4"


def test_a_call_in_a_literal_text_is_found_whole_and_streamed(client):
    asked = {"tools": TOOLS, "max_tokens": 100, "extra_body": {"regex": re.escape(CALL)}}
    whole = ask(client, **asked).choices[0]
    text, calls, reasons, _ = merged(ask(client, **asked, stream=True))
    assert (whole.message.content, whole.finish_reason) == ("Look:", "tool_calls")
    assert json.loads(whole.message.tool_calls[0].function.arguments) == {"city": "Rome </tool_call>", "unit": "C"}
    assert (text, reasons) == ("Look:", ["tool_calls"])
    assert calls[0]["arguments"] == whole.message.tool_calls[0].function.arguments
    kept = ask(client, **asked | {"tools": TOOLS, "tool_choice": "none"}).choices[0]
    assert (kept.message.content, kept.message.tool_calls) == (CALL, None)


@pytest.mark.parametrize("content", [None, [], ""])
def test_an_empty_content_beside_calls_renders_alike(client, content):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    history = [
        *HELLO, {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
    ]  # fmt: skip
    reference = ask(client, [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}, history[2]])
    assert ask(client, history).choices[0].message.content == reference.choices[0].message.content, "row 18"


def test_a_json_schema_is_followed_and_a_broken_one_is_an_error(client):
    form = {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}}
    answer = ask(client, response_format=form, max_tokens=80).choices[0]
    jsonschema.validate(json.loads(answer.message.content), SCHEMA)
    assert answer.finish_reason == "stop"
    with pytest.raises(openai.BadRequestError, match="type"):
        ask(client, response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": {"type": "nothing"}}})


def test_stop_strings_are_never_shown(client):
    text = ask(client, max_tokens=40).choices[0].message.content
    stop = text[10:14]
    streamed, _, reasons, _ = merged(ask(client, max_tokens=40, stop=[stop, "never"], stream=True))
    assert (streamed, reasons) == (text[: text.index(stop)], ["stop"]), "row 12"


def test_completions_echo_and_score_prompts_as_evaluation_tools_read_them(client):
    prompt = "The capital of France is"
    scored = client.completions.create(model="m", prompt=prompt, max_tokens=0, echo=True, logprobs=1).choices[0]
    assert scored.text == prompt
    logprobs = scored.logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 5
    assert (logprobs.token_logprobs[0], logprobs.top_logprobs[0]) == (None, None)
    assert "".join(logprobs.tokens) == prompt
    assert [prompt[at:].startswith(token) for at, token in zip(logprobs.text_offset, logprobs.tokens, strict=True)] == [True] * 5
    greedy = client.completions.create(model="m", prompt=prompt, max_tokens=3, temperature=0, echo=True, logprobs=1).choices[0]
    for logprob, top in list(zip(greedy.logprobs.token_logprobs, greedy.logprobs.top_logprobs, strict=True))[5:]:
        assert logprob == max(top.values()), "is_greedy is an exact comparison"
    pieces = list(
        client.completions.create(model="m", prompt=prompt, max_tokens=3, temperature=0, echo=True, logprobs=1, stream=True)
    )
    assert "".join(piece.choices[0].text for piece in pieces) == greedy.text
    assert [token for piece in pieces for token in piece.choices[0].logprobs.tokens] == greedy.logprobs.tokens


def test_token_ids_and_lists_of_prompts_are_prompts(client):
    answer = client.completions.create(model="m", prompt=[[504, 3575], [28]], n=2, max_tokens=3, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text
    assert answer.usage.prompt_tokens == 3
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        client.completions.create(model="m", prompt=[99999999])


@pytest.mark.parametrize(
    "body, param, code",
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 10**9}, "n", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "invalid_value"),
        ({"messages": [{"role": "user", "content": "a " * 9000}]}, "messages", "context_length_exceeded"),
        ({"logit_bias": {"9999999": 1}}, "logit_bias", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs", "invalid_value"),
        ({"regex": "("}, "regex", "invalid_value"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"min_tokens": 9}, "min_tokens", "invalid_value"),
        ({"stop": [None]}, "stop.0", "invalid_type"),
        ({"stop": {"a": 1}}, "stop", "invalid_type"),
        ({"stream_options": {"include_usage": [1]}}, "stream_options.include_usage", "invalid_type"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, None, "not_supported"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_in_the_form_of_the_api_and_the_server_goes_on(real_server, body, param, code):
    url = f"{real_server.url}/v1/chat/completions"
    answer = httpx.post(url, json={"messages": HELLO, "max_tokens": 4, "stream": True} | body, headers={"x-request-id": "r-1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"], error["type"]) == (400, param, code, "invalid_request_error")
    assert answer.headers["x-request-id"] == "r-1", "row 28"
    assert "Traceback" not in error["message"]
    assert httpx.get(f"{real_server.url}/health").status_code == 200, "row 5"


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "application/json"}]
)
def test_a_body_is_json_whatever_curl_calls_it(real_server, headers):
    url = f"{real_server.url}/v1/chat/completions"
    body = json.dumps({"model": "default", "messages": HELLO, "max_tokens": 2, "max_completion_tokens": None, "unknown_field": 1})
    request = httpx.Request("POST", url, content=body, headers=headers)
    with httpx.Client() as plain:
        assert plain.send(request, stream=False).status_code == 200
        foreign = httpx.Request("POST", url, content=body, headers=headers | {"origin": "http://evil.example"})
        assert plain.send(foreign).status_code == (200 if headers.get("content-type") == "application/json" else 415)


def test_the_model_is_listed_with_its_context(client):
    model = client.models.list().data[0]
    assert (model.id, model.max_model_len) == ("smollm2-135m", 8192)
    assert client.models.retrieve("smollm2-135m").id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
