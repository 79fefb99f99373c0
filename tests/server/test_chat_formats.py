"""Chats over the real application and a real engine, for each format of calls and of reasoning."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re

import httpx
import jsonschema
import openai
import pytest

import workbench
from workbench.server.app import make_app
from workbench.server.serving import Serving

ASK = [{"role": "user", "content": "What is the weather in Rome?"}]
SCHEMA = {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"], "additionalProperties": False,
}  # fmt: skip
FUNCTION = {"name": "weather", "description": "The weather.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": {**FUNCTION, "name": "time"}}]
NAMED = {"type": "function", "function": {"name": "time"}}
LITERAL = {
    "llama3": '{"name": "weather", "parameters": {"city": "Rome \U0001f600 </tool_call>"}}; {"name": "time", "parameters": {}}',
    "mistral": 'Yes. [TOOL_CALLS] [{"name": "weather", "arguments": {"city": "[TOOL_CALLS] \U0001f600"}}, '
    '{"name": "time", "arguments": {}}]',
    "qwen25": 'Yes.\n<tool_call>\n{"name": "weather", "arguments": {"city": "<tool_call> \U0001f600"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>',
    "hermes": 'Yes. <tool_call>{"arguments": {"city": "\\"}</tool_call> \U0001f600"}, "name": "weather"}</tool_call>'
    '<tool_call>{"name": "time", "arguments": {}}</tool_call>',
    "deepseekv3": "Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
    '{"city": "``` \U0001f600"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n'
    "{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "pythonic": '[weather(city="Rome \U0001f600 )]"), time()]',
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine("smollm2-135m", dtype="float32", max_total_tokens=8000, random_seed=0) as engine:
        yield engine


class Client:
    """OpenAI's client on the application, with other settings of the server for each call."""

    def __init__(self, engine) -> None:
        self._handle = engine._handle
        self._args = engine._handle.args

    def ask(self, messages=ASK, settings=None, **body):
        """Returns the answer; for a stream its chunks."""
        self._handle.args = dataclasses.replace(self._args, **settings or {})
        try:
            return asyncio.run(self._ask({"model": "m", "messages": messages, "temperature": 0, "max_tokens": 80} | body))
        finally:
            self._handle.args = self._args

    async def _ask(self, body):
        transport = httpx.ASGITransport(make_app(Serving(self._handle)))
        plain = httpx.AsyncClient(transport=transport, timeout=60)
        async with openai.AsyncOpenAI(base_url="http://here/v1", api_key="k", http_client=plain, max_retries=0) as client:
            answer = await client.chat.completions.create(**body)
            return [chunk async for chunk in answer] if body.get("stream") else answer


@pytest.fixture(scope="module")
def client(engine):
    return Client(engine)


def added_up(chunks):
    """Returns content, reasoning, (id, name, arguments) of each call, and the finish reasons of a stream."""
    content, reasoning, calls, reasons = "", "", {}, []
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        content += choice.delta.content or ""
        reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or []:
            if call.index not in calls:
                calls[call.index] = [call.id, call.function.name, ""]
            else:
                assert (call.id, call.function.name) == (None, None), "an id and a name come once"
            calls[call.index][2] += call.function.arguments or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    return content, reasoning, [tuple(calls[i]) for i in sorted(calls)], reasons


@pytest.mark.parametrize("name", LITERAL)
def test_a_streamed_call_is_the_whole_one(client, name):
    body = {"settings": {"tool_call_parser": name}, "tools": TOOLS, "extra_body": {"regex": re.escape(LITERAL[name])}}
    message = client.ask(**body, max_tokens=300).choices[0].message
    content, _, calls, reasons = added_up(client.ask(**body, max_tokens=300, stream=True))
    whole = [(call.function.name, call.function.arguments) for call in message.tool_calls]
    assert [call[1:] for call in calls] == whole
    assert [name for name, _ in whole] == ["weather", "time"]
    assert "\U0001f600" in json.loads(whole[0][1])["city"]
    assert (content, reasons) == (message.content or "", ["tool_calls"])
    assert content == ("Yes." if LITERAL[name].startswith("Yes") else "")


@pytest.mark.parametrize("name", LITERAL)
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_forced_call_follows_its_schema_in_every_format(client, name, choice):
    body = {"settings": {"tool_call_parser": name}, "tools": TOOLS, "tool_choice": choice, "seed": 1, "temperature": 1.5}
    for stream in (False, True):
        answer = client.ask(**body, parallel_tool_calls=False, max_tokens=200, stream=stream)
        if stream:
            content, _, calls, reasons = added_up(answer)
        else:
            message = answer.choices[0].message
            calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
            content, reasons = message.content or "", [answer.choices[0].finish_reason]
        assert (content, reasons, len(calls)) == ("", ["tool_calls"], 1)
        jsonschema.validate(json.loads(calls[0][2]), SCHEMA)
        assert calls[0][1] == "time" or choice == "required"
    for num in (3, 9, 12):
        cut = client.ask(**body, max_tokens=num).choices[0]
        assert (cut.finish_reason, cut.message.content or "") == ("length", ""), "never prose"


def test_an_answer_is_json_of_the_response_format_or_a_call(client):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"],
            "properties": {"a": {"enum": [1, 2]}}, "additionalProperties": False}}}  # fmt: skip
    settings = {"tool_call_parser": "hermes"}
    for seed in range(4):
        answer = client.ask(tools=TOOLS, response_format=form, settings=settings, seed=seed, temperature=1.5, max_tokens=120)
        message = answer.choices[0].message
        if message.tool_calls:
            jsonschema.validate(json.loads(message.tool_calls[0].function.arguments), SCHEMA)
        else:
            assert json.loads(message.content)["a"] in (1, 2)


