"""Bodies, headers and timings that no sane client sends: each gets an error object and a 4xx in time, and the server goes on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

import httpx
import pytest
from byte_model import write_byte_model

pytestmark = pytest.mark.process
SOON_S = 60
"""Seconds in which an answer comes, on a busy machine too."""
CHAT, COMPLETE, NATIVE, MESSAGES = "/v1/chat/completions", "/v1/completions", "/generate", "/v1/messages"
TALK = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
PROMPT = {"prompt": "hi", "max_tokens": 2}
TEXT = {"text": "hi", "sampling_params": {"max_new_tokens": 2}}
BODIES = {CHAT: TALK, COMPLETE: PROMPT, NATIVE: TEXT, MESSAGES: TALK}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HARD = {"allOf": [{"pattern": f"^(a|b|c|d)*[{a}](a|b|c|d){{{24 + i}}}$"} for i, a in enumerate("abcd")], "type": "string"}
"""A schema whose automaton would have millions of states."""


@pytest.fixture(scope="module")
def server(tmp_path_factory, server_process):
    folder = write_byte_model(tmp_path_factory.mktemp("model"))
    started = server_process(
        "--model-path", str(folder), "--load-format", "dummy", "--max-total-tokens", "4000", "--max-body-mb", "12",
        "--api-key", "k",
    )  # fmt: skip
    yield started
    started.close()


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=2 * SOON_S, headers={"authorization": "Bearer k"}) as client:
        yield client
        assert client.post(CHAT, json=TALK).status_code == 200, "the server goes on"


def refused(answer, *statuses):
    """Asserts an answer in the client's time with one of the statuses and the error object of its API; returns its message."""
    assert answer.status_code in (statuses or (400,)), answer.text[:300]
    assert answer.elapsed.total_seconds() < SOON_S
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message
    assert "Traceback" not in answer.text
    assert len(answer.text) < 5000
    return message


@pytest.mark.parametrize("text", ["", [1], 5, {"role": "user"}, "long " * 500, None])
def test_an_error_of_generate_names_its_field_text(http, text):
    answer = http.post(NATIVE, json={"text": text})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "text")
    assert "prompt" not in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [*BODIES, "/v1/embeddings", "/api/chat", "/tokenize", "/abort_request"])
def test_what_is_no_json_object_is_refused_everywhere(http, path):
    for body in (b"", b"{", b"nonsense", b"[]", b"null", b"3", b"\xff\xfe{}", b'{"a": "\xc3"}', b"[" * 100_000, b'{"a":' * 5000):
        refused(http.post(path, content=body, headers={"content-type": "application/json"}))
    for number in (b"NaN", b"Infinity", b"-Infinity"):
        refused(http.post(path, content=b'{"temperature": ' + number + b"}"))


@pytest.mark.parametrize("path", BODIES)
def test_wrong_types_are_refused_with_the_field(http, path):
    for field in (
        ("max_tokens", "temperature", "top_p", "stop") if path != NATIVE else ("text", "stream", "rid", "sampling_params")
    ):
        for value in ({"a": {}}, [[[]]], {"a": 1e300}):
            name = "stop_sequences" if (path, field) == (MESSAGES, "stop") else field
            assert name in refused(http.post(path, json=BODIES[path] | {name: value}))


def test_large_numbers_are_refused(http):
    for field, value in (
        ("temperature", -1),
        ("top_p", 7),
        ("n", 0),
        ("n", 10**6),
        ("n", 10**30),
        ("max_tokens", -3),
        ("seed", 2**70),
    ):
        assert field in refused(http.post(CHAT, json=TALK | {field: value}))
    refused(http.post(COMPLETE, json=PROMPT | {"n": 100, "best_of": 1000}))
    refused(http.post(COMPLETE, json=PROMPT | {"prompt": ["a"] * 1000, "n": 100}))
    refused(http.post(NATIVE, json=TEXT | {"sampling_params": {"n": 10**9}}))
    refused(http.post(CHAT, json=TALK | {"logprobs": True, "top_logprobs": 10**6}))
    refused(http.post(NATIVE, json=TEXT | {"return_logprob": True, "top_logprobs_num": 10**6}))
    refused(http.post(NATIVE, json={"input_ids": [10**9]}))


@pytest.mark.parametrize("path", [CHAT, COMPLETE, MESSAGES])
def test_a_million_stop_strings_are_refused(http, path):
    name = "stop_sequences" if path == MESSAGES else "stop"
    assert name in refused(http.post(path, json=BODIES[path] | {name: [f"{i}" for i in range(1_000_000)]}))
    assert name in refused(http.post(path, json=BODIES[path] | {name: ["a"] * 300}))
    assert http.post(path, json=BODIES[path] | {name: ["a" * 100_000]}).status_code == 200


def test_stop_strings_of_native_parameters_have_the_same_limit(http):
    for params in ({"stop": ["x"] * 300}, [{"stop": ["x"] * 300}]):
        assert "stop" in refused(http.post(NATIVE, json={"text": ["hi"], "sampling_params": params}))


PROMPTS = {CHAT: "messages", COMPLETE: "prompt", NATIVE: "text", MESSAGES: "messages", "/v1/responses": "input",
           "/api/chat": "messages", "/api/generate": "prompt", "/tokenize": "prompt"}  # fmt: skip
