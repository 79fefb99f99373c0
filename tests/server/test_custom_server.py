"""The example of a server of one's own: its answers are the engine's, and a client that leaves ends its request."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn

import workbench as sgl

pytestmark = pytest.mark.model
SCRIPT = Path(__file__).parents[2] / "docs/examples/custom_server.py"
TEXTS = ["It rains in Paris, and the river rises.", "Bread is cheaper than last year."]


@pytest.fixture(scope="module")
def engine(smollm2):
    with sgl.Engine("smollm2-135m", dtype="float32", max_total_tokens=4000) as engine:
        yield engine


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("custom_server", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(engine, example):
    server = uvicorn.Server(uvicorn.Config(example.make_app(engine), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_a_batch_is_answered_in_order(url, engine, example):
    titles = httpx.post(f"{url}/titles", json={"texts": TEXTS}, timeout=60).json()["titles"]
    prompts = [f"A short title for each text.\n\nText: {text}\nTitle:" for text in TEXTS]
    assert titles == [engine.generate(prompt, example.TITLE)["text"].strip() for prompt in prompts]
    assert all(titles)


def test_a_stream_is_the_text_in_pieces(url, engine, example):
    with httpx.stream("POST", f"{url}/story", json={"about": "a fox"}, timeout=60) as answer:
        pieces = list(answer.iter_text())
    assert len(pieces) > 10
    assert "".join(pieces) == engine.generate("A story about a fox.\n\nOnce upon a time", example.STORY)["text"]


def test_a_client_that_leaves_frees_its_place(url, engine, example, monkeypatch):
    monkeypatch.setattr(example, "STORY", {"temperature": 0, "max_new_tokens": 3000, "ignore_eos": True})
    with httpx.stream("POST", f"{url}/story", json={"about": "a hen"}, timeout=60) as answer:
        pieces = answer.iter_text()  # held: an iterator that is dropped closes the connection
        next(pieces)
        assert comes_to(engine, 1)
    assert comes_to(engine, 0)


def comes_to(engine, num_running: int) -> bool:
    """Returns whether so many requests run within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and engine.get_server_info()["num_running"] != num_running:
        time.sleep(0.01)
    return engine.get_server_info()["num_running"] == num_running


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("titles", {"texts": []}, 422), ("story", {}, 422), ("story", {"about": "a " * 20_000}, 400),
        ("titles", {"texts": ["a " * 20_000]}, 400),
    ],
)  # fmt: skip
def test_bad_bodies_are_refused(url, path, body, status):
    assert httpx.post(f"{url}/{path}", json=body, timeout=60).status_code == status