def test_reasoning_has_both_names_and_is_no_content(client):
    text = "<think>\nHm, </thin k> \U0001f600.\n</think>\n\nIt rains."
    body = {"settings": {"reasoning_parser": "qwen3"}, "extra_body": {"regex": re.escape(text)}}
    whole = client.ask(**body).choices[0].message
    assert whole.reasoning_content == whole.reasoning == "Hm, </thin k> \U0001f600."
    assert whole.content == "It rains."
    content, reasoning, _, _ = added_up(client.ask(**body, stream=True))
    assert (content, reasoning) == (whole.content, whole.reasoning)
    body["extra_body"] |= {"separate_reasoning": False}
    assert client.ask(**body).choices[0].message.content == text


@pytest.mark.parametrize("name", ["qwen3", "deepseek-r1"])
def test_a_constraint_begins_behind_the_reasoning(client, name):
    settings = {"reasoning_parser": name, "tool_call_parser": "hermes"}
    answer = client.ask(settings=settings, tools=TOOLS, tool_choice="required", max_tokens=40)
    message = answer.choices[0].message
    if name == "qwen3":
        jsonschema.validate(json.loads(message.tool_calls[0].function.arguments), SCHEMA)
    else:
        assert (message.content or "", answer.choices[0].finish_reason) == ("", "length"), "it thinks still"
        assert message.reasoning
        assert answer.usage.completion_tokens_details.reasoning_tokens == 40


def test_a_result_in_the_form_of_the_reference_is_one(client):
    call = {"name": "weather", "arguments": '{"city": "Rome"}'}
    ours = [
        *ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": "call00000", "type": "function", "function": call}]},
        {"role": "tool", "content": "rain", "tool_call_id": "call00000"},
    ]  # fmt: skip
    loose = [*ASK, {"role": "user", "content": "", "tool_calls": call}, {"role": "tool", "content": "rain", "name": "weather"}]
    first, second = (client.ask(messages, tools=TOOLS, logprobs=True).choices[0] for messages in (ours, loose))
    assert first.message.content == second.message.content
    for messages in ([*ASK, {"role": "assistant", "content": "", "tool_calls": "f"}], [{"role": "user", "content": 5}]):
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.ask(messages)


def test_content_may_be_parts_and_a_begun_answer_is_continued(client):
    parts = [{"type": "text", "text": "What is the weather"}, {"type": "text", "text": "in Rome?"}]
    joined = client.ask([{"role": "user", "content": "What is the weather\nin Rome?"}], max_tokens=20)
    assert (
        client.ask([{"role": "user", "content": parts}], max_tokens=20).choices[0].message.content
        == joined.choices[0].message.content
    )
    whole = joined.choices[0].message.content
    begun = [{"role": "user", "content": "What is the weather\nin Rome?"}, {"role": "assistant", "content": whole[:20].rstrip()}]
    more = {"continue_final_message": True, "add_generation_prompt": False}
    assert not client.ask(begun, extra_body=more, max_tokens=20).choices[0].message.content.startswith(whole[:10])
    with pytest.raises(openai.BadRequestError, match="assistant"):
        client.ask(extra_body=more)


@pytest.mark.parametrize(
    "body, named",
    [
        ({"tool_choice": "required"}, "tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "required", "extra_body": {"regex": "a"}}, "regex"),
        ({"response_format": {"type": "json_object"}, "extra_body": {"regex": "a"}}, "one constraint"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"extra_body": {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}}, "chat_template"),
        ({"extra_body": {"lora_path": "a"}}, "lora_path"),
    ],
)
def test_what_is_impossible_or_not_supported_is_refused_and_never_ignored(client, body, named):
    for stream in (False, True):
        if not (stream and "stream_options" in body):
            with pytest.raises(openai.BadRequestError, match=named):
                client.ask(**body, stream=stream)


def test_reasoning_that_is_held_back_in_a_stream_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="stream_reasoning"):
        client.ask(stream=True, extra_body={"stream_reasoning": False})
    client.ask(max_tokens=1, extra_body={"stream_reasoning": False})


def test_neutral_values_and_null_are_no_error(client):
    body = {
        "tools": [], "tool_choice": None, "modalities": ["text"], "top_logprobs": None, "seed": None, "stop": None,
        "max_completion_tokens": None, "response_format": {"type": "text"}, "user": "u", "unknown": 1, "lora_path": None,
    }  # fmt: skip
    assert client.ask(extra_body=body, max_tokens=4).usage.completion_tokens == 4
    answer = client.ask(max_tokens=None, extra_body={"max_completion_tokens": 5, "ignore_eos": True})
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)


def test_bytes_and_texts_of_tokens_hold_no_broken_character(client):
    text = "\U0001f469\u200d\U0001f680 ä 漢字 \U0001f600"
    chunks = client.ask(extra_body={"regex": re.escape(text)}, logprobs=True, top_logprobs=2, stream=True)
    entries = [e for c in chunks for choice in c.choices if choice.logprobs for e in choice.logprobs.content]
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == text
    assert added_up(chunks)[0] == text
    assert "\ufffd" not in "".join(entry.token for entry in entries)
