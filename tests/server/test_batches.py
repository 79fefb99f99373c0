"""Files and batches with OpenAI's own client over the real engine; a server that is killed answers every line once."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import threading
import time

import httpx
import openai
import pytest
import uvicorn
from byte_model import write_byte_model

import workbench
from workbench.events import RequestArrived
from workbench.server.app import make_app
from workbench.server.batches import runner
from workbench.server.batches.store import Store
from workbench.server.run import listen
from workbench.server.serving import Serving

pytestmark = pytest.mark.process
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_byte_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def app(model, tmp_path_factory):
    """The application of a server in this process, so that tests can set its clock and fill its disk."""
    folder = str(tmp_path_factory.mktemp("storage"))
    args = {"load_format": "dummy", "max_total_tokens": 8000, "dtype": "float32"}
    with workbench.Engine(model, **args, file_storage_pth=folder) as engine:
        app = make_app(Serving(engine._handle))
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        app.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield app
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def client(app):
    return client_of(app)


@pytest.fixture
def store(client, app):
    client.batches.list()  # opens it
    return app._app.state.batches.store


def client_of(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)


def line(i, url="/chat/completions", **body):
    message = [{"role": "user", "content": f"Count from {i}."}]
    limits = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    return {"custom_id": f"c{i}", "method": "POST", "url": url, "body": {"messages": message} | limits | body}


def upload(client, lines):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")


def create(client, lines):
    return client.batches.create(input_file_id=upload(client, lines).id, endpoint=CHAT, completion_window="24h")


def until(client, batch, true, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not true(now := client.batches.retrieve(batch.id)):
        assert time.monotonic() < deadline, now
        time.sleep(0.02)
    return now


def ended(client, batch):
    return until(client, batch, lambda now: now.status in ("completed", "failed", "cancelled", "expired"))


def counts(batch):
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def results(client, file_id):
    return [json.loads(each) for each in client.files.content(file_id).read().splitlines()] if file_id else []


def check_cut(client, batch, status, num_lines):
    """Asserts that a batch was cut: every line is once in its files, those that were not begun with their code."""
    assert batch.status == status
    done, errors = results(client, batch.output_file_id), results(client, batch.error_file_id)
    assert {each["error"]["code"] for each in errors} == {f"batch_{status}"}
    assert all(each["response"] is None for each in errors)
    assert counts(batch) == (num_lines, len(done), 0)
    assert sorted(each["custom_id"] for each in done + errors) == sorted(f"c{i}" for i in range(num_lines))


def test_a_batch_is_answered_as_its_requests_are_and_bad_ones_are_errors(client):
    lines = [line(0), line(1, url=CHAT), line(2, temperature=-1)]
    batch = ended(client, create(client, lines))
    assert (batch.status, counts(batch)) == ("completed", (3, 2, 1))
    found = results(client, batch.output_file_id)
    assert [each["custom_id"] for each in found] == ["c0", "c1"]
    direct = client.chat.completions.create(model="any", **{k: v for k, v in lines[0]["body"].items() if k != "ignore_eos"},
                                            extra_body={"ignore_eos": True})  # fmt: skip
    assert found[0]["response"]["body"]["choices"][0]["message"]["content"] == direct.choices[0].message.content
    (wrong,) = results(client, batch.error_file_id)
    assert (wrong["custom_id"], wrong["response"]["status_code"]) == ("c2", 400)
    names = {file.id: file for file in client.files.list().data}
    assert names[batch.input_file_id].filename == "in.jsonl"
    assert client.files.delete(batch.output_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.output_file_id)
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_a_file_or_a_batch_that_is_wrong_is_refused_with_its_lines(client):
    broken = ended(client, create(client, [line(0), "{", line(0), line(3, url="/v1/embeddings")]))
    assert broken.status == "failed"
    assert [error.line for error in broken.errors.data] == [2, 3, 4]
    good = {"input_file_id": broken.input_file_id, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, error in (({"endpoint": "/v1/audio"}, openai.BadRequestError), ({"input_file_id": "no"}, openai.NotFoundError)):
        with pytest.raises(error):
            client.batches.create(**good | wrong)


def test_lines_of_a_cancelled_batch_are_in_its_error_file_and_its_input_is_kept_meanwhile(client):
    long = create(client, [line(i, max_tokens=100) for i in range(200)])
    until(client, long, lambda now: now.request_counts.completed)
    with pytest.raises(openai.ConflictError, match="cancel it first"):
        client.files.delete(long.input_file_id)
    assert client.batches.cancel(long.id).status == "cancelling"
    check_cut(client, ended(client, long), "cancelled", 200)
    assert client.files.delete(long.input_file_id).deleted


def test_lines_of_an_expired_batch_are_in_its_error_file(client, monkeypatch):
    long = create(client, [line(i, max_tokens=100) for i in range(200)])
    until(client, long, lambda now: now.request_counts.completed)
    monkeypatch.setattr(runner, "WINDOW_S", -1)
    check_cut(client, ended(client, long), "expired", 200)


def test_a_short_batch_does_not_wait_for_the_end_of_a_long_one(client):
    long = create(client, [line(i, max_tokens=64) for i in range(300)])
    until(client, long, lambda now: now.request_counts.completed)
    short = ended(client, create(client, [line(i) for i in range(8)]))
    assert counts(short) == (8, 8, 0)
    assert client.batches.retrieve(long.id).request_counts.completed < 300
    client.batches.cancel(long.id)
    ended(client, long)


def test_lists_have_pages(client):
    made = [ended(client, create(client, [line(i)])).id for i in range(3)][::-1]
    first = client.batches.list(limit=2)
    assert ([each.id for each in first.data], first.has_more) == (made[:2], True)
    second = client.batches.list(limit=1, after=made[1])
    assert [each.id for each in second.data] == made[2:]
    everything = [each.id for each in client.batches.list(limit=1)]  # the client reads all pages
    assert (everything[:3], len(everything)) == (made, len({*everything}))
    assert client.batches.list(after=everything[-1]).has_more is False
    files = [file.id for file in client.files.list(purpose="batch", limit=2)]
    assert [file.id for file in client.files.list(purpose="batch", order="asc", limit=3)] == files[::-1]
    for wrong, kind in (({"limit": 0}, 400), ({"limit": "x"}, 400), ({"after": "none"}, 404)):
        answer = httpx.get(f"{client.base_url}batches", params=wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (kind, *wrong)


class FullDisk:
    """A database that has room for some writes of a kind, and for no other until `has_room`."""

    def __init__(self, database, kind, num_left=0):
        self._database, self._kind, self._num_left = database, kind, num_left
        self.has_room, self.num_refused = False, 0

    def execute(self, statement, values=()):
        if statement.startswith(self._kind) and not self.has_room:
            self._num_left -= 1
            if self._num_left < 0:
                self.num_refused += 1
                raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, values)

    def __getattr__(self, name):
        return getattr(self._database, name)


def wait_for(true, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(runner, "FULL_S", 0.02)
    monkeypatch.setattr(runner, "MAX_FULL_S", 0.2)


def test_a_batch_waits_while_the_disk_is_full_and_answers_every_line_once(client, app, store, quick, monkeypatch):
    log = app._app.state.serving.handle.log
    before = log.num_added
    with monkeypatch.context() as patch:
        disk = FullDisk(store._db, "INSERT OR IGNORE INTO answers", 3)
        patch.setattr(store, "_db", disk)
        batch = create(client, [line(i) for i in range(50)])
        wait_for(lambda: disk.num_refused > 100)
        now = client.batches.retrieve(batch.id)
        assert (now.status, counts(now), now.errors) == ("in_progress", (50, 3, 0), None)
        disk.has_room = True
        batch = ended(client, batch)
    assert (batch.status, counts(batch)) == ("completed", (50, 50, 0))
    assert [each["custom_id"] for each in results(client, batch.output_file_id)] == [f"c{i}" for i in range(50)]
    assert sum(isinstance(event, RequestArrived) for event in log.read(before)[1]) == 50, "nothing is computed twice"


@pytest.mark.parametrize("kind", ["UPDATE batches", "INSERT OR REPLACE INTO files", "DELETE FROM answers", "COMMIT"])
def test_a_batch_ends_once_whichever_of_its_last_writes_finds_no_room(client, store, quick, monkeypatch, kind):
    lines = [line(0), line(1, temperature=-1), line(2)]
    file, num_files = upload(client, lines), len(store.files())
    with monkeypatch.context() as patch:
        disk = FullDisk(store._db, kind, 1 if "files" in kind else 0)
        patch.setattr(store, "_db", disk)
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        wait_for(lambda: disk.num_refused > 5)
        assert client.batches.retrieve(batch.id).status in ("validating", "in_progress", "finalizing")
        disk.has_room = True
        batch = ended(client, batch)
    assert (batch.status, counts(batch)) == ("completed", (3, 2, 1))
    assert [each["custom_id"] for each in results(client, batch.output_file_id)] == ["c0", "c2"]
    assert [each["custom_id"] for each in results(client, batch.error_file_id)] == ["c1"]
    assert len(store.files()) == num_files + 2
    assert store.answered(batch.id) == set()


def test_answers_that_found_no_room_for_a_file_get_one_when_there_is(client, quick, monkeypatch):
    def fsync(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = [line(i) for i in range(4)]
    file = upload(client, lines)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        until(client, batch, lambda now: now.status == "finalizing")
        with pytest.raises(openai.InternalServerError, match="No space left"):
            upload(client, lines)
        time.sleep(0.5)
        assert client.batches.retrieve(batch.id).status == "finalizing"
    batch = ended(client, batch)
    assert (batch.status, counts(batch), len(results(client, batch.output_file_id))) == ("completed", (4, 4, 0), 4)


def test_a_batch_that_cannot_be_cancelled_as_the_disk_is_full_says_so(client, store, quick, monkeypatch):
    with monkeypatch.context() as patch:
        disk = FullDisk(store._db, "UPDATE batches")
        patch.setattr(store, "_db", disk)
        batch = create(client, [line(0)])
        with pytest.raises(openai.InternalServerError, match="disk is full") as refused:
            client.batches.cancel(batch.id)
        assert refused.value.status_code == 507
    assert ended(client, batch).status == "completed"


def test_a_killed_server_goes_on_where_it_was_and_answers_every_line_once(server_process, model, tmp_path):
    args = ("--model-path", model, "--load-format", "dummy", "--max-total-tokens", "8000", "--file-storage-pth", str(tmp_path))
    server = server_process(*args)
    batch = create(client_of(server), [line(i, max_tokens=64) for i in range(80)])
    until(client_of(server), batch, lambda now: now.request_counts.completed >= 5)
    server.process.kill()
    server.close()
    server = server_process(*args)
    done = ended(client_of(server), batch)
    assert (done.status, counts(done)) == ("completed", (80, 80, 0))
    assert [each["custom_id"] for each in results(client_of(server), done.output_file_id)] == [f"c{i}" for i in range(80)]
    server.close()


def test_a_body_that_is_no_form_is_refused(client):
    url = f"{client.base_url}files"
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
