"""Completions whose client leaves, or whose answer fails, between the queue and the first output."""

from __future__ import annotations

import asyncio
import time

import pytest
from tiny_text import write_text_model

import workbench
from workbench.events import RequestFinished
from workbench.server.ollama import routes
from workbench.server.ollama.bodies import GenerateBody
from workbench.server.openai import completions
from workbench.server.openai.bodies import CompletionBody
from workbench.server.openai.completion_call import generate_request
from workbench.server.serving import Serving


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = str(write_text_model(tmp_path_factory.mktemp("model"), max_position_embeddings=8192))
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=8192, num_threads=1) as engine:
        yield Serving(engine._handle)


def ends(serving) -> list[str]:
    """Returns how the requests ended, once none is open."""
    while (load := serving.handle.client.engine.get_load()).num_running or load.num_waiting:
        time.sleep(0.01)
    return [event.reason for event in serving.handle.log.read()[1] if isinstance(event, RequestFinished)]


def test_a_completion_whose_client_leaves_before_it_is_read_is_aborted(serving, monkeypatch):
    body = CompletionBody(prompt="a", max_tokens=8000, ignore_eos=True)
    monkeypatch.setattr(completions, "_answers", lambda *_: time.sleep(0.05))

    async def leave():
        task = asyncio.create_task(completions._start(serving, generate_request(body), body))
        while not serving.handle.client.engine.get_load().num_running:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert ends(serving)[-1:] == ["abort"]


def test_a_raw_answer_that_is_never_read_is_aborted(serving, monkeypatch):
    body = GenerateBody(model="m", prompt="a", raw=True, options={"num_predict": 8000, "seed": 1})
    monkeypatch.setattr(routes, "serving_of", lambda http: serving)
    num_ended = len(ends(serving))
    asyncio.run(routes._raw(None, body, "a"))  # its answer is dropped
    assert ends(serving)[num_ended:] == ["abort"]
