"""Anthropic's HTTP API as published: `/v1/messages` as named server-sent events."""

from __future__ import annotations

import json

from vendor_server import Vendor, limited, sse


class AnthropicServer(Vendor):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.stream_error = None
        """(type, message) of an error that comes in the stream, after the text."""

    def refuses(self, headers):
        given = headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer ")
        return given != self.key or not headers.get("anthropic-version")

    def error(self, status, message):
        kinds = {401: "authentication_error", 429: "rate_limit_error", 400: "invalid_request_error"}
        return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}, "request_id": "req_1"}

    def invalid(self, body):
        if not all(stop.strip() for stop in body.get("stop_sequences", ())):
            return "stop_sequences: each stop sequence must contain non-whitespace"
        last = body["messages"][-1]
        if last["role"] == "assistant" and last["content"] != last["content"].rstrip():
            return "messages: final assistant content cannot end with trailing whitespace"
        return None

    def events(self, path, body):
        assert path == "/v1/messages"
        assert body["stream"] is True
        texts = [_words(body["system"])] if body.get("system") else []
        texts += [_words(message["content"]) for message in body["messages"]]
        pieces, finish, matched = limited(self.answer("\n".join(texts)), body.get("stop_sequences"), body["max_tokens"])
        num_words = len(" ".join(texts).split())  # one of them comes from the cache, and one is new there
        usage = {"input_tokens": num_words - 2, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
        yield _event("message_start", message=message), False
        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""}), False
        yield _event("ping"), False
        for piece in pieces:
            yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}), True
        if self.stream_error:
            kind, words = self.stream_error
            yield _event("error", error={"type": kind, "message": words}), False
            return
        yield _event("content_block_stop", index=0), False
        for k, (name, arguments) in enumerate(self.calls, 1):
            block = {"type": "tool_use", "id": f"toolu_{k}", "name": name, "input": {}}
            yield _event("content_block_start", index=k, content_block=block), False
            text = json.dumps(arguments)
            for part in ("", text[:5], text[5:]):
                yield _event("content_block_delta", index=k, delta={"type": "input_json_delta", "partial_json": part}), False
            yield _event("content_block_stop", index=k), False
        reason = "tool_use" if self.calls else {"length": "max_tokens"}.get(finish, "stop_sequence" if matched else "end_turn")
        delta = {"stop_reason": reason, "stop_sequence": matched}
        yield _event("message_delta", delta=delta, usage={"output_tokens": len(pieces)}), False
        yield _event("message_stop"), False


def _event(kind, **fields):
    return sse({"type": kind, **fields}, kind)


def _words(content):
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
