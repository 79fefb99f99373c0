"""Programs on Anthropic's models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.lang.backends.base import GenerateCall, Piece
from workbench.lang.backends.schema import strict_schema
from workbench.lang.backends.vendor import Line, VendorBackend, calls_text, functions, the_model, tool_call, vendor_package
from workbench.lang.nodes import Image, Text
from workbench.lang.prompt import Turn
from workbench.pictures.media import read_media

MAX_TOKENS = 4096
SAME_NAMES = ("temperature", "top_p", "top_k")
FINISH = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
"""Stop reasons with other names here; `end_turn` and `stop_sequence` are both "stop"."""


class Anthropic(VendorBackend):
    """Runs programs on Anthropic's models: `Anthropic("claude-sonnet-5")`, with the key in ANTHROPIC_API_KEY or `api_key`.

    Further keywords go to `anthropic.Anthropic` (`base_url`, `timeout`, `max_retries`, `default_headers`, ...). The API needs a
    length limit: without `max_tokens` it is 4096. Models differ in their support of temperature, top_p, top_k, text before `gen`
    in an assistant message, and `json_schema`; a refusal raises BackendFailed with the API's message.
    """

    name = "Anthropic"
    features = VendorBackend.features | {"prefill"}
    params = frozenset({"max_new_tokens", "temperature", "top_p", "top_k", "stop"})
    key_hint = "set ANTHROPIC_API_KEY, or Anthropic(model, api_key=...)"

    def __init__(
        self, model: str | None = None, *, model_name: str | None = None, api_key: str | None = None, **client: Any
    ) -> None:
        super().__init__()
        self.model = the_model(model, model_name)
        package = vendor_package("anthropic", "Anthropic", "anthropic")
        with self.translated():
            self._client = package.Anthropic(api_key=api_key, **client)

    def takes_stop(self, stop: str, index: int) -> bool:
        """Returns whether the stop string has a character other than white space."""
        return bool(stop.strip())

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """Returns the pieces of the answer. Raises BackendFailed for an error of the API."""
        turns = self.turns(call.prompt)
        body: dict[str, Any] = {"max_tokens": call.params.get("max_new_tokens", MAX_TOKENS)}
        if turns[0].role == "system":
            body["system"] = turns.pop(0).text
        body["messages"] = [_message(turn) for turn in turns]
        if stop:
            body["stop_sequences"] = list(stop)
        if call.prompt.tools:
            body["tools"] = [_tool(function) for function in functions(call.prompt)]
        # Not all versions of the package have these keywords; the API decides by the model.
        extra: dict[str, Any] = {name: call.params[name] for name in SAME_NAMES if name in call.params}
        if "json_schema" in call.params:
            schema = strict_schema(json.loads(call.params["json_schema"]))
            extra["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        pieces = self._read(call, self.events(call.rid, lambda line: self._open(line, body, extra)))
        has_cut_prefill = call.prompt.open_role is not None and turns[-1].role == "assistant" and turns[-1].text[-1:].isspace()
        return _without_space(pieces) if has_cut_prefill else pieces

    def _open(self, line: Line, body: dict[str, Any], extra: dict[str, Any]) -> Iterator[Any]:
        with self._client.messages.create(model=self.model, **body, stream=True, extra_body=extra) as stream:
            line.attach(stream.response)
            yield from stream

    def _read(self, call: GenerateCall, events: Iterator[Any]) -> Iterator[Piece]:
        meta: dict[str, Any] = {"id": call.rid, "model": self.model}
        usage: dict[str, int] = {}
        calls: dict[int, list[str]] = {}
        has_text = is_whole = False
        for event in events:
            match event.type:
                case "message_start":
                    meta["response_id"] = event.message.id
                    usage |= _counts(event.message.usage)
                case "content_block_start" if event.content_block.type == "tool_use":
                    calls[event.index] = [event.content_block.id, event.content_block.name, ""]
                case "content_block_delta" if event.delta.type == "text_delta":
                    has_text = True
                    yield Piece(event.delta.text)
                case "content_block_delta" if event.delta.type == "input_json_delta":
                    calls[event.index][2] += event.delta.partial_json
                case "message_delta":
                    usage |= _counts(event.usage)
                    meta["finish_reason"] = _reason(event.delta, usage)
                case "message_stop":
                    is_whole = True
        if not is_whole:
            raise self.broke_off()
        meta |= _sums(usage)
        if calls:
            meta["tool_calls"] = [tool_call(name, arguments, call_id) for call_id, name, arguments in calls.values()]
        yield Piece(calls_text(meta.get("tool_calls", []), after_text=has_text), meta_info=meta)


def _message(turn: Turn) -> dict[str, Any]:
    """Returns a message in the API's form. An open message may not end in white space, so it is cut there."""
    if not turn.has_media:
        return {"role": turn.role, "content": turn.text.rstrip() if turn.is_open else turn.text}
    return {"role": turn.role, "content": [_part(part) for part in turn.parts]}


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Image(source):
            media = read_media(source)
            if media.url:
                return {"type": "image", "source": {"type": "url", "url": media.url}}
            return {"type": "image", "source": {"type": "base64", "media_type": media.media_type, "data": media.base64}}
        case Text(value):
            return {"type": "text", "text": value}
    raise TypeError(type(part).__name__)


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function["name"], "description": function.get("description", ""), "input_schema": schema}


def _counts(usage: Any) -> dict[str, int]:
    """Returns the token counts of a message so far; later ones replace them."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return {name: count for name in names if (count := getattr(usage, name, None)) is not None}


def _sums(usage: Mapping[str, int]) -> dict[str, int]:
    """Returns the token counts by our names. The API's `input_tokens` exclude tokens read from or written to its cache."""
    counts = {}
    if "input_tokens" in usage:
        counts["prompt_tokens"] = sum(count for name, count in usage.items() if name != "output_tokens")
    if "cache_read_input_tokens" in usage:
        counts["cached_tokens"] = usage["cache_read_input_tokens"]
    if "output_tokens" in usage:
        counts["completion_tokens"] = usage["output_tokens"]
    return counts


def _reason(delta: Any, usage: Mapping[str, int]) -> dict[str, Any]:
    if delta.stop_reason in ("end_turn", "stop_sequence"):
        return {"type": "stop", "matched": delta.stop_sequence}
    kind = FINISH.get(delta.stop_reason, delta.stop_reason)
    return {"type": kind, "length": usage["output_tokens"]} if kind == "length" else {"type": kind}


def _without_space(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yields the pieces without leading white space, which the prompt already has."""
    has_begun = False
    for piece in pieces:
        text = piece.text if has_begun else piece.text.lstrip()
        has_begun = has_begun or bool(text)
        yield Piece(text, piece.index, piece.meta_info)
