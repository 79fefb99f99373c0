"""Reads request bodies. A body is JSON whatever its `Content-Type`, as clients of the reference send it.

Bodies are no parameters of the routes: FastAPI would refuse those without the header. `json_body` documents them.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from workbench.field_docs import field_docs
from workbench.native.requests import PromptOptions
from workbench.server.limits import check_sizes
from workbench.server.problem import Problem
from workbench.server.schema import Schema, rules
from workbench.types import ALIASES, SamplingParams

FORMS = ("", "application/x-www-form-urlencoded")
"""The content types of curl without a header given; their bodies are read as JSON."""
EVENTS = "text/event-stream"
M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    """The base of all request bodies. Fields that are not declared are kept in `model_extra` and ignored."""

    model_config = ConfigDict(extra="allow")
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    """Fields of which a body has exactly one."""
    ANY_OF: ClassVar[tuple[str, ...]] = ()
    """Fields of which a body has at least one."""
    NEEDS: ClassVar[dict[str, Schema]] = {}
    """Schema of a whole body with this field."""
    MORE: ClassVar[dict[str, Schema]] = {}
    """Schema of each field that is read and not declared."""
    ALSO: ClassVar[str] = ""
    """Rule that the schema has in words alone."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Returns the schema with the meaning of each field as its description, and with what a body must have."""
        schema = handler(core)
        docs = meanings(cls)
        own = handler.resolve_ref_schema(schema)
        for name, field in own.get("properties", {}).items():
            field.setdefault("description", docs.get(name, ""))
        if cls.MORE:
            own["properties"] = own["properties"] | cls.MORE
        added = rules(cls.ONE_OF, cls.ANY_OF, cls.NEEDS)
        says = " ".join(filter(None, (own.get("description"), added.get("description"), cls.ALSO)))
        own.update(added | {"description": says})
        return schema


def meanings(model: type[Body]) -> dict[str, str]:
    """Returns the meaning of each field: its docstring, else that of the sampling parameter or option whose name it has."""
    docs = field_docs(SamplingParams) | field_docs(PromptOptions)
    docs |= {name: docs[first] for name, first in ALIASES.items()}
    for cls in model.__mro__[::-1]:
        if cls.__module__.startswith("workbench."):
            docs |= field_docs(cls)
    return docs


async def read_json(http: Request) -> dict[str, Any]:
    """Returns the JSON object of a request's body. Raises `Problem` 400 or 415."""
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind.endswith("json") or kind in FORMS):
        raise Problem(415, f"the body has the content type {kind!r}: send application/json")
    try:
        value = json.loads(await http.body(), parse_constant=_refuse_constant)
    except RecursionError:
        raise Problem(400, "the body is nested too deep") from None
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, f"the body is a JSON {type(value).__name__}: send an object")
    check_sizes(value)
    return value


async def read_body(http: Request, model: type[M]) -> M:
    """Returns the body of a request as a model. Raises `Problem` with the first field that is wrong."""
    return parse(await read_json(http), model)


def parse(value: dict[str, Any], model: type[M]) -> M:
    """Returns a JSON object as a model. Raises `Problem` with the first field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        of_field = [each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]]
        places = [(_place(each["loc"], value, each["type"] == "missing"), each["msg"]) for each in of_field]
        parts, message = max(places, key=lambda place: len(place[0]))  # the form of the field that the value is nearest to
        place = ".".join(map(str, parts))
        raise Problem(400, f"{place or 'body'}: {message}", param=place or None, code="invalid_type") from None


def _place(location: tuple[str | int, ...], value: Any, is_missing: bool) -> list[str | int]:
    """Returns the place of an error in a JSON value, without pydantic's names of the forms that a field may have."""
    parts: list[str | int] = []
    for i, part in enumerate(location):
        if isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif isinstance(value, dict) and (part in value or (is_missing and i == len(location) - 1)):
            value = value.get(part)
        else:
            continue
        parts.append(part)
    return parts


def json_body(model: type[BaseModel], stream: str = EVENTS, *, required: bool = True) -> dict[str, Any]:
    """Returns `openapi_extra` of a route whose body is a model, so that `/openapi.json` has its schema.

    `stream` is the content type of its answer where the body has the field `stream`.
    """
    schema = inlined(model.model_json_schema())
    body = {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
    return body | (answers(stream) if "stream" in model.model_fields else {})


def answers(content_type: str) -> dict[str, Any]:
    """Returns `openapi_extra` of a route with answers of another type than JSON."""
    return {"responses": {"200": {"content": {content_type: {}}}}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema with its `$defs` written out where they are used. A definition must not contain itself."""
    defs = schema.get("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if (ref := node.get("$ref")) is not None:
                return walk(defs[ref.rsplit("/", 1)[1]])
            return {key: walk(value) for key, value in node.items() if key != "$defs"}
        return [walk(each) for each in node] if isinstance(node, list) else node

    result: dict[str, Any] = walk(schema)
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