"""Field with the prompt, by path. An error names it, and nothing that the client has not sent."""


def holding(path, text):
    """Returns a body whose prompt is this text."""
    name = PROMPTS[path]
    return {"model": "m", "max_tokens": 2, name: [{"role": "user", "content": text}] if name == "messages" else text}


@pytest.mark.parametrize("path", PROMPTS)
def test_ten_megabytes_of_prompt_are_refused(http, path):
    if path != "/tokenize":
        assert refused(http.post(path, json=holding(path, "word " * 2_000_000))).startswith(PROMPTS[path])
    refused(http.post(path, content=b" " * 13_000_000), 413)


@pytest.mark.parametrize("path", PROMPTS)
def test_half_a_character_is_refused_with_its_field(http, path):
    """A lone surrogate is valid JSON and no text."""
    message = refused(http.post(path, content=json.dumps(holding(path, "\ud83d"))))
    assert message.startswith(PROMPTS[path])
    assert "user" not in message, "no part of the template"
    refused(http.post(path, content=b'{"prompt": "\xf0\x9f", "max_tokens": 1}'))


@pytest.mark.parametrize(("path", "body", "field"), [
    (COMPLETE, {"n": 129}, "n"), (COMPLETE, {"n": 10**9}, "n"), (COMPLETE, {"best_of": 129}, "best_of"),
    (COMPLETE, {"n": 100, "best_of": 10**9}, "best_of"), (COMPLETE, {"n": 2, "best_of": 1}, "best_of"),
    (COMPLETE, {"n": 0}, "n"), (COMPLETE, {"n": 128, "prompt": ["hi"] * 100}, "the request makes 12800"), (CHAT, {"n": 129}, "n"),
    (CHAT, {"n": -1}, "n"), (NATIVE, {"sampling_params": {"n": 10**9}}, "n"),
    (NATIVE, {"text": ["hi"] * 5, "sampling_params": {"n": 1000}}, "the request makes 5000"),
])  # fmt: skip
def test_more_answers_than_the_limit_are_refused(http, path, body, field):
    assert refused(http.post(path, json=BODIES[path] | body)).startswith(f"{field} ")


def test_many_tools_are_answered_or_refused(http):
    def tools(count):
        function = TOOL["function"]
        return {"tools": [{"type": "function", "function": function | {"name": f"f{i}"}} for i in range(count)]}

    assert "tools" in refused(http.post(CHAT, json=TALK | tools(5000)))
    answer = http.post(CHAT, json=TALK | tools(1000) | {"tool_choice": "required"})
    assert answer.status_code in (200, 400), answer.text[:300]


@pytest.mark.parametrize("extra", [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": HARD}}},
    {"regex": "(a|b)*a(a|b){40}"}, {"regex": "(" * 3000}, {"regex": "a{1,100000}{1,100000}"}, {"ebnf": "root ::= root"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}},
    {"structural_tag": {"x": 1}}, {"regex": "a", "ebnf": 'root ::= "a"'},
], ids=["schema", "states", "nested", "counted", "endless", "self", "tag", "two"])  # fmt: skip
def test_a_hard_constraint_ends_in_time_and_holds_up_no_other(server, http, extra):
    began = time.monotonic()
    answer = http.post(CHAT, json=TALK | extra)
    assert time.monotonic() - began < SOON_S
    assert answer.status_code in (200, 400), answer.text[:300]
    assert answer.status_code == 200 or refused(answer)


def test_ids_and_headers_of_any_size(http):
    assert len(http.post(NATIVE, json=TEXT, headers={"x-request-id": "x" * 4000}).headers["x-request-id"]) <= 128
    assert "rid" in refused(http.post(NATIVE, json=TEXT | {"rid": "x" * 1_000_000}))
    assert "rid" in refused(http.post(CHAT, json=TALK | {"rid": "x" * 1_000_000}))
    with suppress(httpx.TransportError):  # the server may close a connection whose header does not end
        assert http.get("/v1/models", headers={"x-request-id": "x" * 1_000_000}).status_code in (200, 400, 431)
    for key in ("x", "k" * 5000, "é", "K"):
        refused(http.post(CHAT, json=TALK, headers={"authorization": f"Bearer {key}".encode()}), 401)


def test_a_page_of_another_origin_cannot_send_plain_forms(http):
    assert http.get("/flush_cache", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        headers = {"origin": "http://evil.example", "content-type": kind}
        refused(http.post("/flush_cache", content=b"{}", headers=headers), 415)
        refused(http.post(CHAT, content=json.dumps(TALK), headers=headers), 415)


def test_slow_and_closed_connections_hold_up_no_other(server, http):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 100000\r\n\r\n{{".encode()
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for i, each in enumerate(sockets):
        each.sendall(head if i % 2 else head[:30])
    began = time.monotonic()
    assert http.post(CHAT, json=TALK).status_code == 200
    assert time.monotonic() - began < SOON_S
    for each in sockets:
        each.close()
    length = b"POST /generate HTTP/1.1\r\nContent-Length: -5\r\n\r\n"
    for raw in (b"\x00\x01\x02\r\n\r\n", b"GET /v1/models HTTP/9.9\r\n\r\n", length):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as each:
            each.sendall(raw)
            assert each.recv(100).startswith(b"HTTP/1.1 4")
