"""`Collector`: turns the outputs of one request into its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from workbench.native.results import Completion, LogprobEntry, MetaInfo, TopLogprobs
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut


class Collector:
    """Gathers the outputs of one request. `result` may be called at any time; it holds all outputs so far."""

    def __init__(self, request: Request, *, name_token: Callable[[int], str] | None, has_text: bool) -> None:
        self.request = request
        self.finish: FinishReason | None = None
        self._has_text = has_text
        self._text: list[str] = []
        self._output_ids: list[int] = []
        self._prompt, self._output = _Entries(request, name_token), _Entries(request, name_token)
        if request.return_logprob and request.logprob_start_len == 0:
            self._prompt.add((TokenLogprob(request.input_ids[0], None),))
        self._num_cached = 0
        self._hidden: list[NDArray[np.float32]] = []
        """Hidden states: the prompt's [num_tokens, width], which grows until it is complete, then [width] per token."""
        self._num_forced = 0
        self._num_shown = 0
        self._unenforced: tuple[str, ...] = ()

    def add(self, out: TokenOut) -> None:
        """Adds the output of one step."""
        self._text.append(out.text)
        self._output_ids += out.token_ids
        self._output.add(out.logprobs)
        self._prompt.add(out.prompt_logprobs)
        for rows in out.hidden:
            self._add_hidden(np.frombuffer(rows.data, np.float32).reshape(-1, rows.width))
        self._num_cached = out.num_cached
        self._num_forced += sum(out.forced)
        self.finish = out.finish
        self._unenforced = out.unenforced

    def is_due(self, interval: int) -> bool:
        """Returns whether a streamed chunk is due: after the first token, every `interval` tokens, and at the end.

        Counts a chunk that is due as sent.
        """
        count = len(self._output_ids)
        due = self.finish is not None or (
            count > self._num_shown and (self._num_shown == 0 or count - self._num_shown >= interval)
        )
        if due:
            self._num_shown = count
        return due

    def result(self) -> Completion:
        """Returns the result so far."""
        request, ids = self.request, list(self._output_ids)
        meta: MetaInfo = {
            "id": request.rid,
            "prompt_tokens": len(request.input_ids),
            "completion_tokens": len(ids),
            "cached_tokens": self._num_cached,
            "finish_reason": None if self.finish is None else self.finish.to_dict(),
        }
        if request.params.constraint is not None:
            self._add_constraint(meta)
        if request.return_logprob:
            self._add_logprobs(meta)
        if request.return_hidden_states:
            meta["hidden_states"] = list(self._hidden)
        if self._has_text:
            return {"text": "".join(self._text), "output_ids": ids, "meta_info": meta}
        return {"token_ids": list(ids), "output_ids": ids, "meta_info": meta}

    def _add_constraint(self, meta: MetaInfo) -> None:
        """Adds whether the text satisfies its constraint, and the continuation that is missing if it is known."""
        if self.finish is not None:
            meta["constraint_met"] = self.finish.constraint is None
            if self.finish.constraint is not None and self.finish.expected is not None:
                meta["constraint_expected"] = self.finish.expected
        if self._unenforced:
            meta["unenforced"] = list(self._unenforced)
        meta["forced_tokens"] = self._num_forced

    def _add_hidden(self, rows: NDArray[np.float32]) -> None:
        num_prompt = len(self.request.input_ids)
        have = len(self._hidden[0]) if self._hidden else 0
        if have < num_prompt:
            missing = num_prompt - have
            self._hidden[:1] = [np.concatenate([*self._hidden, rows[:missing]])]
            rows = rows[missing:]
        self._hidden += list(rows)

    def _add_logprobs(self, meta: MetaInfo) -> None:
        request, prompt, output = self.request, self._prompt, self._output
        meta["input_token_logprobs"], meta["output_token_logprobs"] = [*prompt.tokens], [*output.tokens]
        if request.top_logprobs_num:
            meta["input_top_logprobs"], meta["output_top_logprobs"] = [*prompt.top], [*output.top]
        if request.token_ids_logprob:
            meta["input_token_ids_logprobs"], meta["output_token_ids_logprobs"] = [*prompt.chosen], [*output.chosen]


class _Entries:
    """Log-probabilities in the form of results. Each is made once: every chunk of a stream repeats all before it."""

    def __init__(self, request: Request, name_token: Callable[[int], str] | None) -> None:
        self._name = name_token
        self._has_top, self._has_chosen = bool(request.top_logprobs_num), bool(request.token_ids_logprob)
        self.tokens: list[LogprobEntry] = []
        self.top: list[TopLogprobs] = []
        self.chosen: list[TopLogprobs] = []

    def add(self, logprobs: Iterable[TokenLogprob]) -> None:
        for one in logprobs:
            self.tokens.append(self._entry(one.logprob, one.token_id))
            if self._has_top:
                self.top.append(self._all(one.top))
            if self._has_chosen:
                self.chosen.append(self._all(one.chosen))

    def _all(self, pairs: Iterable[tuple[float, int]]) -> TopLogprobs:
        return [self._entry(logprob, token) for logprob, token in pairs] or None

    def _entry(self, logprob: float | None, token_id: int) -> LogprobEntry:
        return [logprob, token_id, None if self._name is None else self._name(token_id)]
