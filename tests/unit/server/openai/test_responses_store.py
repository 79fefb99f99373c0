"""The store of answers has two limits."""

from __future__ import annotations

import pytest

from workbench.server.openai.responses_store import ResponseStore, Stored
from workbench.server.problem import Problem


def stored(name, text="x"):
    return Stored({"id": name, "output": [{"text": text}]}, [{"content": "in"}], [{"content": "before"}])


def test_the_least_used_answer_makes_room():
    store = ResponseStore(max_responses=2)
    for name in "ab":
        store.put(stored(name))
    assert store.get("a").items == [{"content": "before"}, {"content": "in"}, {"text": "x"}]
    store.put(stored("c"))
    assert [store.get(name) is not None for name in "abc"] == [True, False, True]


def test_large_answers_make_room_by_their_bytes():
    store = ResponseStore(max_bytes=1000)
    for name in "abc":
        store.put(stored(name, "x" * 400))
    assert [store.get(name) is not None for name in "abc"] == [False, True, True]
    store.put(stored("d", "x" * 2000))
    assert [store.get(name) is not None for name in "bcd"] == [True, True, False]


def test_a_dropped_answer_is_gone():
    store = ResponseStore(max_bytes=600)
    for _ in range(3):
        store.put(stored("a", "x" * 400))
        store.delete("a")
        with pytest.raises(Problem, match="no response 'a'"):
            store.delete("a")
