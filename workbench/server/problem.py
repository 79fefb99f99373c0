"""`Problem`: a failed request as HTTP sees it, and the error objects of the APIs that are served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workbench.errors import EngineDead, InvalidRequest, NotSupported, PromptTooLong, QueueFull, WorkbenchError

RETRY_AFTER_S = 1
"""Seconds in the header `Retry-After` of an answer with status 429 or 503."""
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_supported_error",
    503: "service_unavailable_error",
}
"""The `type` of an error object by its status."""


@dataclass(eq=False)
class Problem(Exception):
    """A request that ends with an error status."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(RETRY_AFTER_S)} if self.status in (429, 503) else {}

    @property
    def kind(self) -> str:
        return KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def openai(self) -> dict[str, Any]:
        """Returns the error object of OpenAI's API, which the native API uses too."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def anthropic(self) -> dict[str, Any]:
        """Returns the error object of Anthropic's API."""
        kind = "overloaded_error" if self.status == 503 else "api_error" if self.status >= 500 else self.kind
        return {"type": "error", "error": {"type": kind, "message": self.message}}

    def ollama(self) -> dict[str, Any]:
        """Returns the error object of Ollama's API."""
        return {"error": self.message}

    def for_path(self, path: str) -> dict[str, Any]:
        """Returns the error object of the API that a path belongs to."""
        if path.startswith("/v1/messages"):
            return self.anthropic()
        return self.ollama() if path.startswith("/api/") else self.openai()


@contextmanager
def naming_prompt(name: str) -> Iterator[None]:
    """Gives errors about the prompt the name of the field that holds it in this API."""
    try:
        yield
    except InvalidRequest as error:
        if error.field == "prompt":
            error.field = name
            error.message, error.hint = (re.sub(r"\bprompt\b", name, text) for text in (error.message, error.hint))
        raise


def error_answers(path: str) -> dict[int | str, dict[str, Any]]:
    """Returns the error answers of the API that a path belongs to, for `/openapi.json`."""
    text, object_ = {"type": "string"}, Problem(400, "").for_path(path)
    fields = {"type": "object", "required": ["message", "type"], "properties": {"message": text, "type": text}}
    error = text if isinstance(object_["error"], str) else fields
    schema = {"type": "object", "required": [*object_], "properties": {"error": error}}
    answer = {"content": {"application/json": {"schema": schema}}}
    return {
        "4XX": {"description": "The request is refused.", **answer},
        "5XX": {"description": "The engine is away, or the disk is full.", **answer},
    }


def problem_of(error: BaseException) -> Problem:
    """Returns an error of the engine as a problem. The text of an error of Python is not shown to clients."""
    match error:
        case Problem():
            return error
        case PromptTooLong():
            return Problem(400, str(error), param=error.field, code="context_length_exceeded")
        case InvalidRequest():
            return Problem(400, str(error), param=error.field, code="invalid_value")
        case NotSupported():
            return Problem(400, str(error), code="not_supported")
        case QueueFull():
            return Problem(429, str(error), code="queue_full")
        case EngineDead():
            return Problem(503, str(error), code="engine_unavailable")
        case WorkbenchError():
            return Problem(500, str(error))
        case _:
            return Problem(500, f"the server failed ({type(error).__name__}); its log has the reason")
