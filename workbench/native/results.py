"""From a stream of `TokenOut` to the result dict that a caller gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InvalidRequest
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut


def json_values(results: Any, schema: Any) -> Any:
    """The values of results that are JSON of a schema, in the lists the results are in; a Pydantic model makes instances."""
    if isinstance(results, list):
        return [json_values(result, schema) for result in results]
    try:
        read = schema.model_validate_json if hasattr(schema, "model_validate_json") else json.loads
        return read(results["text"])
    except ValueError as error:
        num = results["meta_info"]["completion_tokens"]
        raise InvalidRequest.because(
            "max_new_tokens", f"the JSON is not complete after {num} tokens",
            hint="give more (max_new_tokens=...), or a schema that needs fewer (maxLength, maxItems)",
        ) from error  # fmt: skip


Entry = list[Any]
"""[logprob, token_id, text or None]; the logprob of a prompt's first token is None."""


class Collector:
    """Gathers one request's outputs. `result()` may be asked at any time: it is cumulative."""

    def __init__(self, request: Request, *, name_token: Callable[[int], str] | None, has_text: bool) -> None:
        self.request = request
        self.finish: FinishReason | None = None
        self._name = name_token
        self._has_text = has_text
        self._text: list[str] = []
        self._output_ids: list[int] = []
        self._output: list[TokenLogprob] = []
        self._prompt: list[TokenLogprob] = []
        self._num_cached = 0
        self._hidden: list[NDArray[np.float32]] = []
        """The prompt's [num_tokens, width] once they are all there, then one of [width] for each token."""
        self._num_forced = 0
        self._num_shown = 0
        self._unenforced: tuple[str, ...] = ()

    def add(self, out: TokenOut) -> None:
        self._text.append(out.text)
        self._output_ids += out.token_ids
        self._output += out.logprobs
        self._prompt += out.prompt_logprobs
        for rows in out.hidden:
            self._add_hidden(np.frombuffer(rows.data, np.float32).reshape(-1, rows.width))
        self._num_cached = out.num_cached
        self._num_forced += sum(out.forced)
        self.finish = out.finish
        self._unenforced = out.unenforced

    def is_due(self, interval: int) -> bool:
        """Whether a streamed chunk should go out: every `interval` tokens, after the first, and at the end."""
        count = len(self._output_ids)
        due = self.finish is not None or (
            count > self._num_shown and (self._num_shown == 0 or count - self._num_shown >= interval)
        )
        if due:
            self._num_shown = count
        return due

    def result(self) -> dict[str, Any]:
        request = self.request
        meta: dict[str, Any] = {
            "id": request.rid,
            "prompt_tokens": len(request.input_ids),
            "completion_tokens": len(self._output_ids),
            "cached_tokens": self._num_cached,
            "finish_reason": None if self.finish is None else self.finish.to_dict(),
        }
        if request.params.constraint is not None and self.finish is not None:
            meta |= _constraint(self.finish)
        if self._unenforced:
            meta["unenforced"] = list(self._unenforced)
        if request.params.constraint is not None:
            meta["forced_tokens"] = self._num_forced
        if request.return_logprob:
            meta |= self._logprobs()
        if request.return_hidden_states:
            meta["hidden_states"] = list(self._hidden)
        text = {"text": "".join(self._text)} if self._has_text else {"token_ids": list(self._output_ids)}
        return {**text, "output_ids": list(self._output_ids), "meta_info": meta}

    def _add_hidden(self, rows: NDArray[np.float32]) -> None:
        num_prompt = len(self.request.input_ids)
        have = len(self._hidden[0]) if self._hidden else 0
        if have < num_prompt:
            missing = num_prompt - have
            self._hidden[:1] = [np.concatenate([*self._hidden, rows[:missing]])]
            rows = rows[missing:]
        self._hidden += list(rows)

    def _logprobs(self) -> dict[str, Any]:
        request, prompt = self.request, self._prompt
        if request.logprob_start_len == 0:
            prompt = [TokenLogprob(request.input_ids[0], None), *prompt]
        found: dict[str, Any] = {
            "input_token_logprobs": [self._entry(p.logprob, p.token_id) for p in prompt],
            "output_token_logprobs": [self._entry(p.logprob, p.token_id) for p in self._output],
        }
        if request.top_logprobs_num:
            found["input_top_logprobs"] = [self._entries(p.top) for p in prompt]
            found["output_top_logprobs"] = [self._entries(p.top) for p in self._output]
        if request.token_ids_logprob:
            found["input_token_ids_logprobs"] = [self._entries(p.chosen) for p in prompt]
            found["output_token_ids_logprobs"] = [self._entries(p.chosen) for p in self._output]
        return found

    def _entries(self, pairs: Iterable[tuple[float, int]]) -> list[Entry] | None:
        return [self._entry(logprob, token) for logprob, token in pairs] or None

    def _entry(self, logprob: float | None, token_id: int) -> Entry:
        return [logprob, token_id, None if self._name is None else self._name(token_id)]


def _constraint(finish: FinishReason) -> dict[str, Any]:
    """Whether the text satisfies its constraint, and what that takes next where it does not and this is known."""
    is_met = finish.constraint is None
    return {"constraint_met": is_met} | ({} if is_met or finish.expected is None else {"constraint_expected": finish.expected})
