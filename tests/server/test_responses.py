"""`/v1/responses` with OpenAI's own client against a server process of the real model."""

from __future__ import annotations

import json

import httpx
import jsonschema
import openai
import pytest

HELLO = "Say hello in French."
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS = [{"type": "function", "name": "get_weather", "description": "The weather.", "parameters": SCHEMA}]
LOGPROBS = ["message.output_text.logprobs"]


@pytest.fixture(scope="module")
def client(real_server):
    return openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="any", max_retries=0)


def ask(client, sent=HELLO, **more):
    return client.responses.create(**{"model": "m", "input": sent, "temperature": 0, "max_output_tokens": 24} | more)


def streamed(client, sent=HELLO, **more):
    return list(ask(client, sent, stream=True, **more))


def test_it_answers_as_a_chat_does(client):
    answer = ask(client, instructions="Be brief.")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": HELLO}]
    chat = client.chat.completions.create(model="m", messages=messages, temperature=0, max_tokens=24)
    assert answer.output_text == chat.choices[0].message.content
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (chat.usage.prompt_tokens, chat.usage.completion_tokens)
    as_items = ask(client, [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": HELLO}])
    assert as_items.output_text == answer.output_text


def test_an_answer_that_the_limit_cuts_is_incomplete(client):
    answer = ask(client, max_output_tokens=3)
    assert (answer.status, answer.incomplete_details.reason, answer.output[0].status, answer.usage.output_tokens) == (
        "incomplete", "max_output_tokens", "incomplete", 3,
    )  # fmt: skip
    call = ask(client, tools=TOOLS, tool_choice="required", max_output_tokens=14)
    assert {item.status for item in call.output} == {"incomplete"}
    assert ask(client, "Go on.", previous_response_id=call.id).output_text


@pytest.mark.parametrize(
    "more", [{}, {"include": LOGPROBS, "top_logprobs": 2}, {"tools": TOOLS, "tool_choice": "required", "max_output_tokens": 100}]
)
def test_a_stream_adds_up_to_the_whole(client, more):
    whole, events = ask(client, **more), streamed(client, **more)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1].response
    assert events[-1].type == f"response.{whole.status}"
    assert [plain(item) for item in last.output] == [plain(item) for item in whole.output]
    for index, item in enumerate(last.output):
        own = [event for event in events if getattr(event, "output_index", None) == index]
        assert {event.item_id for event in own if hasattr(event, "item_id")} == {item.id}
        assert (own[0].type, own[0].item.id) == ("response.output_item.added", item.id)
        assert (own[-1].type, own[-1].item) == ("response.output_item.done", item)
        pieces = "".join(event.delta for event in own if event.type.endswith(".delta"))
        assert pieces == (item.arguments if item.type == "function_call" else item.content[0].text)
        for event in own:
            if event.type.startswith("response.output_text"):
                assert isinstance(event.logprobs, list)
                assert bool(event.logprobs) == ("include" in more)


def assert_same_prompt(first, second):
    """Asserts that the second prompt is the first one: all of it but the last token is in the cache."""
    assert first.usage.input_tokens == second.usage.input_tokens == second.usage.input_tokens_details.cached_tokens + 1


def plain(item):
    """Returns an item without its ids, which differ from answer to answer."""
    return {name: value for name, value in item.model_dump().items() if name not in ("id", "call_id")}


def test_log_probabilities_are_those_of_the_text(client):
    part = ask(client, include=LOGPROBS, top_logprobs=2).output[0].content[0]
    assert "".join(entry.token for entry in part.logprobs) == part.text
    assert all(len(entry.top_logprobs) == 2 and entry.logprob == entry.top_logprobs[0].logprob for entry in part.logprobs)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_a_tool_is_called_and_its_result_continues_the_conversation(client, choice):
    answer = ask(client, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_output_tokens=100)
    (call,) = answer.output
    jsonschema.validate(json.loads(call.arguments), SCHEMA)
    assert (call.type, call.name, answer.status) == ("function_call", "get_weather", "completed")
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees"}]
    by_id = ask(client, result, previous_response_id=answer.id)
    whole = ask(client, [{"role": "user", "content": HELLO}, call.model_dump(), *result], store=False)
    assert_same_prompt(by_id, whole)


def test_stored_answers_are_continued_shown_and_dropped(client):
    first = ask(client)
    history = [{"role": "user", "content": HELLO}, *(item.model_dump() for item in first.output)]
    follow_up = {"role": "user", "content": "And in German?"}
    assert_same_prompt(ask(client, "And in German?", previous_response_id=first.id), ask(client, [*history, follow_up]))
    assert client.responses.retrieve(first.id) == first
    assert client.responses.input_items.list(first.id).data[0].content[0].text == HELLO
    last = streamed(client)[-1].response
    assert client.responses.retrieve(last.id).output_text == last.output_text
    client.responses.delete(first.id)
    for gone in (first.id, ask(client, store=False).id, "resp_none"):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(gone)
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, previous_response_id=gone)
        assert caught.value.code == "previous_response_not_found"


def test_a_schema_is_followed(client):
    form = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
    answer = ask(client, text={"format": form}, max_output_tokens=60)
    jsonschema.validate(json.loads(answer.output_text), SCHEMA)
    anything = ask(client, text={"format": {"type": "json_object"}}, max_output_tokens=200)
    assert isinstance(json.loads(anything.output_text), dict)


@pytest.mark.parametrize(
    "body",
    [
        {"input": ""}, {"input": None}, {"input": 7}, {"input": ["x"]}, {"input": [{"role": "robot", "content": "x"}]},
        {"input": [{"type": "item_reference", "id": "x"}]}, {"input": [{"type": "function_call", "name": "f"}]},
        {"input": [{"type": "function_call_output", "output": "x"}]},
        {"input": [{"type": "function_call", "name": "f", "call_id": "c", "arguments": "{"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://127.0.0.1/"}]}]},
        {"input": [{"type": "reasoning", "content": 7}]}, {"tools": [{"type": "web_search"}]}, {"tools": [{"type": "function"}]},
        {"tools": [{"type": "custom", "name": "x"}]}, {"tool_choice": "sometimes"}, {"tool_choice": {"type": "mcp"}},
        {"tool_choice": {"type": "allowed_tools", "tools": 3}}, {"tool_choice": "required"}, {"background": True},
        {"truncation": "auto"}, {"conversation": "c"}, {"prompt": {"id": "p"}}, {"max_output_tokens": 0}, {"top_logprobs": 10**6},
        {"include": ["everything"]}, {"text": {"format": {"type": "xml"}}}, {"text": {"format": {"type": "json_schema"}}},
        {"text": {"format": 3}}, {"text": {"verbosity": "low"}}, {"reasoning": {"summary": "detailed"}}, {"temperature": -1},
        {"previous_response_id": "x" * 10**5}, {"metadata": 3}, {"reasoning": {"effort": {"a": 1}}, "input": []},
    ],
)  # fmt: skip
def test_wrong_requests_are_refused_before_a_stream_begins(real_server, body):
    sent = {"model": "m", "input": HELLO, "max_output_tokens": 4, "stream": True} | body
    answer = httpx.post(f"{real_server.url}/v1/responses", json=sent, timeout=60)
    assert answer.status_code == 400, answer.text
    assert {"message", "type", "param", "code"} == set(answer.json()["error"])
