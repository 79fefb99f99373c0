"""The newer calls of OpenAI's own client: async, helpers that parse and stream, raw responses. `tests/server` has the others."""

from __future__ import annotations

import asyncio
import time

import openai
import pytest
from weather import Weather

HELLO = [{"role": "user", "content": "Say hello in French."}]
GREEDY = {"model": "any", "temperature": 0, "max_tokens": 24}


def test_many_async_requests_are_answered_as_each_alone(client, v1):
    asked = [[{"role": "user", "content": f"Name a {thing}."}] for thing in ("colour", "river", "fruit", "city")]

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=v1, api_key="any", max_retries=0) as many:
            calls = (many.chat.completions.create(messages=one, **GREEDY) for one in asked)
            whole = await asyncio.gather(*calls)
            stream = await many.chat.completions.create(messages=asked[0], stream=True, **GREEDY)
            return [answer.choices[0].message.content for answer in whole], [chunk async for chunk in stream]

    together, chunks = asyncio.run(all_of_them())
    assert together == [client.chat.completions.create(messages=one, **GREEDY).choices[0].message.content for one in asked]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == together[0]


def test_parse_returns_an_object_of_the_class(client):
    answer = client.chat.completions.parse(messages=HELLO, response_format=Weather, **GREEDY | {"max_tokens": 60})
    assert isinstance(answer.choices[0].message.parsed, Weather)
    assert (
        client.beta.chat.completions.parse == client.chat.completions.parse
        or client.beta.chat.completions.parse(messages=HELLO, response_format=Weather, **GREEDY | {"max_tokens": 60})
        .choices[0]
        .message.parsed
        == answer.choices[0].message.parsed
    )
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(messages=HELLO, response_format=Weather, **GREEDY | {"max_tokens": 2})


def test_parse_returns_the_arguments_of_a_strict_tool(client):
    tools = [openai.pydantic_function_tool(Weather)]
    answer = client.chat.completions.parse(messages=HELLO, tools=tools, tool_choice="required", **GREEDY | {"max_tokens": 80})
    (call, *_) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


FORCED = {"tools": [openai.pydantic_function_tool(Weather)], "tool_choice": "required"}


@pytest.mark.parametrize("more", [{}, {"response_format": Weather}, FORCED], ids=["text", "format", "tool"])
def test_the_streaming_helper_ends_with_the_whole_answer(client, more):
    sent = {"messages": HELLO, **GREEDY, "max_tokens": 80, **more}
    with client.chat.completions.stream(**sent) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    whole = client.chat.completions.parse(**sent)
    message, expected = final.choices[0].message, whole.choices[0].message
    assert (message.content, message.parsed, final.choices[0].finish_reason) == (
        expected.content, expected.parsed, whole.choices[0].finish_reason,
    )  # fmt: skip
    calls, others = ([call.function.parsed_arguments for call in one.tool_calls or []] for one in (message, expected))
    assert calls == others
    assert ("content.done" in kinds) == bool(message.content)
    assert ("tool_calls.function.arguments.done" in kinds) == bool(calls)


def test_the_helpers_of_responses_parse_and_stream(client):
    sent = {"model": "any", "input": "Say hello in French.", "temperature": 0, "max_output_tokens": 60, "text_format": Weather}
    answer = client.responses.parse(**sent)
    assert isinstance(answer.output_parsed, Weather)
    with client.responses.stream(**sent) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert (text, final.output_parsed) == (answer.output_text, answer.output_parsed)


def test_raw_responses_have_the_request_id_and_its_own_is_returned(client):
    raw = client.chat.completions.with_raw_response.create(messages=HELLO, **GREEDY, extra_headers={"X-Request-Id": "mine-1"})
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.parse()._request_id == "mine-1"
    assert client.chat.completions.create(messages=HELLO, **GREEDY)._request_id
    with client.chat.completions.with_streaming_response.create(messages=HELLO, stream=True, **GREEDY) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert [line for line in response.iter_lines() if line][-1] == "data: [DONE]"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(messages=HELLO, **GREEDY | {"temperature": -1})
    assert refused.value.request_id
    assert (refused.value.param, refused.value.type) == ("temperature", "invalid_request_error")


def test_a_model_is_retrieved_and_a_missing_one_is_not_found(client):
    (model,) = client.models.list()
    assert client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-none")


def test_a_stream_that_is_closed_early_ends_its_request(client, url):
    import httpx

    with client.chat.completions.create(messages=HELLO, stream=True, **GREEDY | {"max_tokens": 2000}) as stream:
        next(iter(stream))
    deadline = time.monotonic() + 60
    while httpx.get(f"{url}/get_load").json()["num_running"]:
        assert time.monotonic() < deadline, "the request goes on"
        time.sleep(0.05)
