"""Reads prompts in all forms that users give: text, token ids, arrays, or the output of a tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import Any, TypeAlias

from workbench.checks import as_int
from workbench.errors import InvalidRequest
from workbench.types import InputEmbeds


class Rendered(str):
    """A text with its special tokens written out, as a chat template makes it."""

    __slots__ = ()


Prompt: TypeAlias = str | tuple[int, ...]
"""A text, or token ids."""


def read_embeds(prompt: object, input_ids: object, input_embeds: object) -> tuple[bool, list[InputEmbeds]]:
    """Returns (one prompt was given and not a list, the prompts), of rows of numbers. Raises InvalidRequest."""
    if prompt is not None or input_ids is not None:
        raise InvalidRequest.because("input_embeds", "input_embeds are given beside another prompt", hint="give one of them")
    given = _listed(input_embeds)
    if not isinstance(given, (list, tuple)) or not given:
        raise InvalidRequest("input_embeds", given, "a list of rows of numbers, or a list of such lists")
    given = [_listed(item) for item in given]
    is_one = all(isinstance(row, (list, tuple)) and (not row or isinstance(row[0], (int, float))) for row in given)
    return is_one, [_embeds(rows) for rows in ([given] if is_one else given)]


def _embeds(rows: Any) -> InputEmbeds:
    try:
        packed = [array("f", row) for row in rows]
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest("input_embeds", rows, "rows of numbers") from None
    widths = {len(row) for row in packed}
    if len(widths) != 1 or 0 in widths:
        raise InvalidRequest("input_embeds", sorted(widths), "rows of one length, as many as the model is wide")
    if not all(map(isfinite, chain.from_iterable(packed))):
        raise InvalidRequest.because("input_embeds", "input_embeds have a number that is not finite", hint="give finite numbers")
    return InputEmbeds(b"".join(map(bytes, packed)), widths.pop())


def read_prompts(prompt: object, input_ids: object) -> tuple[bool, list[Prompt]]:
    """Returns (one prompt was given and not a list, the prompts). Raises InvalidRequest for other types than text and ids."""
    if (prompt is None) == (input_ids is None):
        given = "neither prompt nor input_ids is given" if prompt is None else "prompt and input_ids are both given"
        raise InvalidRequest.because("prompt", given, hint="give either prompt or input_ids")
    if isinstance(prompt, str):
        return True, [prompt]
    if prompt is not None:
        return False, [*_texts(prompt)]
    ids = _listed(input_ids)
    if not isinstance(ids, (list, tuple)):
        raise InvalidRequest("input_ids", ids, "a list of token ids, or a list of such lists")
    ids = [_listed(item) for item in ids]
    nested = bool(ids) and all(isinstance(item, (list, tuple)) for item in ids)
    return not nested, [token_ids("input_ids", row) for row in (ids if nested else [ids])]


def token_ids(field: str, ids: Sequence[object]) -> tuple[int, ...]:
    """Returns the ids as integers of 64 bits. Raises InvalidRequest for anything else."""
    return tuple(as_int(field, token) for token in ids)


def _texts(prompt: object) -> Sequence[str]:
    is_list = isinstance(prompt, (list, tuple))
    items: Sequence[Any] = prompt if isinstance(prompt, (list, tuple)) else [prompt]
    if is_list and all(isinstance(item, str) for item in items):
        return items
    if all(isinstance(item, Mapping) and "role" in item for item in items):
        raise InvalidRequest.because(
            "prompt", "prompt is a conversation, generate continues text", hint="engine.chat(messages) answers a conversation"
        )
    if hasattr(prompt, "tolist") or isinstance(prompt, Mapping) or (is_list and all(isinstance(item, int) for item in items)):
        raise InvalidRequest.because("prompt", "prompt is token ids, not text", hint="generate(input_ids=...) takes these")
    raise InvalidRequest("prompt", prompt, "a string or a list of strings")


def _listed(value: Any) -> Any:
    """Returns token ids as plain lists, from tensors, arrays, or the output of a tokenizer without its padding."""
    if isinstance(value, Mapping) and "input_ids" in value:
        ids, mask = _listed(value["input_ids"]), _listed(value.get("attention_mask"))
        return ids if mask is None else _unpadded(ids, mask)
    if hasattr(value, "ids") and hasattr(value, "attention_mask"):  # an `Encoding` of tokenizers
        return _unpadded(value.ids, value.attention_mask)
    return value.tolist() if hasattr(value, "tolist") else value


def _unpadded(ids: Any, mask: Any) -> Any:
    if ids and isinstance(ids[0], (list, tuple)):
        return [_unpadded(row, of_row) for row, of_row in zip(ids, mask, strict=True)]
    return [token for token, is_there in zip(ids, mask, strict=True) if is_there]
