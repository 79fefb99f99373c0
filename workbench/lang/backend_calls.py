"""Turns a program node into a call of the backend, and the backend's answer into a value with its token counts."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

from workbench.errors import Aborted, WorkbenchError
from workbench.events import RequestLinked
from workbench.lang.backends.base import Backend, GenerateCall, Piece, SelectCall
from workbench.lang.nodes import Gen, Meta, Metas, Select, Value
from workbench.lang.prompt import Prompt
from workbench.lang.run_state import RunState

Write = Callable[[str], None]
"""A function that takes new text of the part as it comes."""


def call_backend(run: RunState, node: Gen | Select, prompt: Prompt, number: int, write: Write) -> tuple[Value, Metas]:
    """Returns the value and its meta information, or a list of each for several samples; only the first is written."""
    if isinstance(node, Gen):
        return _generate(run, node, prompt, number, write)
    return _select(run, node, prompt, number, write)


def warm(backend: Backend, prompt: Prompt) -> None:
    """Computes a shared prompt. Errors are ignored: they show again, with their line, when the prompt is used."""
    with contextlib.suppress(WorkbenchError):
        backend.warm(prompt)


def _generate(run: RunState, node: Gen, prompt: Prompt, number: int, write: Write) -> tuple[Value, Metas]:
    call = GenerateCall(
        rid=uuid.uuid4().hex[:12], prompt=prompt, params={**run.defaults, **node.params},
        logprobs={**run.logprobs, **node.logprobs}, dtype=node.dtype, is_streamed=run.is_streamed,
    )  # fmt: skip
    run.backend.check(call)
    n = call.params.get("n", 1)
    texts: list[str] = [""] * n
    metas: list[Meta] = [{} for _ in range(n)]
    run.record(RequestLinked, part=number, rid=call.rid)
    with run.opened(call.rid):
        for piece in run.backend.generate(call):
            if run.is_aborted:
                raise Aborted(f"program {run.name} was aborted")
            texts[piece.index] += piece.text
            if piece.index == 0:
                write(piece.text)
            if piece.meta_info is not None:
                metas[piece.index] = _finished(piece)
    return (texts[0], metas[0]) if n == 1 else (texts, metas)


def _finished(piece: Piece) -> Meta:
    meta = piece.meta_info or {}
    reason = meta.get("finish_reason") or {}
    if reason.get("type") == "abort":
        raise Aborted(f"the generation was aborted: {reason.get('message')}")
    return _with_computed(meta)


def _select(run: RunState, node: Select, prompt: Prompt, number: int, write: Write) -> tuple[str, Meta]:
    call = SelectCall(
        rid=uuid.uuid4().hex[:12], prompt=prompt, choices=node.choices, method=node.method, temperature=node.temperature
    )
    run.backend.check(call)
    run.record(RequestLinked, part=number, rid=call.rid)
    with run.opened(call.rid):
        chosen = run.backend.select(call)
    write(node.choices[chosen.index])
    return node.choices[chosen.index], {
        **_with_computed(chosen.meta_info),
        "choices": list(node.choices),
        "scores": list(chosen.scores),
        "choice_token_logprobs": [list(option.logprobs) for option in chosen.options],
        "normalized_prompt_logprobs": [sum(option.logprobs) / len(option.logprobs) for option in chosen.options],
        "input_token_logprobs": [
            [[logprob, token, None] for logprob, token in zip(option.logprobs, option.token_ids, strict=False)]
            for option in chosen.options
        ],
    }


def _with_computed(meta: Meta) -> dict[str, Any]:
    """Returns the meta information with the prompt tokens that were not in the cache, if both numbers are known."""
    if meta.get("prompt_tokens") is None or meta.get("cached_tokens") is None:
        return dict(meta)
    return {**meta, "computed_tokens": meta["prompt_tokens"] - meta["cached_tokens"]}
