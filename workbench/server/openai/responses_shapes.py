"""Types of the fields of `/v1/responses` with their JSON schemas, for `/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from workbench.server.limits import LONGEST
from workbench.server.picture_shapes import PICTURE_URL, part
from workbench.server.schema import ANY_OBJECT, NULL, SOME_TEXT, TEXT, many, one_of, record
from workbench.server.shapes import NAME, TOOL_SCHEMA

LOGPROBS = "message.output_text.logprobs"
INCLUDED = (
    LOGPROBS, "reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
    "code_interpreter_call.outputs", "web_search_call.action.sources", "computer_call_output.output.image_url",
    "message.input_image.image_url",
)  # fmt: skip
"""Names that `include` may have. All but the first are parts of items that no answer here has."""

PART = record({"type": {"enum": ["input_text", "output_text"]}, "text": TEXT})
PICTURE = part("input_image", "A picture.", image_url=PICTURE_URL)
MESSAGE = one_of(
    record(
        {"role": {"enum": ["user", "system", "developer"]}, "content": one_of(TEXT, many(one_of(PART, PICTURE)))},
        type={"const": "message"},
    ),
    record({"role": {"const": "assistant"}, "content": one_of(TEXT, many(PART))}, type={"const": "message"}),
)
CALL = record({"type": {"const": "function_call"}, "call_id": SOME_TEXT, "name": NAME, "arguments": TEXT})
RESULT = record({"type": {"const": "function_call_output"}, "call_id": SOME_TEXT, "output": one_of(TEXT, many(PART))})
REASONING = record({"type": {"const": "reasoning"}}, content=one_of(many(record({"text": TEXT}), 0), NULL))
INPUT = one_of(SOME_TEXT, many(one_of(MESSAGE, CALL, RESULT, REASONING)))
FUNCTION = {"type": {"const": "function"}, "name": NAME}
TOOLS = many(record(FUNCTION, description=TEXT, parameters=TOOL_SCHEMA), 0, LONGEST["tools"])
FORMAT = one_of(
    record({"type": {"enum": ["text", "json_object"]}}),
    record({"type": {"const": "json_schema"}, "name": NAME, "schema": ANY_OBJECT}), NULL,
)  # fmt: skip
CHOICE = one_of(
    {"enum": ["auto", "none", "required"]}, record(FUNCTION),
    record({"type": {"const": "allowed_tools"}, "tools": many(record(FUNCTION))}, mode={"enum": ["auto", "required"]}), NULL,
)  # fmt: skip

Input = Annotated[str | list[dict[str, Any]], WithJsonSchema(INPUT)]
Tools = Annotated[list[dict[str, Any]] | None, WithJsonSchema(one_of(TOOLS, NULL))]
Choice = Annotated[str | dict[str, Any] | None, WithJsonSchema(CHOICE)]
Text = Annotated[
    dict[str, Any] | None, WithJsonSchema(one_of(record({}, format=FORMAT, verbosity={"enum": ["medium", None]}), NULL))
]
Reasoning = Annotated[
    dict[str, Any] | None, WithJsonSchema(one_of(record({}, effort=one_of(TEXT, NULL), summary={"enum": ["auto", None]}), NULL))
]
Include = Annotated[list[str] | None, WithJsonSchema(one_of(many({"enum": [*INCLUDED]}, 0), NULL))]
