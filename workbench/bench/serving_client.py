"""The clients of the serving benchmark: one streamed request, timed read by read."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from workbench.bench.timed_post import lines, post
from workbench.errors import BackendFailed


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


@dataclass(frozen=True)
class Target:
    """A server, the API it is measured through, and what all requests have in common."""

    base_url: str
    backend: Backend
    model: str
    ignore_eos: bool = True
    temperature: float = 0.0

    async def measure(self, job: Job) -> Outcome:
        """Sends one request and returns its times; a failure is part of the outcome."""
        body = json.dumps(self.backend.body(job, self.model, self.ignore_eos, self.temperature)).encode()
        outcome, begun = Outcome(), time.perf_counter()
        last = begun
        try:
            for at, line in lines(await post(self.base_url, self.backend.path, body, auth_headers())):
                if not line.startswith(b"data: ") or line == b"data: [DONE]":
                    continue
                if self.backend.add(outcome, json.loads(line[6:])):
                    if outcome.ttft:
                        outcome.gaps.append(at - last)
                    else:
                        outcome.ttft = at - begun
                    last = at
                outcome.latency = at - begun
        except (OSError, ValueError, KeyError, BackendFailed) as error:
            outcome.error = f"{type(error).__name__}: {error}"
        return outcome


def auth_headers() -> dict[str, str]:
    """Returns the header with the key of OPENAI_API_KEY, if that is set."""
    key = os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def served_model(base_url: str) -> str:
    """Returns the first model that a server lists. Raises BackendFailed if there is no server."""
    try:
        request = urllib.request.Request(f"{base_url.rstrip('/')}/v1/models", headers=auth_headers())
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return str(found[0]["id"])
    except (OSError, ValueError, LookupError) as error:
        raise BackendFailed(f"no server lists its models at {base_url} ({error})", hint="start it, or give --base-url") from None
