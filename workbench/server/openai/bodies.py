"""Bodies of OpenAI's chat and completion routes, and their sampling parameters as the engine names them."""

from __future__ import annotations

from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.server.body import Body

SAME = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "seed", "stop",
    "stop_token_ids", "ignore_eos", "skip_special_tokens", "min_tokens", "logit_bias", "regex", "ebnf", "grammar", "choices",
    "structural_tag", "json_schema", "max_whitespace", "custom_params",
)  # fmt: skip
"""Fields that are sampling parameters of the same name."""
OPTIONS = ("rid", "priority", "timeout_s", "namespace", "custom_logit_processor")
"""Fields that are options of the request of the same name."""


class StreamOptions(Body):
    """Options of a stream."""

    include_usage: bool | None = False
    """Switch to end with a chunk that has the usage and no choice."""
    continuous_usage_stats: bool | None = False
    """Switch to add the usage so far to every chunk."""


class SamplingBody(Body):
    """The fields that chat and completions share."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    n: int | None = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    choices: list[str] | None = None
    structural_tag: dict[str, Any] | str | None = None
    json_schema: dict[str, Any] | str | None = None
    max_whitespace: int | None = None
    custom_params: dict[str, Any] | None = None
    user: str | None = None
    rid: str | None = None
    priority: int | None = None
    timeout_s: float | None = None
    namespace: str | None = None
    custom_logit_processor: str | None = None
    lora_path: str | None = None

    def sampling(self) -> dict[str, Any]:
        """Returns the sampling parameters that are given. Raises InvalidRequest, NotSupported."""
        if self.lora_path is not None:
            raise NotSupported("lora_path: adapters are not available yet", hint="leave it out")
        params = {name: value for name in SAME if (value := getattr(self, name)) not in (None, [])}
        return params | read_response_format(self.response_format)

    def options(self) -> dict[str, Any]:
        """Returns the options of the request that are given."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}


def read_response_format(form: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the constraint of a `response_format`. Raises InvalidRequest for a form that is not known."""
    kind = None if form is None else form.get("type")
    if form is None or kind == "text":
        return {}
    if kind == "json_object":
        return {"json_object": True}
    if kind == "structural_tag":
        return {"structural_tag": form}
    if kind == "json_schema":
        inner = form.get("json_schema")
        schema = inner.get("schema", inner.get("schema_")) if isinstance(inner, dict) else None
        if isinstance(schema, (dict, bool)):
            return {"json_schema": schema} if isinstance(schema, dict) else {"json_schema": "{}" if schema else "false"}
        raise InvalidRequest("response_format.json_schema", inner, 'an object like {"name": "n", "schema": {...}}')
    raise InvalidRequest("response_format.type", kind, "text, json_object, json_schema or structural_tag")
