"""Routes whose work takes long do it beside the event loop, which serves the others meanwhile."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from tiny_text import write_text_model

import workbench
from workbench.server import tokens
from workbench.server.app import make_app
from workbench.server.serving import Serving

WORK_S = 0.2


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = str(write_text_model(tmp_path_factory.mktemp("model")))
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=2000, num_threads=1) as engine:
        yield Serving(engine._handle)


@pytest.mark.parametrize(
    ("path", "body", "slow"),
    [
        ("/detokenize", {"tokens": [70, 71]}, "decode"),
        ("/tokenize", {"prompt": "a", "return_token_strs": True}, "token_text"),
        ("/function_call", {"text": "ab", "tool_call_parser": "hermes"}, "parse"),
    ],
)
def test_long_work_holds_up_no_other_request(serving, monkeypatch, path, body, slow):
    owner = tokens if slow == "parse" else serving.handle.tokenizer
    work = getattr(owner, slow)

    async def longest_block() -> float:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(serving)), base_url="http://here") as http:
            assert (await http.post(path, json=body)).status_code == 200  # imports what it needs
            monkeypatch.setattr(owner, slow, lambda *args, **more: (time.sleep(WORK_S), work(*args, **more))[1])
            task, longest, last = asyncio.create_task(http.post(path, json=body)), 0.0, time.monotonic()
            while not task.done():
                await asyncio.sleep(0.001)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            assert (await task).status_code == 200
        return longest

    assert asyncio.run(longest_block()) < 0.75 * WORK_S
