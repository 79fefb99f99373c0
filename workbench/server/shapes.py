"""Types of fields in request bodies with their exact JSON schemas, for `/openapi.json`. Their checks are the engine's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from workbench.field_docs import field_docs
from workbench.server.limits import LONGEST, MAX_NAME, MAX_SAMPLES
from workbench.server.picture_shapes import ANTHROPIC_PICTURE, IMAGE_DATA, MODALITIES, PICTURE, VIDEO
from workbench.server.schema import (
    ANY_OBJECT,
    BOOLEAN,
    NULL,
    SOME_TEXT,
    TEXT,
    Schema,
    apart,
    each,
    many,
    names,
    one_of,
    real,
    record,
    whole,
)
from workbench.tool_calls import FORMATS
from workbench.types import ALIASES, SamplingParams

TOOL_SCHEMA: Schema = {
    "type": "object",
    "properties": {"type": {"const": "object"}, "properties": {"type": "object", "maxProperties": 0}},
}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[A-Za-z0-9_-]+$"}
SHORT: Schema = {"type": "string", "maxLength": MAX_NAME}
TOKEN = whole(0)
"""A token id. The model's vocabulary ends far below the limit of this schema."""
TOKENS = many(TOKEN, 0, LONGEST["stop_token_ids"])
ANY_TEXTS = one_of(TEXT, many(TEXT))
PROMPTS = one_of(SOME_TEXT, many(SOME_TEXT), many(TOKEN), many(many(TOKEN)))
STOPS = one_of(SOME_TEXT, many(SOME_TEXT, 0, LONGEST["stop"]), NULL)
JSON_TEXT = one_of(TEXT, ANY_OBJECT, NULL)
PART = record({"type": {"const": "text"}, "text": TEXT})
MESSAGES = many(
    record({"role": {"enum": ["user", "assistant", "system"]}, "content": one_of(TEXT, many(one_of(PART, PICTURE, VIDEO)))})
)
FUNCTION = record({"name": NAME}, description=TEXT, parameters=TOOL_SCHEMA)
TOOLS = one_of(many(record({"type": {"const": "function"}, "function": FUNCTION}), 0, LONGEST["tools"]), NULL)
ANTHROPIC_TOOLS = one_of(many(record({"name": NAME, "input_schema": TOOL_SCHEMA}, description=TEXT), 0, LONGEST["tools"]), NULL)
BLOCK = one_of(
    PART, ANTHROPIC_PICTURE, record({"type": {"const": "tool_use"}, "id": NAME, "name": NAME, "input": ANY_OBJECT}),
    record({"type": {"const": "tool_result"}, "tool_use_id": NAME, "content": TEXT}),
)  # fmt: skip
ANTHROPIC_MESSAGES = many(record({"role": {"enum": ["user", "assistant"]}, "content": one_of(TEXT, many(BLOCK))}))
THINKING = one_of(
    record({"type": {"const": "disabled"}}),
    record({"type": {"enum": ["enabled", "adaptive"]}}, budget_tokens=one_of(whole(1), NULL)), NULL,
)  # fmt: skip
FORMAT = one_of(
    record({"type": {"enum": ["text", "json_object"]}}),
    record({"type": {"const": "json_schema"}, "json_schema": record({"name": NAME, "schema": ANY_OBJECT})}),
    NULL,
)
TOOL_CHOICE = one_of(
    {"enum": ["none", "auto", "required"]}, record({"type": {"const": "function"}, "function": record({"name": NAME})}), NULL
)
ANTHROPIC_CHOICE = one_of(
    record({"type": {"enum": ["auto", "any", "none"]}}), record({"type": {"const": "tool"}, "name": NAME}), NULL
)
FREE_CHOICE: Schema = {"enum": ["none", "auto", None]}
"""Values of `tool_choice` that need no tools."""
FREE_ANTHROPIC_CHOICE = one_of(NULL, {"properties": {"type": {"enum": ["auto", "none"]}}})
SOME_TOOLS: Schema = {"type": "array", "minItems": 1}
LEFT_OUT: Schema = {"enum": [0, None]}
TRUE: Schema = {"const": True}
SWITCH = one_of(BOOLEAN, NULL)
PENALTY = one_of(real(-2, 2), NULL)
LIMIT = one_of(whole(0), NULL)
TOP_K = one_of({"const": -1}, whole(1), NULL)
BIAS = one_of({"type": "object", "propertyNames": {"pattern": "^[0-9]{1,18}$"}, "additionalProperties": real()}, NULL)
RANGES: dict[str, Schema] = {
    "max_new_tokens": LIMIT, "min_new_tokens": LIMIT, "temperature": one_of(real(0), NULL),
    "top_p": one_of(real(None, 1, above=0), NULL), "top_k": TOP_K, "min_p": one_of(real(0, 1), NULL),
    "frequency_penalty": PENALTY, "presence_penalty": PENALTY, "repetition_penalty": one_of(real(None, 2, above=0), NULL),
    "n": one_of(whole(1, 1024), NULL), "seed": one_of(whole(), NULL), "stop": STOPS, "stop_token_ids": one_of(TOKENS, NULL),
    "ignore_eos": SWITCH, "skip_special_tokens": SWITCH, "spaces_between_special_tokens": SWITCH, "logit_bias": BIAS,
    "json_schema": JSON_TEXT, "regex": one_of(TEXT, NULL), "ebnf": one_of(TEXT, NULL), "json_object": SWITCH,
    "choices": one_of(many(SOME_TEXT), NULL), "grammar": one_of(TEXT, NULL), "structural_tag": JSON_TEXT,
    "max_whitespace": one_of(whole(0, 1024), NULL), "custom_params": one_of(ANY_OBJECT, NULL),
}  # fmt: skip
"""Schema of a sampling parameter by name."""
ONE_CONSTRAINT = "At most one of `json_schema`, `regex`, `ebnf`, `choices`, `grammar` and `structural_tag` is given."
"""The rule that a request has one constraint, in words: as a schema it would have as many parts as there are pairs."""
MEANINGS = field_docs(SamplingParams)
PARAMS: Schema = {
    "type": "object",
    "properties": {
        name: RANGES[first] | {"description": MEANINGS[first]}
        for name, first in ({each: each for each in RANGES} | ALIASES).items()
    },
    "additionalProperties": False, "dependentSchemas": apart("max_tokens", "max_new_tokens")
    | apart("min_tokens", "min_new_tokens"),
}  # fmt: skip
SESSION = record({"id": SOME_TEXT}, closed=True, rid=one_of(TEXT, NULL), offset=one_of(whole(), NULL), replace=SWITCH)
EMBEDS = many(many(real(-3e38, 3e38)))

