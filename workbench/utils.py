"""Helpers that programs written for the reference import from `utils`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any


def stream_and_merge(llm: Any, prompt: str, sampling_params: Mapping[str, Any] | None = None) -> str:
    """Returns the whole text of one streamed generation. The text of each chunk repeats the text before it."""
    text = ""
    for chunk in llm.generate(prompt, sampling_params, stream=True):
        text += _new_text(text, chunk["text"])
    return text


async def async_stream_and_merge(llm: Any, prompt: str, sampling_params: Mapping[str, Any] | None = None) -> AsyncIterator[str]:
    """Yields the new text of each chunk of one streamed generation; joined, the pieces are the whole text."""
    text = ""
    async for chunk in await llm.async_generate(prompt, sampling_params, stream=True):
        piece = _new_text(text, chunk["text"])
        text += piece
        if piece:
            yield piece


def _new_text(text: str, chunk: str) -> str:
    """Returns what `chunk` adds to `text`: a chunk may repeat all of it (as this engine does), its end, or nothing."""
    if chunk.startswith(text):
        return chunk[len(text) :]
    overlap = next((n for n in range(min(len(text), len(chunk)), 0, -1) if text.endswith(chunk[:n])), 0)
    return chunk[overlap:]
