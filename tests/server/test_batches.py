"""Files and batches with OpenAI's own client; a server that is killed in the middle answers every line once."""

from __future__ import annotations

import errno
import io
import json
import time

import httpx
import openai
import pytest

from workbench.server.batches.store import Store

pytestmark = pytest.mark.process


@pytest.fixture
def start(server_process, smollm2, tmp_path):
    started = []

    def begin():
        server = server_process(
            "--model-path",
            "smollm2-135m",
            "--dtype",
            "float32",
            "--max-total-tokens",
            "8000",
            "--file-storage-pth",
            str(tmp_path / "s"),
        )
        started.append(server)
        return server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)

    yield begin
    for server in started:
        server.close()


def line(i, url="/chat/completions", **body):
    message = [{"role": "user", "content": f"Count from {i}."}]
    return {
        "custom_id": f"c{i}",
        "method": "POST",
        "url": url,
        "body": {"messages": message, "max_tokens": 8, "temperature": 0} | body,
    }


def upload(client, lines):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")


def create(client, lines):
    return client.batches.create(input_file_id=upload(client, lines).id, endpoint="/v1/chat/completions", completion_window="24h")


def ended(client, batch, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while (now := client.batches.retrieve(batch.id)).status not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    return now


def results(client, file_id):
    return [json.loads(each) for each in client.files.content(file_id).read().splitlines()]


def test_a_batch_is_answered_as_its_requests_are_and_bad_ones_are_errors(start):
    _, client = start()
    lines = [line(0), line(1, url="/v1/chat/completions"), line(2, temperature=-1)]
    batch = ended(client, create(client, lines))
    assert (batch.status, batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        "completed",
        3,
        2,
        1,
    )
    found = results(client, batch.output_file_id)
    assert [each["custom_id"] for each in found] == ["c0", "c1"]
    direct = client.chat.completions.create(model="any", **lines[0]["body"])
    assert found[0]["response"]["body"]["choices"][0]["message"]["content"] == direct.choices[0].message.content
    (wrong,) = results(client, batch.error_file_id)
    assert (wrong["custom_id"], wrong["response"]["status_code"]) == ("c2", 400)
    names = {file.id: file for file in client.files.list().data}
    assert names[batch.input_file_id].filename == "in.jsonl"
    assert client.files.delete(batch.output_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.output_file_id)

    broken = ended(client, create(client, [line(0), "{", line(0), line(3, url="/v1/embeddings")]))
    assert broken.status == "failed"
    assert [error.line for error in broken.errors.data] == [2, 3, 4]
    with pytest.raises(openai.BadRequestError):
        client.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/audio", completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id="file-none", endpoint="/v1/completions", completion_window="24h")
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)

    long = create(client, [line(i, max_tokens=16, ignore_eos=True) for i in range(120)])
    while client.batches.retrieve(long.id).status != "in_progress":
        time.sleep(0.05)
    assert client.batches.cancel(long.id).status == "cancelling"
    cut = ended(client, long, 120)
    assert cut.status == "cancelled"
    assert cut.request_counts.completed < 120


def test_a_killed_server_goes_on_where_it_was_and_answers_every_line_once(start):
    server, client = start()
    batch = create(client, [line(i, max_tokens=16, ignore_eos=True) for i in range(40)])
    while client.batches.retrieve(batch.id).request_counts.completed < 5:
        time.sleep(0.05)
    server.process.kill()
    server.process.wait()
    _, client = start()
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed) == ("completed", 40)
    assert [each["custom_id"] for each in results(client, done.output_file_id)] == [f"c{i}" for i in range(40)]


def test_a_body_that_is_no_form_is_refused(start):
    url = f"{start()[0].url}/v1/files"
    for answer in (httpx.post(url, content=b"x"), httpx.post(url, data={"purpose": "batch"})):
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path):
    def chunks():
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path)
    with pytest.raises(OSError):
        store.add_file("a", "batch", chunks())
    assert (store.files(), list((tmp_path / "files").iterdir())) == ([], [])
    store.add_answer("b", 1, 200, "first")
    store.add_answer("b", 1, 400, "second")
    assert (store.counts("b"), list(store.answers("b", False))) == ((1, 0), [b"first\n"])
    store.close()
