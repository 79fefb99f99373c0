"""OpenAI's HTTP API as published: `/v1/chat/completions` and `/v1/completions` as server-sent events, `/v1/models`."""

from __future__ import annotations

import json

from vendor_server import Vendor, limited, sse


class OpenAIServer(Vendor):
    """The API's handler. `calls`: (name, arguments) of the tools that the model calls after its text. `pick_token(body)` is the
    text of a token if some are favoured by `logit_bias`."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.refusal = None
        self.pick_token = None

    def refuses(self, headers):
        return headers.get("Authorization") != f"Bearer {self.key}"

    def error(self, status, message):
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}

    def get(self, path):
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in ("first-model", "second-model")]
        return {"object": "list", "data": models} if path == "/v1/models" else None

    def invalid(self, body):
        if len(body.get("stop") or ()) > 4 and not isinstance(body["stop"], str):
            return "Invalid 'stop': array too long. Expected an array with maximum length 4."
        if body.get("temperature") == 0 and body["model"].startswith("thinker"):
            return "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
        return None

    def events(self, path, body):
        assert body["stream"] is True
        assert body["stream_options"]["include_usage"] is True
        prompt = body.get("prompt") or "\n".join(_words(message["content"]) for message in body["messages"])
        text = self.pick_token(body) if self.pick_token and "logit_bias" in body else self.answer(prompt)
        stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop")
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        pieces, finish, _ = limited(text, stops, limit)
        is_chat = path.endswith("/chat/completions")
        chunk = self._chat_chunk if is_chat else self._text_chunk
        n = body.get("n", 1)
        for i in range(n):
            if is_chat:
                yield chunk(body, i, {"role": "assistant", "content": ""}), False
            for piece in pieces:
                yield chunk(body, i, {"content": piece}), True
            if self.refusal:
                yield chunk(body, i, {"refusal": self.refusal}), False
            for event in self._call_events(body, i) if is_chat else ():
                yield event, False
            yield chunk(body, i, {}, "tool_calls" if self.calls and is_chat else finish), False
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": n * len(pieces)}
        usage |= {"total_tokens": sum(usage.values()), "prompt_tokens_details": {"cached_tokens": 1}}
        yield sse({**self._head(body, is_chat), "choices": [], "usage": usage}), False
        yield sse("[DONE]"), False

    def _call_events(self, body, i):
        for k, (name, arguments) in enumerate(self.calls):
            function = {"name": name, "arguments": ""}
            yield self._chat_chunk(
                body, i, {"tool_calls": [{"index": k, "id": f"call_{k}", "type": "function", "function": function}]}
            )
            text = json.dumps(arguments)
            for part in (text[:5], text[5:]):
                yield self._chat_chunk(body, i, {"tool_calls": [{"index": k, "function": {"arguments": part}}]})

    def _head(self, body, is_chat):
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        return {"id": "answer-1", "object": kind, "created": 1, "model": body["model"], "usage": None}

    def _chat_chunk(self, body, i, delta, finish=None):
        logprobs = None
        if body.get("logprobs") and delta.get("content"):
            token = delta["content"]
            tops = [{"token": f"{token}{k}", "logprob": -1.0 - k, "bytes": None} for k in range(body.get("top_logprobs", 0))]
            logprobs = {"content": [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": tops}], "refusal": None}
        choice = {"index": i, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse({**self._head(body, True), "choices": [choice]})

    def _text_chunk(self, body, i, delta, finish=None):
        text, logprobs = delta.get("content", ""), None
        if body.get("logprobs") is not None and text:
            tops = [{f"{text}{k}": -1.0 - k for k in range(body["logprobs"])}]
            logprobs = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": tops, "text_offset": [0]}
        choice = {"index": i, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return sse({**self._head(body, False), "choices": [choice]})


def _words(content):
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
