"""The format of OpenAI's API, which others use too: messages, parameters, and the pieces of a streamed answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.lang.backends.base import GenerateCall, Piece
from workbench.lang.backends.schema import strict_schema
from workbench.lang.backends.vendor import VendorBackend, calls_text, functions, tool_call
from workbench.lang.nodes import Image, Text
from workbench.lang.prompt import Turn
from workbench.pictures.media import read_media

SAME_NAMES = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n")


def message(turn: Turn) -> dict[str, Any]:
    if not turn.has_media:
        return {"role": turn.role, "content": turn.text}
    return {"role": turn.role, "content": [_part(part) for part in turn.parts]}


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Image(source):
            return {"type": "image_url", "image_url": {"url": read_media(source).as_url}}
        case Text(value):
            return {"type": "text", "text": value}
    raise TypeError(type(part).__name__)


def sampling(call: GenerateCall, stop: Sequence[str]) -> dict[str, Any]:
    """Returns the parameters that chat and text calls share, without the length limit."""
    body = {name: call.params[name] for name in SAME_NAMES if name in call.params}
    if stop:
        body["stop"] = list(stop)
    if "logit_bias" in call.params:
        body["logit_bias"] = {str(token): bias for token, bias in call.params["logit_bias"].items()}
    return body


def chat_body(backend: VendorBackend, call: GenerateCall, stop: Sequence[str]) -> dict[str, Any]:
    body = {"messages": [message(turn) for turn in backend.turns(call.prompt)], **sampling(call, stop)}
    if call.prompt.tools:
        body["tools"] = [{"type": "function", "function": function} for function in functions(call.prompt)]
    if "json_schema" in call.params:
        schema = strict_schema(json.loads(call.params["json_schema"]))
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    if call.logprobs.get("return_logprob"):
        body |= {"logprobs": True, "top_logprobs": call.logprobs.get("top_logprobs_num", 0)}
    return body


@dataclass
class Sample:
    """The parts of one answer received so far."""

    has_text: bool = False
    finish: str | None = None
    refusal: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[list[Any]] = field(default_factory=list)
    top_logprobs: list[list[list[Any]]] = field(default_factory=list)

    def take(self, choice: Any) -> str:
        """Returns the new text of a chunk and keeps its other parts."""
        self.finish = getattr(choice, "finish_reason", None) or self.finish
        self._take_logprobs(getattr(choice, "logprobs", None))
        delta = getattr(choice, "delta", None)
        for part in getattr(delta, "tool_calls", None) or ():
            call = self.calls.setdefault(part.index, {"name": "", "arguments": "", "call_id": None})
            call["call_id"] = part.id or call["call_id"]
            call["name"] += getattr(part.function, "name", None) or ""
            call["arguments"] += getattr(part.function, "arguments", None) or ""
        self.refusal += getattr(delta, "refusal", None) or ""
        text = (choice.text if delta is None else delta.content) or ""
        self.has_text |= bool(text)
        return text

    def _take_logprobs(self, logprobs: Any) -> None:
        if getattr(logprobs, "content", None):  # of a chat
            for token in logprobs.content:
                self.logprobs.append([token.logprob, None, token.token])
                self.top_logprobs.append([[top.logprob, None, top.token] for top in token.top_logprobs or ()])
        elif getattr(logprobs, "tokens", None):  # of a text
            self.logprobs += [[lp, None, text] for text, lp in zip(logprobs.tokens, logprobs.token_logprobs, strict=True)]
            self.top_logprobs += [[[lp, None, text] for text, lp in tops.items()] for tops in logprobs.top_logprobs or ()]

    def last(self, index: int, common: Mapping[str, Any], call: GenerateCall) -> Piece:
        calls = [tool_call(**self.calls[i]) for i in sorted(self.calls)]
        meta = {**common, "finish_reason": _reason(self.finish, common.get("completion_tokens"))}
        if calls:
            meta["tool_calls"] = calls
        if call.logprobs.get("return_logprob"):
            meta["output_token_logprobs"] = self.logprobs
            if call.logprobs.get("top_logprobs_num"):
                meta["output_top_logprobs"] = self.top_logprobs
        return Piece(calls_text(calls, after_text=self.has_text), index, meta)


def read_chunks(backend: VendorBackend, call: GenerateCall, chunks: Iterator[Any]) -> Iterator[Piece]:
    """Yields the pieces of a streamed answer. The token counts come last, so all samples end after the stream.

    Raises BackendFailed for a refusal, and for a stream that ended early.
    """
    samples = [Sample() for _ in range(call.params.get("n", 1))]
    common: dict[str, Any] = {"id": call.rid, "model": backend.model}
    for chunk in chunks:
        common |= {"response_id": chunk.id} if getattr(chunk, "id", None) else {}
        common |= _usage(getattr(chunk, "usage", None), len(samples))
        for choice in chunk.choices:
            text = samples[choice.index].take(choice)
            if text:
                yield Piece(text, choice.index)
    for i, sample in enumerate(samples):
        if sample.refusal:
            raise backend.failed(f"refused: {sample.refusal}")
        if sample.finish is None:
            raise backend.broke_off()
        yield sample.last(i, common, call)


def _usage(usage: Any, n: int) -> dict[str, Any]:
    """Returns the token counts. The API has only the sum of several samples, which is left out."""
    if usage is None:
        return {}
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    counts = {"prompt_tokens": usage.prompt_tokens, "cached_tokens": cached}
    counts["completion_tokens"] = usage.completion_tokens if n == 1 else None
    return {name: count for name, count in counts.items() if count is not None}


def _reason(finish: str | None, num_tokens: int | None) -> dict[str, Any]:
    if finish == "stop":
        return {"type": "stop", "matched": None}
    if finish == "length" and num_tokens is not None:
        return {"type": "length", "length": num_tokens}
    return {"type": finish}
