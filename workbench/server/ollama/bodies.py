"""Bodies of Ollama's routes, and their options as the engine names them."""

from __future__ import annotations

from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.shapes import JsonFormat, Messages, Tools

OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed", "stop": "stop",
    "num_predict": "max_new_tokens", "repeat_penalty": "repetition_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
"""Sampling parameter by Ollama's option. Others, about a model's place in memory, have no meaning here and are ignored."""


class OllamaBody(Body):
    """The fields that Ollama's chat and generate share."""

    model: str
    stream: bool | None = True
    format: JsonFormat = None
    options: dict[str, Any] | None = None
    think: bool | str | None = None
    keep_alive: str | float | None = None

    def sampling(self) -> dict[str, Any]:
        """Returns the sampling parameters. Without a limit the output may fill the context, as in Ollama."""
        given = self.options or {}
        params = {OPTIONS[name]: value for name, value in given.items() if name in OPTIONS and value is not None}
        if isinstance(limit := params.get("max_new_tokens"), int) and limit < 0:
            del params["max_new_tokens"]
        return params

    def response_format(self) -> dict[str, Any] | None:
        """Returns the constraint in OpenAI's shape. Raises InvalidRequest."""
        if self.format in (None, ""):
            return None
        if self.format == "json":
            return {"type": "json_object"}
        if isinstance(self.format, dict):
            return {"type": "json_schema", "json_schema": {"name": "format", "schema": self.format}}
        raise InvalidRequest("format", self.format, "json or a JSON schema")


class ChatBody(OllamaBody):
    """The body of `/api/chat`."""

    messages: Messages = []
    tools: Tools = None


class GenerateBody(OllamaBody):
    """The body of `/api/generate`."""

    prompt: str | None = ""
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = False
    images: list[str] | None = None

    def check(self) -> None:
        """Raises NotSupported for a field without a feature."""
        for name in ("suffix", "template"):
            if getattr(self, name):
                raise NotSupported(f"{name} is not available here", hint="leave it out")


class EmbedBody(Body):
    """The body of `/api/embed`."""

    model: str
    input: str | list[str] = ""
    truncate: bool | None = True
    """Switch to cut a text that is longer than the context."""
    dimensions: int | None = None
    """Length of the vectors: their first numbers, normalised again. None: all."""
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class EmbeddingsBody(Body):
    """The body of `/api/embeddings`."""

    model: str
    prompt: str | None = ""
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None


class ShowBody(Body):
    """The body of `/api/show`."""

    model: str | None = None
    name: str | None = None
