"""Bodies of Ollama's routes, and their options as the engine names them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body
from workbench.server.schema import NULL, one_of
from workbench.server.shapes import RANGES, AnyTexts, JsonFormat, Messages, Positive, Tools

OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed", "stop": "stop",
    "num_predict": "max_new_tokens", "repeat_penalty": "repetition_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
"""Sampling parameter by Ollama's option. Others, about a model's place in memory, have no meaning here and are ignored."""
OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {name: RANGES[ours] for name, ours in OPTIONS.items()} | {"num_predict": one_of({"type": "integer"}, NULL)},
}
Options = Annotated[dict[str, Any] | None, WithJsonSchema(one_of(OPTIONS_SCHEMA, NULL))]
Nothing = Annotated[str | None, WithJsonSchema({"enum": ["", None]})]


class OllamaBody(Body):
    """The fields that Ollama's chat and generate share."""

    model: str
    """Name of a model; whatever it is, the served one answers."""
    stream: bool | None = True
    """Switch to send the answer as it grows, in lines of JSON."""
    format: JsonFormat = None
    """Constraint on the answer: "json" for any JSON object, or a JSON schema."""
    options: Options = None
    """Options by Ollama's names: `temperature`, `top_p`, `top_k`, `min_p`, `seed`, `stop`, `num_predict`, `repeat_penalty`,
    `presence_penalty`, `frequency_penalty`. Others are ignored."""
    think: bool | str | None = None
    """Switch of the reasoning, for a chat template that has `enable_thinking`."""
    keep_alive: str | float | None = None
    """Time to keep a model loaded; without effect, as the served model stays."""

    def sampling(self) -> dict[str, Any]:
        """Returns the sampling parameters. Without a limit the output may fill the context, as in Ollama."""
        given = self.options or {}
        params = {OPTIONS[name]: value for name, value in given.items() if name in OPTIONS and value is not None}
        if isinstance(limit := params.get("max_new_tokens"), int | float) and limit < 0:
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
    """Conversation. Without messages the answer is that the model is loaded."""
    tools: Tools = None
    """Functions that the model may call."""


class GenerateBody(OllamaBody):
    """The body of `/api/generate`."""

    prompt: str | None = ""
    """Text of the user. Without it the answer is that the model is loaded."""
    suffix: Nothing = None
    """Text behind the answer; not available, only empty values are accepted."""
    system: str | None = None
    """Text of the system message."""
    template: Nothing = None
    """Template in the place of the model's; not available, only empty values are accepted."""
    raw: bool | None = False
    """Switch to continue the prompt as it is, without the chat template."""
    images: list[str] | None = None
    """Pictures in base64, shown before the prompt."""

    def check(self) -> None:
        """Raises NotSupported for a field without a feature."""
        for name in ("suffix", "template"):
            if getattr(self, name):
                raise NotSupported(f"{name} is not available here", hint="leave it out")


class EmbedBody(Body):
    """The body of `/api/embed`."""

    model: str
    """Name of a model; whatever it is, the served one answers."""
    input: AnyTexts = ""
    """Text, or several."""
    truncate: bool | None = True
    """Switch to cut a text that is longer than the context."""
    dimensions: Positive = None
    """Length of the vectors: their first numbers, normalised again. None: all."""
    options: dict[str, Any] | None = None
    """Options of a model, without effect on vectors."""
    keep_alive: str | float | None = None
    """Time to keep a model loaded; without effect, as the served model stays."""


class EmbeddingsBody(Body):
    """The body of `/api/embeddings`."""

    model: str
    """Name of a model; whatever it is, the served one answers."""
    prompt: str | None = ""
    """Text."""
    options: dict[str, Any] | None = None
    """Options of a model, without effect on vectors."""
    keep_alive: str | float | None = None
    """Time to keep a model loaded; without effect, as the served model stays."""


class ShowBody(Body):
    """The body of `/api/show`."""

    model: str | None = None
    """Name of a model; whatever it is, the served one answers."""
    name: str | None = None
    """Second name of `model`."""
