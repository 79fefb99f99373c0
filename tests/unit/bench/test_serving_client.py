"""One request of the serving benchmark, against a server that sends what a test wrote."""

from __future__ import annotations

import asyncio
import json

import pytest

from workbench.bench.serving_client import BACKENDS, Job, Target

OK = b"HTTP/1.1 200 OK\r\n\r\n"


def measured(backend, answer, **target):
    """Returns the outcome of a request that is answered with these bytes, and the request."""
    received = bytearray()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split()[0])
        received.extend(head + await reader.readexactly(size))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/p"
            job = Job([5, 6], [{"role": "user", "content": "hi"}], 3)
            return await Target(url, BACKENDS[backend], "m", **target).measure(job)

    return asyncio.run(run()), bytes(received)


def events(*values):
    return OK + b"".join(
        b"data: %s\n\n" % (value if isinstance(value, bytes) else json.dumps(value).encode()) for value in values
    )


def native(text, count):
    return {"text": text, "meta_info": {"prompt_tokens": 2, "completion_tokens": count, "cached_tokens": 1}}


USAGE = {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}}
STREAMS = {
    "sglang": [native("a", 1), native("ab", 2), native("abc", 3)],
    "vllm": [*({"choices": [{"text": text}]} for text in "abc"), USAGE],
    "chat": [
        {"choices": [{"delta": {"role": "assistant"}}]},
        *({"choices": [{"delta": {"content": text}}]} for text in "abc"),
        USAGE,
    ],
}
PATHS = {"sglang": b"/generate", "vllm": b"/v1/completions", "chat": b"/v1/chat/completions"}


@pytest.mark.parametrize("backend", list(STREAMS))
def test_a_stream_is_read_to_its_end(backend, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    outcome, request = measured(backend, events(*STREAMS[backend], b"[DONE]"), extra={"more": 1})
    assert (outcome.error, outcome.text, len(outcome.gaps)) == ("", "abc", 2)
    assert (outcome.prompt_tokens, outcome.output_tokens, outcome.cached_tokens) == (2, 3, 1)
    assert 0 < outcome.ttft <= outcome.latency
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /p" + PATHS[backend])
    assert b"Authorization: Bearer k" in head
    assert json.loads(body)["more"] == 1


def test_an_answer_as_a_whole_has_one_time():
    whole = {"choices": [{"message": {"content": "abc"}}], "usage": USAGE["usage"]}
    outcome, request = measured("chat", OK + json.dumps(whole).encode(), streams=False)
    assert (outcome.error, outcome.text, outcome.gaps, outcome.ttft) == ("", "abc", [], outcome.latency)
    assert b"stream_options" not in request


def test_the_first_token_of_a_reasoning_counts():
    thought = [{"choices": [{"delta": {"reasoning_content": "x"}}]}, {"choices": [{"delta": {"content": "a"}}]}]
    outcome, _ = measured("chat", events(*thought, b"[DONE]"))
    assert (outcome.text, len(outcome.gaps)) == ("a", 1)


@pytest.mark.parametrize(
    "answer, says",
    [
        (events(*STREAMS["sglang"][:2]), "ended early"), (events({"error": {"message": "full"}}, b"[DONE]"), "full"),
        (b"HTTP/1.1 429 Busy\r\n\r\nlater", "status 429: later"), (b"", "without an answer"),
        (events(b"{oops"), "JSONDecodeError"),
        (events({"text": "a"}), "KeyError"), (b"nonsense\r\n\r\n", "Error"),
    ],
)  # fmt: skip
def test_a_failure_is_part_of_the_outcome(answer, says):
    assert says in measured("sglang", answer)[0].error


def test_a_server_that_is_not_there_is_a_failure():
    assert "ConnectionRefused" in asyncio.run(Target("http://127.0.0.1:9", BACKENDS["vllm"], "m").measure(Job([1]))).error
