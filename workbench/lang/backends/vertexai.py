"""Programs on Google's Gemini models, through the `google-genai` package: Vertex AI, or the Gemini API with a key."""

from __future__ import annotations

import json
import mimetypes
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.errors import BackendLacks
from workbench.lang.backends.base import GenerateCall, Piece, SelectCall
from workbench.lang.backends.vendor import Line, VendorBackend, calls_text, functions, the_model, tool_call, vendor_package
from workbench.lang.nodes import Image, Text
from workbench.lang.prompt import Turn
from workbench.pictures.media import read_media

MAX_STOPS = 5
NAMES = {
    "max_new_tokens": "max_output_tokens", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
PROJECTS = ("GOOGLE_CLOUD_PROJECT", "GCP_PROJECT_ID")
LOCATIONS = ("GOOGLE_CLOUD_LOCATION", "GCP_LOCATION")


class VertexAI(VendorBackend):
    """Runs programs on Gemini models: `VertexAI("gemini-2.5-flash")`.

    With a project (`project` and `location`, or GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION) it uses Vertex AI, else the
    Gemini API with a key (`api_key`, GOOGLE_API_KEY or GEMINI_API_KEY).
    `http_options` are those of the package (`timeout` in ms, `retry_options`, `headers`, ...); further keywords go to
    `google.genai.Client` (`credentials`, ...).
    """

    name = "VertexAI"
    features = VendorBackend.features | {"logprobs"}
    params = frozenset({*NAMES, "stop"})
    key_hint = "set GOOGLE_API_KEY, or VertexAI(model, api_key=...), or VertexAI(model, project=..., location=...)"

    def __init__(
        self, model: str | None = None, *, model_name: str | None = None,
        project: str | None = None, location: str | None = None, api_key: str | None = None,
        base_url: str | None = None, http_options: Mapping[str, Any] | None = None, **client: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model = the_model(model, model_name)
        genai = vendor_package("google.genai", "VertexAI", "vertexai")
        if api_key is None:
            project = project or _first_set(PROJECTS)
        if project is not None:
            where = {"vertexai": True, "project": project, "location": location or _first_set(LOCATIONS)}
        else:
            where = {"api_key": api_key or _first_set(KEYS)}
        self._reading = threading.local()
        http = dict(http_options or {})
        http["base_url"] = base_url or http.get("base_url")
        http["client_args"] = {**http.get("client_args", {}), "event_hooks": {"response": [self._attach]}}
        with self.translated():
            self._client = genai.Client(http_options=http, **where, **client)

    def _attach(self, response: Any) -> None:
        """Takes the response that is read next from a hook of the HTTP client, because the package does not expose it."""
        line = getattr(self._reading, "line", None)
        if line is not None:
            line.attach(response)

    def takes_stop(self, stop: str, index: int) -> bool:
        """Returns whether the stop string is one of the first `MAX_STOPS`."""
        return index < MAX_STOPS

    def check(self, call: GenerateCall | SelectCall) -> None:
        """Raises `BackendLacks` for a part of `call` that the API does not support."""
        super().check(call)
        if any(turn.role == "system" for turn in call.prompt.turns[1:]):
            raise BackendLacks(self.name, "a system message after others", hint="put it into the first message or user(...)")

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """Returns the pieces of the answer. Raises BackendFailed for an error of the API."""
        turns = self.turns(call.prompt)
        config: dict[str, Any] = {NAMES[name]: value for name, value in call.params.items() if name in NAMES}
        if turns[0].role == "system":
            config["system_instruction"] = turns.pop(0).text
        if stop:
            config["stop_sequences"] = list(stop)
        if call.prompt.tools:
            config["tools"] = [{"function_declarations": [_declaration(function) for function in functions(call.prompt)]}]
        if "json_schema" in call.params:
            config |= {"response_mime_type": "application/json", "response_json_schema": json.loads(call.params["json_schema"])}
        if call.logprobs.get("return_logprob"):
            config |= {"response_logprobs": True, "logprobs": call.logprobs.get("top_logprobs_num") or None}
        contents = [_content(turn) for turn in turns]
        return self._read(call, self.events(call.rid, lambda line: self._open(line, contents, config)))

    def _open(self, line: Line, contents: list[dict[str, Any]], config: dict[str, Any]) -> Iterator[Any]:
        self._reading.line = line
        try:
            yield from self._client.models.generate_content_stream(model=self.model, contents=contents, config=config)
        finally:
            self._reading.line = None

    def _read(self, call: GenerateCall, chunks: Iterator[Any]) -> Iterator[Piece]:
        meta: dict[str, Any] = {"id": call.rid, "model": self.model}
        calls: list[dict[str, Any]] = []
        logprobs: list[list[Any]] = []
        tops: list[list[list[Any]]] = []
        finish, has_text = None, False
        for chunk in chunks:
            meta |= {"response_id": chunk.response_id} if chunk.response_id else {}
            meta |= _usage(chunk.usage_metadata)
            blocked = getattr(chunk.prompt_feedback, "block_reason", None)
            if blocked:
                raise self.failed(f"refused the prompt: {getattr(blocked, 'name', blocked)}")
            for candidate in chunk.candidates or ():
                finish = candidate.finish_reason or finish
                parts = (candidate.content.parts if candidate.content else None) or ()
                calls += [_call(part.function_call) for part in parts if part.function_call]
                text = "".join(part.text for part in parts if part.text and not part.thought)
                result = candidate.logprobs_result
                logprobs += _entries(getattr(result, "chosen_candidates", None))
                tops += [_entries(top.candidates) for top in getattr(result, "top_candidates", None) or ()]
                if text:
                    has_text = True
                    yield Piece(text)
        if finish is None:
            raise self.broke_off()
        meta["finish_reason"] = {"type": "tool_calls"} if calls else _reason(finish.name, meta)
        if calls:
            meta["tool_calls"] = calls
        if call.logprobs.get("return_logprob"):
            meta["output_token_logprobs"] = logprobs
            if call.logprobs.get("top_logprobs_num"):
                meta["output_top_logprobs"] = tops
        yield Piece(calls_text(calls, after_text=has_text), meta_info=meta)


def _first_set(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _content(turn: Turn) -> dict[str, Any]:
    return {"role": "model" if turn.role == "assistant" else "user", "parts": [_part(part) for part in turn.parts]}


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Image(source):
            media = read_media(source)
            if media.url:
                kind = mimetypes.guess_type(media.url.partition("?")[0])[0] or "image/jpeg"
                return {"file_data": {"file_uri": media.url, "mime_type": kind}}
            return {"inline_data": {"mime_type": media.media_type, "data": media.data}}
        case Text(value):
            return {"text": value}
    raise TypeError(type(part).__name__)


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {"parameters_json_schema": function["parameters"]} if function.get("parameters") else {}
    return {"name": function["name"], "description": function.get("description", ""), **parameters}


def _call(call: Any) -> dict[str, Any]:
    return tool_call(call.name, json.dumps(call.args or {}), call.id)


def _entries(tokens: Any) -> list[list[Any]]:
    return [[token.log_probability, token.token_id, token.token] for token in tokens or ()]


def _usage(usage: Any) -> dict[str, int]:
    """Returns the token counts. Thoughts are output too, and count with the answer."""
    if usage is None:
        return {}
    counts = {"prompt_tokens": usage.prompt_token_count, "cached_tokens": usage.cached_content_token_count}
    if usage.candidates_token_count is not None:
        counts["completion_tokens"] = usage.candidates_token_count + (usage.thoughts_token_count or 0)
    return {name: count for name, count in counts.items() if count is not None}


def _reason(finish: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    if finish == "STOP":
        return {"type": "stop", "matched": None}
    if finish == "MAX_TOKENS":
        return {"type": "length", **({"length": meta["completion_tokens"]} if "completion_tokens" in meta else {})}
    return {"type": "content_filter", "reason": finish}
