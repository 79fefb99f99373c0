"""JSON of answers: numpy arrays as lists, infinite numbers as null."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import Response

_encode = msgspec.json.Encoder(enc_hook=lambda value: value.tolist()).encode


def to_json(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8; half characters are written as escapes."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, default=lambda each: each.tolist()).encode()


class Json(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)
