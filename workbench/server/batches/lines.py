"""The lines of a batch's input file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
MAX_LINES = 50_000


@dataclass(frozen=True)
class Line:
    """One request."""

    custom_id: str
    url: str
    body: dict[str, Any]


def read_lines(path: Path, endpoint: str) -> tuple[list[Line], list[dict[str, Any]]]:
    """Returns (the requests, what is wrong with the file), errors in the form of OpenAI's batch object."""
    lines: list[Line] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                line = _line(raw, endpoint)
                if line.custom_id in seen:
                    raise ValueError(f"the custom_id {line.custom_id!r} comes twice")
            except ValueError as error:
                errors.append({"code": "invalid_line", "message": str(error), "line": number, "param": None})
                continue
            seen.add(line.custom_id)
            lines.append(line)
    if not lines and not errors:
        errors.append({"code": "empty_file", "message": "the file has no requests", "line": None, "param": "input_file_id"})
    if len(lines) > MAX_LINES:
        message = f"the file has {len(lines)} requests; the limit is {MAX_LINES}"
        errors.append({"code": "too_many_lines", "message": message, "line": None, "param": "input_file_id"})
    return lines, errors


def _line(raw: bytes, endpoint: str) -> Line:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the line is not JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("custom_id"), str) or not isinstance(value.get("body"), dict):
        raise ValueError("a line is an object with custom_id, method, url and body")
    if any("\ud800" <= char <= "\udfff" for char in value["custom_id"]):
        raise ValueError("the custom_id has half of a character")
    if value.get("method", "POST") != "POST":
        raise ValueError(f"the method is {value['method']!r}: it must be POST")
    url = str(value.get("url", endpoint))
    url = url if url.startswith("/v1/") else f"/v1{url}"
    if url != endpoint:
        raise ValueError(f"the url is {url}: the batch is for {endpoint}")
    if value["body"].get("stream"):
        raise ValueError("a request of a batch cannot be streamed")
    return Line(value["custom_id"], url, value["body"])
