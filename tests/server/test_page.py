"""The page's messages, as a browser gets them: states of the views, and what changed in the tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from byte_model import write_byte_model

import workbench


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = str(write_byte_model(tmp_path_factory.mktemp("model")))
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=4000) as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine):
    with workbench.serve(engine, port=0) as served:
        yield served


@contextmanager
def opened(served: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Opens a page; its news are {view: {trait: value}}, one message after the other."""
    with httpx.stream("GET", f"{served.url}/page/events", timeout=30) as answer:
        lines = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        assert next(lines)["page"]
        yield (line["news"] for line in lines)


def test_an_empty_view_advises_what_its_reader_can_do(engine, served):
    with opened(served) as news:
        states = {name: traits["state"] for name, traits in next(news).items()}
        for name in ("throughput", "batch", "tree", "tokens", "kv"):
            assert states[name]["empty"].endswith("send a chat message")
        assert states["mask"]["empty"].endswith("to the server")
    with workbench.attach(served.url) as attached:
        for name in ("throughput", "batch", "tree", "tokens", "mask", "kv"):
            text = str(attached.view(name, live=False).to_html())
            assert "to the server" in text
            assert "engine.generate" not in text
    assert "engine.generate" in engine.view("tree", live=False).to_text()
