"""Types of fields in request bodies with their exact JSON schemas, for `/openapi.json`. Their checks are the engine's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from workbench.server.limits import LONGEST, MAX_SAMPLES
from workbench.server.picture_shapes import ANTHROPIC_PICTURE, IMAGE_DATA, PICTURE, VIDEO

NULL = {"type": "null"}
TEXT = {"type": "string"}
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"type": {"const": "object"}, "properties": {"type": "object", "maxProperties": 0}},
}
NAME = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[A-Za-z0-9_-]+$"}


def number(kind: str, low: float | None = None, high: float | None = None, above: float | None = None) -> dict[str, Any]:
    """Returns the schema of a number in a range, or null."""
    bounds = {"minimum": low, "maximum": high, "exclusiveMinimum": above}
    return {"anyOf": [{"type": kind, **{name: bound for name, bound in bounds.items() if bound is not None}}, NULL]}


def many(item: dict[str, Any], least: int = 1, most: int | None = None) -> dict[str, Any]:
    """Returns the schema of a list."""
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Returns the schema of an object."""
    return {"type": "object", "properties": {**required, **optional}, "required": [*required]}


def one_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schemas]}


TOKEN = {"type": "integer", "minimum": 0}
STOP = {"type": "string", "minLength": 1}
STOPS = one_of(STOP, many(STOP, 0, LONGEST["stop"]), NULL)
PART = record({"type": {"const": "text"}, "text": TEXT})
MESSAGES = many(
    record({"role": {"enum": ["system", "user", "assistant"]}, "content": one_of(TEXT, many(one_of(PART, PICTURE, VIDEO)))})
)
FUNCTION = record({"name": NAME}, description=TEXT, parameters=TOOL_SCHEMA)
TOOLS = one_of(many(record({"type": {"const": "function"}, "function": FUNCTION}), 0, LONGEST["tools"]), NULL)
ANTHROPIC_TOOLS = one_of(many(record({"name": NAME, "input_schema": TOOL_SCHEMA}, description=TEXT), 0, LONGEST["tools"]), NULL)
BLOCK = one_of(
    PART, ANTHROPIC_PICTURE, record({"type": {"const": "tool_use"}, "id": NAME, "name": NAME, "input": {"type": "object"}}),
    record({"type": {"const": "tool_result"}, "tool_use_id": NAME, "content": TEXT}),
)  # fmt: skip
ANTHROPIC_MESSAGES = many(record({"role": {"enum": ["user", "assistant"]}, "content": one_of(TEXT, many(BLOCK))}))
FORMAT = one_of(
    record({"type": {"enum": ["text", "json_object"]}}),
    record({"type": {"const": "json_schema"}, "json_schema": record({"name": NAME, "schema": {"type": "object"}})}),
    NULL,
)
TOOL_CHOICE = one_of(
    {"enum": ["none", "auto", "required"]}, record({"type": {"const": "function"}, "function": record({"name": NAME})}), NULL
)
ANTHROPIC_CHOICE = one_of(
    record({"type": {"enum": ["auto", "any", "none"]}}), record({"type": {"const": "tool"}, "name": NAME}), NULL
)
RANGES: dict[str, dict[str, Any]] = {
    "max_new_tokens": number("integer", 0), "min_new_tokens": number("integer", 0), "temperature": number("number", 0),
    "top_p": number("number", None, 1, above=0), "top_k": number("integer", 1), "min_p": number("number", 0, 1),
    "frequency_penalty": number("number", -2, 2), "presence_penalty": number("number", -2, 2),
    "repetition_penalty": number("number", None, 2, above=0), "n": number("integer", 1, 1024),
    "seed": number("integer", -(2**63)),
    "stop": STOPS, "stop_token_ids": one_of(many(TOKEN, 0), NULL), "ignore_eos": one_of({"type": "boolean"}, NULL),
}  # fmt: skip
"""Schema of a sampling parameter by name."""

Limit = Annotated[int | None, WithJsonSchema(RANGES["max_new_tokens"])]
Positive = Annotated[int | None, WithJsonSchema(number("integer", 1))]
Temperature = Annotated[float | None, WithJsonSchema(RANGES["temperature"])]
TopP = Annotated[float | None, WithJsonSchema(RANGES["top_p"])]
TopK = Annotated[int | None, WithJsonSchema(RANGES["top_k"])]
MinP = Annotated[float | None, WithJsonSchema(RANGES["min_p"])]
Penalty = Annotated[float | None, WithJsonSchema(RANGES["presence_penalty"])]
Repetition = Annotated[float | None, WithJsonSchema(RANGES["repetition_penalty"])]
Count = Annotated[int | None, WithJsonSchema(number("integer", 1, MAX_SAMPLES))]
Seed = Annotated[int | None, WithJsonSchema(RANGES["seed"])]
Scored = Annotated[int | None, WithJsonSchema(number("integer", 0, 20))]
Stops = Annotated[str | list[str] | None, WithJsonSchema(STOPS)]
StopList = Annotated[list[str] | None, WithJsonSchema(one_of(many(STOP, 0, LONGEST["stop_sequences"]), NULL))]
Tokens = Annotated[list[int] | None, WithJsonSchema(one_of(many(TOKEN, 0), NULL))]
Bias = Annotated[
    dict[str, float] | None,
    WithJsonSchema(
        one_of({"type": "object", "propertyNames": {"pattern": "^[0-9]{1,4}$"}, "additionalProperties": {"type": "number"}}, NULL)
    ),
]
Pictures = Annotated[Any, WithJsonSchema(IMAGE_DATA)]
Messages = Annotated[list[dict[str, Any]], WithJsonSchema(MESSAGES)]
AnthropicMessages = Annotated[list[dict[str, Any]], WithJsonSchema(ANTHROPIC_MESSAGES)]
Tools = Annotated[list[dict[str, Any]] | None, WithJsonSchema(TOOLS)]
AnthropicTools = Annotated[list[dict[str, Any]] | None, WithJsonSchema(ANTHROPIC_TOOLS)]
ToolChoice = Annotated[str | dict[str, Any] | None, WithJsonSchema(TOOL_CHOICE)]
AnthropicChoice = Annotated[dict[str, Any] | None, WithJsonSchema(ANTHROPIC_CHOICE)]
JsonFormat = Annotated[
    str | dict[str, Any] | None,
    WithJsonSchema(one_of({"const": "json"}, {"type": "object", "properties": TOOL_SCHEMA["properties"]}, NULL)),
]
ResponseFormat = Annotated[dict[str, Any] | None, WithJsonSchema(FORMAT)]
Prompts = Annotated[
    str | list[str] | list[int] | list[list[int]],
    WithJsonSchema(one_of(TEXT, many(TEXT), many(TOKEN), many(many(TOKEN)))),
]
Params = Annotated[
    dict[str, Any] | list[dict[str, Any]] | None,
    WithJsonSchema(one_of({"type": "object", "properties": RANGES, "additionalProperties": False}, NULL)),
]
Texts = Annotated[str | list[str] | None, WithJsonSchema(one_of(TEXT, many(TEXT)))]
Ids = Annotated[list[int] | list[list[int]] | None, WithJsonSchema(one_of(many(TOKEN), many(many(TOKEN))))]
