"""Anthropic's own client against a server process of the real model."""

from __future__ import annotations

import json

import anthropic
import httpx
import jsonschema
import pytest

HELLO = [{"role": "user", "content": "Say hello in French."}]
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
GREEDY = {"temperature": 0}
TOOLS = [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}]


@pytest.fixture(scope="module")
def client(real_server):
    with anthropic.Anthropic(base_url=real_server.url, api_key="any", max_retries=0) as client:
        yield client


def ask(client, messages=HELLO, **more):
    return client.messages.create(model="m", messages=messages, **{"max_tokens": 24, "extra_body": GREEDY} | more)


def test_a_streamed_message_is_the_whole_message(client):
    whole = ask(client, system="Be brief.")
    with client.messages.stream(model="m", messages=HELLO, max_tokens=24, extra_body=GREEDY, system="Be brief.") as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert whole.stop_reason == streamed.stop_reason
    assert 0 < whole.usage.output_tokens == streamed.usage.output_tokens <= 24
    assert streamed.usage.cache_read_input_tokens + streamed.usage.input_tokens == whole.usage.input_tokens + (
        whole.usage.cache_read_input_tokens
    )
    counted = client.messages.count_tokens(model="m", messages=HELLO, system="Be brief.").input_tokens
    assert counted == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


@pytest.mark.parametrize("choice", [{"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "get_weather"}])
def test_a_forced_call_is_a_block_of_its_own(client, choice):
    asked = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 100}
    whole = ask(client, **asked)
    (block,) = whole.content
    jsonschema.validate(block.input, SCHEMA)
    assert (block.type, block.name, whole.stop_reason) == ("tool_use", "get_weather", "tool_use")
    with client.messages.stream(model="m", messages=HELLO, extra_body=GREEDY, **asked) as stream:
        assert stream.get_final_message().content[0].input == block.input
    result = {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "22"}]}
    history = [*HELLO, {"role": "assistant", "content": [block.model_dump()]}, {"role": "user", "content": [result]}]
    assert ask(client, history).content


def test_events_come_one_block_at_a_time_in_the_order_of_the_api(client, real_server):
    body = {"messages": HELLO, "max_tokens": 60, "stream": True, "tools": TOOLS, "tool_choice": {"type": "any"}} | GREEDY
    with httpx.stream("POST", f"{real_server.url}/v1/messages", json=body, timeout=60) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    assert starts == list(range(len(starts)))
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == starts
    for i in starts:
        text = "".join(event["delta"].get("partial_json", "") for event in events if event.get("index") == i and "delta" in event)
        jsonschema.validate(json.loads(text), SCHEMA)


def test_a_stop_sequence_is_named(client):
    text = ask(client).content[0].text
    cut = ask(client, stop_sequences=[text[8:12]])
    assert (cut.stop_reason, cut.stop_sequence, cut.content[0].text) == ("stop_sequence", text[8:12], text[:8])


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": None}, {"max_tokens": 0}, {"messages": []}, {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, {"tools": [{"type": "web_search"}]},
        {"tool_choice": {"type": ["any"]}}, {"tool_choice": {"type": "tool", "name": "none"}}, {"messages": "x"},
    ],
)  # fmt: skip
def test_errors_are_in_the_envelope_of_the_api(real_server, body):
    answer = httpx.post(f"{real_server.url}/v1/messages", json={"messages": HELLO, "max_tokens": 4, "stream": True} | body)
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("thinking", "words"), [
    ({"type": "enabled", "budget_tokens": 1024}, "--reasoning-parser"),
    ({"type": "adaptive"}, "--reasoning-parser"),
    ({"type": "nothing"}, "thinking.type"),
])  # fmt: skip
def test_thinking_that_is_not_read_is_refused(client, thinking, words):
    with pytest.raises(anthropic.BadRequestError, match=words):
        ask(client, thinking=thinking)
    assert ask(client, thinking={"type": "disabled"}).content
