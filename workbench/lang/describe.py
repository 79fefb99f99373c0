"""Describes a program node and its answer in a few words, for events and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.lang.nodes import Fork, Gen, Image, Join, ProgramNode, Select, Video
from workbench.types import GRAMMAR_FIELDS

MAX_SHOWN = 120


def describe(node: ProgramNode) -> str:
    """Returns a part in words: its constraint, its choices, its number of children."""
    match node:
        case Gen(params=params, dtype=dtype):
            words = [f"{name} {params[name]}" for name in GRAMMAR_FIELDS if name in params]
            words += [f"dtype {dtype.__name__}"] if dtype is not None else []
            words += [f"{name} {_value(value)}" for name, value in params.items() if name not in GRAMMAR_FIELDS]
            return _short(", ".join(words))
        case Select(choices=choices, method=method):
            return _short(f"{getattr(method, '__name__', 'own method')} of {', '.join(map(repr, choices))}")
        case Image(source) | Video(source):
            return _short(source if isinstance(source, str) else type(source).__name__)
        case Fork(num):
            return f"{num} states"
        case Join(mode):
            return mode
    return ""


def finish_words(meta: Mapping[str, Any]) -> str:
    """Returns the finish reason in words."""
    reason = meta.get("finish_reason") or {}
    match reason.get("type"):
        case "stop" if isinstance(reason.get("matched"), str):
            return f"stopped at {reason['matched']!r}"
        case "stop":
            return "ended by the model"
        case "length":
            return "length limit"
    return str(reason.get("type") or "")


def counts(meta: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[int | None]:
    """Returns the tokens of the prompt, those cached, those computed, and the output tokens; for several samples the sums.

    A count that the backend does not report is None.
    """
    samples = [meta] if isinstance(meta, Mapping) else meta
    return [_sum([sample.get(f"{kind}_tokens") for sample in samples]) for kind in ("prompt", "cached", "computed", "completion")]


def option_scores(meta: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Returns (option, score in words) for a selection that has scores."""
    scores = meta.get("scores") or ()
    return tuple((option, _score(score)) for option, score in zip(meta.get("choices", ()), scores, strict=False))


def logprob_pairs(meta: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Returns (token, log-probability) of the output, if asked for; a token without text is its id."""
    return tuple((str(entry[1]) if entry[2] is None else entry[2], entry[0]) for entry in meta.get("output_token_logprobs", ()))


def _sum(column: Sequence[int | None]) -> int | None:
    known = [count for count in column if count is not None]
    return sum(known) if len(known) == len(column) else None


def _value(value: Any) -> str:
    return " or ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)


def _score(score: Any) -> str:
    return ", ".join(f"{value:.3f}" for value in score) if isinstance(score, tuple) else f"{score:.3f}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
