"""The clients of the serving benchmark: one streamed request over a plain socket, timed chunk by chunk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import BackendFailed

LIMIT = 2**24
"""Longest line of an answer in bytes."""


@dataclass
class Job:
    """One request of a data set: token ids, or the messages of a conversation."""

    input_ids: list[int] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    new_tokens: int = 128


@dataclass
class Outcome:
    """The times of one request in seconds, and its tokens."""

    error: str = ""
    ttft: float = 0.0
    latency: float = 0.0
    gaps: list[float] = field(default_factory=list)
    """Seconds between two chunks with new text."""
    text: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True)
class Backend:
    """An API to measure."""

    path: str
    is_native: bool = False
    is_chat: bool = False

    def body(self, job: Job, model: str, ignore_eos: bool, temperature: float) -> dict[str, Any]:
        """Returns the body of a request."""
        if self.is_native:
            params = {"max_new_tokens": job.new_tokens, "temperature": temperature, "ignore_eos": ignore_eos}
            return {"input_ids": job.input_ids, "sampling_params": params, "stream": True}
        prompt = {"messages": job.messages} if self.is_chat else {"prompt": job.input_ids}
        return prompt | {
            "model": model, "max_tokens": job.new_tokens, "temperature": temperature, "ignore_eos": ignore_eos, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip

    def add(self, outcome: Outcome, chunk: dict[str, Any]) -> bool:
        """Adds a chunk to an outcome; returns whether it brought text. Raises BackendFailed for an error in the stream."""
        if "error" in chunk:
            raise BackendFailed(str(chunk["error"]))
        before = outcome.text
        if self.is_native:
            meta = chunk["meta_info"]
            outcome.text = chunk.get("text", str(len(chunk.get("output_ids", ()))))
            outcome.prompt_tokens, outcome.output_tokens = meta["prompt_tokens"], meta["completion_tokens"]
            outcome.cached_tokens = meta["cached_tokens"]
        else:
            for choice in chunk.get("choices", ()):
                outcome.text += (choice["delta"].get("content") if self.is_chat else choice["text"]) or ""
            if usage := chunk.get("usage"):
                outcome.prompt_tokens, outcome.output_tokens = usage["prompt_tokens"], usage["completion_tokens"]
                outcome.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return outcome.text != before


BACKENDS = {
    "workbench": Backend("/generate", is_native=True),
    "sglang": Backend("/generate", is_native=True),
    "vllm": Backend("/v1/completions"),
    "openai": Backend("/v1/completions"),
    "chat": Backend("/v1/chat/completions", is_chat=True),
}


async def measure(backend: Backend, base_url: str, body: dict[str, Any]) -> Outcome:
    """Sends one request and returns its times; a failure is part of the outcome."""
    outcome, begun = Outcome(), time.perf_counter()
    last = begun
    try:
        async for line in _events(base_url, backend.path, json.dumps(body).encode()):
            if backend.add(outcome, json.loads(line)):
                now = time.perf_counter()
                if outcome.ttft:
                    outcome.gaps.append(now - last)
                else:
                    outcome.ttft = now - begun
                last = now
    except (OSError, ValueError, KeyError, asyncio.IncompleteReadError, BackendFailed) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.latency = time.perf_counter() - begun
    return outcome


async def _events(base_url: str, path: str, body: bytes) -> AsyncIterator[bytes]:
    """Yields the data of each server-sent event of an answer. Raises BackendFailed for another status than 200."""
    url = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80, limit=LIMIT)
    try:
        head = (
            f"POST {url.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if status != 200:
            raise BackendFailed(f"status {status}: {(await reader.read(2000)).decode(errors='replace')}")
        async for raw in reader:  # chunk sizes stand on lines of their own
            if raw.startswith(b"data: ") and not raw.startswith(b"data: [DONE]"):
                yield raw[6:]
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