Limit = Annotated[int | None, WithJsonSchema(LIMIT)]
Positive = Annotated[int | None, WithJsonSchema(one_of(whole(1), NULL))]
Temperature = Annotated[float | None, WithJsonSchema(RANGES["temperature"])]
TopP = Annotated[float | None, WithJsonSchema(RANGES["top_p"])]
TopK = Annotated[int | None, WithJsonSchema(RANGES["top_k"])]
MinP = Annotated[float | None, WithJsonSchema(RANGES["min_p"])]
Penalty = Annotated[float | None, WithJsonSchema(PENALTY)]
Repetition = Annotated[float | None, WithJsonSchema(RANGES["repetition_penalty"])]
Count = Annotated[int | None, WithJsonSchema(one_of(whole(1, MAX_SAMPLES), NULL))]
Seed = Annotated[int | None, WithJsonSchema(RANGES["seed"])]
Scored = Annotated[int | None, WithJsonSchema(one_of(whole(0, 20), NULL))]
ScoredOrNot = Annotated[int | bool | None, WithJsonSchema(one_of(BOOLEAN, whole(0, 20), NULL))]
Short = Annotated[str | None, WithJsonSchema(one_of(SHORT, NULL))]
Space = Annotated[int | None, WithJsonSchema(RANGES["max_whitespace"])]
Rank = Annotated[int | None, WithJsonSchema(one_of(whole(), NULL))]
Seconds = Annotated[float | None, WithJsonSchema(one_of(real(above=0), NULL))]
Choices = Annotated[list[str] | None, WithJsonSchema(RANGES["choices"])]
Stops = Annotated[str | list[str] | None, WithJsonSchema(STOPS)]
StopList = Annotated[list[str] | None, WithJsonSchema(one_of(many(SOME_TEXT, 0, LONGEST["stop_sequences"]), NULL))]
Tokens = Annotated[list[int] | None, WithJsonSchema(RANGES["stop_token_ids"])]
Bias = Annotated[dict[str, float] | None, WithJsonSchema(BIAS)]
Pictures = Annotated[Any, WithJsonSchema(IMAGE_DATA)]
Messages = Annotated[list[dict[str, Any]], WithJsonSchema(MESSAGES)]
AnthropicMessages = Annotated[list[dict[str, Any]], WithJsonSchema(ANTHROPIC_MESSAGES)]
Thinking = Annotated[dict[str, Any] | None, WithJsonSchema(THINKING)]
SystemText = Annotated[str | list[dict[str, Any]] | None, WithJsonSchema(one_of(TEXT, many(PART, 0), NULL))]
Tools = Annotated[list[dict[str, Any]] | None, WithJsonSchema(TOOLS)]
AnthropicTools = Annotated[list[dict[str, Any]] | None, WithJsonSchema(ANTHROPIC_TOOLS)]
ToolChoice = Annotated[str | dict[str, Any] | None, WithJsonSchema(TOOL_CHOICE)]
AnthropicChoice = Annotated[dict[str, Any] | None, WithJsonSchema(ANTHROPIC_CHOICE)]
ToolFormat = Annotated[str | None, WithJsonSchema(names(*FORMATS))]
JsonFormat = Annotated[
    str | dict[str, Any] | None,
    WithJsonSchema(one_of({"const": "json"}, {"type": "object", "properties": TOOL_SCHEMA["properties"]}, NULL)),
]
ResponseFormat = Annotated[dict[str, Any] | None, WithJsonSchema(FORMAT)]
Prompts = Annotated[str | list[str] | list[int] | list[list[int]], WithJsonSchema(PROMPTS)]
PromptsOrNone = Annotated[str | list[str] | list[int] | list[list[int]] | None, WithJsonSchema(PROMPTS)]
Params = Annotated[
    dict[str, Any] | list[dict[str, Any]] | None,
    WithJsonSchema(one_of(PARAMS, many(PARAMS), NULL)),
]
Texts = Annotated[str | list[str] | None, WithJsonSchema(one_of(SOME_TEXT, many(SOME_TEXT)))]
AnyTexts = Annotated[str | list[str], WithJsonSchema(ANY_TEXTS)]
AnyTextsOrNone = Annotated[str | list[str] | None, WithJsonSchema(ANY_TEXTS)]
Ids = Annotated[list[int] | list[list[int]] | None, WithJsonSchema(one_of(many(TOKEN), many(many(TOKEN))))]
Embeds = Annotated[list[list[float]] | list[list[list[float]]] | None, WithJsonSchema(one_of(EMBEDS, many(EMBEDS)))]

EachSwitch = Annotated[Any, WithJsonSchema(each(BOOLEAN))]
EachName = Annotated[Any, WithJsonSchema(each(SHORT))]
EachText = Annotated[Any, WithJsonSchema(each(TEXT))]
EachRank = Annotated[Any, WithJsonSchema(each(whole()))]
EachStart = Annotated[Any, WithJsonSchema(each(whole(-1)))]
EachCount = Annotated[Any, WithJsonSchema(each(whole(0)))]
EachSeconds = Annotated[Any, WithJsonSchema(each(real(above=0)))]
EachSession = Annotated[Any, WithJsonSchema(each(SESSION))]
EachTokens = Annotated[Any, WithJsonSchema(one_of(TOKENS, many(one_of(TOKENS, NULL)), NULL))]
EachModality = Annotated[
    Any, WithJsonSchema(one_of({"enum": MODALITIES["enum"]}, many(one_of({"enum": MODALITIES["enum"]}, NULL)), NULL))
]
