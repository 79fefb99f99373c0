"""The clients of the serving benchmark: one streamed request, timed read by read."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.bench.timed_post import lines, post
from workbench.errors import BackendFailed

CALL_TIMEOUT_S = 300
"""Limit of calls beside the load; a trace takes its time to be written."""


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

    def body(self, job: Job, target: Target) -> dict[str, Any]:
        """Returns the body of a request."""
        if self.is_native:
            params = {"max_new_tokens": job.new_tokens, "temperature": target.temperature, "ignore_eos": target.ignore_eos}
            return {"input_ids": job.input_ids, "sampling_params": params, "stream": target.streams}
        prompt = {"messages": job.messages} if self.is_chat else {"prompt": job.input_ids}
        usage = {"stream_options": {"include_usage": True}} if target.streams else {}
        return prompt | usage | {
            "model": target.model, "max_tokens": job.new_tokens, "temperature": target.temperature,
            "ignore_eos": target.ignore_eos, "stream": target.streams,
        }  # fmt: skip

    def add(self, outcome: Outcome, chunk: dict[str, Any]) -> bool:
        """Adds a chunk to an outcome; returns whether it brought text. Raises BackendFailed for an error in the stream."""
        if "error" in chunk:
            raise BackendFailed(str(chunk["error"]))
        before, is_thought = outcome.text, False
        if self.is_native:
            meta = chunk["meta_info"]
            outcome.text = chunk.get("text", str(len(chunk.get("output_ids", ()))))
            outcome.prompt_tokens, outcome.output_tokens = meta["prompt_tokens"], meta["completion_tokens"]
            outcome.cached_tokens = meta["cached_tokens"]
        else:
            for choice in chunk.get("choices", ()):
                message = choice.get("delta") or choice.get("message") or {}
                outcome.text += (message.get("content") if self.is_chat else choice["text"]) or ""
                is_thought |= bool(message.get("reasoning_content") or message.get("reasoning"))
            if usage := chunk.get("usage"):
                outcome.prompt_tokens, outcome.output_tokens = usage["prompt_tokens"], usage["completion_tokens"]
                outcome.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return is_thought or outcome.text != before


NATIVE = Backend("/generate", is_native=True)
TEXT = Backend("/v1/completions")
CHAT = Backend("/v1/chat/completions", is_chat=True)
BACKENDS = {
    "workbench": NATIVE, "sglang": NATIVE, "sglang-native": NATIVE,
    "openai": TEXT, "sglang-oai": TEXT, "vllm": TEXT, "lmdeploy": TEXT,
    "chat": CHAT, "sglang-oai-chat": CHAT, "vllm-chat": CHAT,
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A server, the API it is measured through, and what all requests have in common."""

    base_url: str
    backend: Backend
    model: str
    ignore_eos: bool = True
    temperature: float = 0.0
    streams: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More fields of every body."""

    async def measure(self, job: Job) -> Outcome:
        """Sends one request and returns its times; a failure is part of the outcome."""
        body = json.dumps({**self.backend.body(job, self), **self.extra}).encode()
        outcome, begun = Outcome(), time.perf_counter()
        last, is_whole = begun, False
        try:
            for at, line in lines(await post(self.base_url, self.backend.path, body, auth_headers())):
                value = line.removeprefix(b"data: ") if self.streams else line
                is_whole |= value == b"[DONE]" or not self.streams
                if not value.startswith(b"{"):
                    continue
                if self.backend.add(outcome, json.loads(value)):
                    if outcome.ttft:
                        outcome.gaps.append(at - last)
                    else:
                        outcome.ttft = at - begun
                    last = at
                outcome.latency = at - begun
            if not is_whole:
                outcome.error = "the stream ended early"
        except (OSError, ValueError, LookupError, BackendFailed) as error:
            outcome.error = f"{type(error).__name__}: {error}"
        return outcome


def auth_headers() -> dict[str, str]:
    """Returns the header with the key of OPENAI_API_KEY, if that is set."""
    key = os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def call(base_url: str, path: str, data: bytes | None = None) -> bytes:
    """Returns the answer to a GET, or to a POST of `data`. Raises BackendFailed if there is none."""
    try:
        request = urllib.request.Request(base_url.rstrip("/") + path, data, auth_headers())
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
            return bytes(answer.read())
    except OSError as error:
        detail = error.read(2000).decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
        raise BackendFailed(
            f"no answer to {path} at {base_url} ({error}) {detail}".rstrip(), hint="start a server there, or give another address"
        ) from None


def served_model(base_url: str) -> str:
    """Returns the first model that a server lists. Raises BackendFailed if there is no server."""
    return str(_first(base_url)["id"])


def served_tokenizer(base_url: str) -> str:
    """Returns the tokenizer that a server names. Raises BackendFailed if it names none."""
    try:
        return str(json.loads(call(base_url, "/get_model_info"))["tokenizer_path"])
    except (BackendFailed, ValueError, LookupError):
        if found := _first(base_url).get("root"):
            return str(found)
    raise BackendFailed(f"{base_url} names no tokenizer", hint="give --tokenizer, a model's alias or folder")


def _first(base_url: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(call(base_url, "/v1/models"))["data"][0]
        return found
    except (ValueError, LookupError) as error:
        raise BackendFailed(f"{base_url} lists no models ({error})", hint="give --model") from None
