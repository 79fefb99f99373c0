"""Google's Gemini API as published: `models/NAME:streamGenerateContent?alt=sse`, of the Gemini API and of Vertex AI."""

from __future__ import annotations

import re

from vendor_server import Vendor, limited, sse


class GeminiServer(Vendor):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.thought = None
        self.block_reason = None

    def refuses(self, headers):
        return self.key not in (headers.get("x-goog-api-key"), headers.get("Authorization", "").removeprefix("Bearer "))

    def error(self, status, message):
        kinds = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
        return {"error": {"code": status, "message": message, "status": kinds.get(status, "INVALID_ARGUMENT")}}

    def invalid(self, body):
        too_many = len(body.get("generationConfig", {}).get("stopSequences", ())) > 5
        return "the number of stop sequences must not exceed 5" if too_many else None

    def events(self, path, body):
        assert re.search(r"/models/[\w.-]+:streamGenerateContent\?alt=sse$", path)
        config = body.get("generationConfig", {})
        texts = [_words(body["systemInstruction"])] if "systemInstruction" in body else []
        prompt = "\n".join(texts + [_words(content) for content in body["contents"]])
        if self.block_reason:
            yield sse({"promptFeedback": {"blockReason": self.block_reason}, "responseId": "r1"}), False
            return
        pieces, finish, _ = limited(self.answer(prompt), config.get("stopSequences"), config.get("maxOutputTokens"))
        if self.thought:
            yield _chunk([{"text": self.thought, "thought": True}]), False
        for piece in pieces:
            yield _chunk([{"text": piece}], logprobs=_logprobs(piece, config)), True
        parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in self.calls] or [{"text": ""}]
        usage = {"promptTokenCount": len(prompt.split()), "candidatesTokenCount": len(pieces), "totalTokenCount": 99}
        usage |= {"cachedContentTokenCount": 1} | ({"thoughtsTokenCount": 7} if self.thought else {})
        yield _chunk(parts, {"length": "MAX_TOKENS"}.get(finish, "STOP"), usage), False


def _chunk(parts, finish=None, usage=None, logprobs=None):
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    candidate |= {"finishReason": finish} if finish else {}
    candidate |= {"logprobsResult": logprobs} if logprobs else {}
    chunk = {"candidates": [candidate], "modelVersion": "gemini-test", "responseId": "r1"}
    return sse(chunk | ({"usageMetadata": usage} if usage else {}))


def _logprobs(piece, config):
    if not config.get("responseLogprobs"):
        return None
    chosen = {"token": piece, "tokenId": len(piece), "logProbability": -0.5}
    tops = [{"token": f"{piece}{k}", "tokenId": k, "logProbability": -1.0 - k} for k in range(config.get("logprobs", 0))]
    return {"chosenCandidates": [chosen], "topCandidates": [{"candidates": tops}]}


def _words(content):
    return " ".join(part.get("text", "") for part in content["parts"])
