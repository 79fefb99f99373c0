"""The page's messages, as a browser gets them: states of the views, and what changed in the tree."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from byte_model import write_byte_model
from tree_page import with_all_rows

import workbench
from workbench.events import NodeAdded


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = str(write_byte_model(tmp_path_factory.mktemp("model")))
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=4000) as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine):
    with workbench.serve(engine, port=0) as served:
        yield served


@pytest.fixture
def growing(tmp_path):
    """A served engine whose log gets nodes from the test."""
    folder = str(write_byte_model(tmp_path))
    settings = {"load_format": "dummy", "dtype": "float32", "max_total_tokens": 1000}
    with workbench.Engine(folder, **settings) as engine, workbench.serve(engine, port=0) as served:
        yield Growing(engine, served)


class Growing:
    def __init__(self, engine: Any, served: Any) -> None:
        self.log, self.served, self.num_nodes = engine.log, served, 0

    def grow(self, count: int = 1) -> None:
        """Adds nodes below the root, at the present time."""
        for _ in range(count):
            self.num_nodes += 1
            ids = (self.num_nodes % 200, 7, 8)
            self.log.add(NodeAdded(time=time.monotonic(), node_id=self.num_nodes, parent_id=0, token_ids=ids, pages=ids,
                                   namespace="", rid=f"request-{self.num_nodes}"))  # fmt: skip

    def grow_slowly(self, count: int) -> None:
        """Adds a node every 20 ms, as a busy engine does."""
        for _ in range(count):
            self.grow()
            time.sleep(0.02)


def size(news: dict[str, Any]) -> int:
    """Returns the bytes of a message's values."""
    return len(json.dumps(news))


@contextmanager
def opened(served: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Opens a page; its news are {view: {trait: value}}, one message after the other."""
    with httpx.stream("GET", f"{served.url}/page/events", timeout=60) as answer:
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


def test_a_page_gets_the_rows_of_the_tree_that_changed_and_no_others(growing):
    growing.grow(3000)
    with opened(growing.served) as news, ThreadPoolExecutor() as pool:
        rows: list[Any] = []
        while not rows:
            rows = next(news).get("tree", {}).get("rows", [])
        assert len(rows) == 3000
        pool.submit(growing.grow_slowly, 100)
        sent: list[dict[str, Any]] = []
        while len(rows) < 3100:
            tree = next(news).get("tree", {})
            sent.append({name: tree[name] for name in ("rows", "changed") if name in tree})
            rows = with_all_rows(tree, rows).get("rows", rows)
        assert [row[0] for row in rows] == [*range(1, 3101)]
        assert len(sent) > 2
        assert sum(map(size, sent)) < 100 * 200


def test_a_large_tree_costs_a_page_less_than_a_megabyte_in_four_seconds(growing):
    growing.grow(10_000)
    with opened(growing.served) as news, ThreadPoolExecutor() as pool:
        assert next(news)
        pool.submit(growing.grow_slowly, 250)
        began, num_bytes = time.monotonic(), 0
        while time.monotonic() < began + 4:
            num_bytes += size(next(news))
        assert num_bytes < 2**20
