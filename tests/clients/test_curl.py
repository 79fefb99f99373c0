"""curl: plain, streamed, with its own content type for `-d`, and with none."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
BODY = {"model": "any", "messages": [{"role": "user", "content": "Name a colour."}], "temperature": 0, "max_tokens": 8}
NATIVE = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}


def curl(*args: str) -> str:
    return subprocess.run(
        ["curl", "-sS", "--max-time", "60", *args], capture_output=True, text=True, check=True, timeout=70
    ).stdout


def post(url: str, body: object, *args: str) -> str:
    return curl(url, *args, "-d", json.dumps(body))


def lines(answer: str) -> list[str]:
    return [line.removeprefix("data: ") for line in answer.splitlines() if line]


@pytest.mark.parametrize(
    "header", [["-H", "Content-Type: application/json"], [], ["-H", "Content-Type:"]], ids=["json", "form", "none"]
)
def test_a_chat_is_answered_whatever_the_content_type(v1, url, header):
    answer = json.loads(post(f"{v1}/chat/completions", BODY, *header))
    assert answer["usage"]["completion_tokens"] == 8
    again = json.loads(post(f"{v1}/chat/completions", BODY, "-H", "Content-Type: application/json"))
    assert answer["choices"] == again["choices"]
    assert json.loads(post(f"{url}/generate", NATIVE, *header))["meta_info"]["completion_tokens"] == 8


def test_a_stream_is_lines_that_end_with_done(v1):
    whole = json.loads(post(f"{v1}/chat/completions", BODY))["choices"][0]["message"]["content"]
    *chunks, last = lines(post(f"{v1}/chat/completions", BODY | {"stream": True}, "--no-buffer"))
    assert last == "[DONE]"
    assert "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks) == whole


def test_a_native_stream_repeats_the_text(url):
    whole = json.loads(post(f"{url}/generate", NATIVE))["text"]
    *chunks, last = lines(post(f"{url}/generate", NATIVE | {"stream": True}, "--no-buffer"))
    assert (json.loads(chunks[-1])["text"], last) == (whole, "[DONE]")


def test_a_body_from_a_file_in_chunks_and_with_expect_is_read(v1, tmp_path):
    (tmp_path / "body.json").write_text(json.dumps(BODY | {"ignored": "x" * 2_000_000}))
    sent = ["-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{tmp_path}/body.json"]
    assert json.loads(curl(f"{v1}/chat/completions", *sent))["usage"]["completion_tokens"] == 8


def test_errors_have_a_status_and_heads_no_body(v1, url):
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    assert post(f"{v1}/chat/completions", [], *status) == "400"
    assert curl(f"{v1}/nothing", *status) == "404"
    assert curl(f"{v1}/chat/completions", *status) == "405"
    assert curl(f"{url}/health", "--head", *status) == "200"
