"""The two merging helpers give a stream's text once, without repetition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from workbench.utils import async_stream_and_merge, stream_and_merge

STREAMS = {
    "cumulative": (["The", "The cat", "The cat", "The cat sat"], "The cat sat"),
    "new pieces": (["The", " cat", " sat"], "The cat sat"),
    "overlapping pieces": (["The cat", "cat sat", " on"], "The cat sat on"),
    "nothing": ([], ""),
    "repeating text": (["ha", "haha", "hahaha"], "hahaha"),
}


class Scripted:
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked: list[Any] = []

    def generate(self, prompt: str, sampling_params: Any, stream: bool) -> Iterator[dict[str, str]]:
        self.asked.append((prompt, sampling_params, stream))
        yield from ({"text": text} for text in self.texts)

    async def async_generate(self, prompt: str, sampling_params: Any, stream: bool) -> AsyncIterator[dict[str, str]]:
        async def chunks() -> AsyncIterator[dict[str, str]]:
            for chunk in self.generate(prompt, sampling_params, stream):
                yield chunk

        return chunks()


@pytest.mark.parametrize("name", STREAMS)
def test_the_text_of_a_stream_comes_once(name: str) -> None:
    chunks, text = STREAMS[name]
    llm = Scripted(chunks)
    assert stream_and_merge(llm, "prompt", {"temperature": 0}) == text
    assert llm.asked == [("prompt", {"temperature": 0}, True)]


@pytest.mark.parametrize("name", STREAMS)
def test_the_async_pieces_join_to_the_text(name: str) -> None:
    chunks, text = STREAMS[name]

    async def pieces() -> list[str]:
        return [piece async for piece in async_stream_and_merge(Scripted(chunks), "prompt")]

    got = asyncio.run(pieces())
    assert "".join(got) == text
    assert all(got)
