"""A body of `/v1/completions` as the engine's requests, and the state of each answer."""

from __future__ import annotations

from typing import Any

from workbench.native.requests import GenerateRequest
from workbench.server.chat.constraint import constrained, response_fields
from workbench.server.chat.tokens import TokenTexts
from workbench.server.limits import MAX_SAMPLES
from workbench.server.openai.bodies import CompletionBody
from workbench.server.openai.common import usage_json
from workbench.server.openai.scores import Scores
from workbench.server.problem import Problem
from workbench.server.serving import Serving
from workbench.types import FinishReason, Request, TokenLogprob, TokenOut

DEFAULT_TOKENS = 16
MAX_LOGPROBS = 20


def generate_request(body: CompletionBody) -> GenerateRequest:
    """Returns the request of a body. Raises what `check` raises, and Problem for values that exclude each other."""
    body.check()
    n, num = body.n or 1, best_of(body)
    _demand(body.n is None or body.n >= 1, "n", "at least 1")
    _demand(num >= n, "best_of", "at least n")
    _demand(n <= MAX_SAMPLES, "n", f"at most {MAX_SAMPLES}")
    _demand(num <= MAX_SAMPLES, "best_of", f"at most {MAX_SAMPLES}")
    _demand(num == n or not body.stream, "best_of", "equal to n in a stream: the best are only known at the end")
    _demand(num_logprobs(body) is None or 0 <= (num_logprobs(body) or 0) <= MAX_LOGPROBS, "logprobs", f"0 to {MAX_LOGPROBS}")
    _demand(body.prompt != [], "prompt", "a text, token ids, or a list of these that is not empty")
    params = constrained({**body.sampling(), **response_fields(body.response_format)}, None, None, False)
    params |= {"n": num, "max_new_tokens": DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens}
    is_scored = num_logprobs(body) is not None
    options = {
        "return_logprob": is_scored or num > n,
        "logprob_start_len": 0 if is_scored and body.echo else -1,
        "top_logprobs_num": num_logprobs(body) or 0,
        **({"rid": body.rid} if body.rid else {}),
        **body.options(),
    }
    is_text = isinstance(body.prompt, str) or isinstance(body.prompt[0], str)
    return GenerateRequest.make(body.prompt if is_text else None, None if is_text else body.prompt, params, options)


def best_of(body: CompletionBody) -> int:
    """Returns the number of answers that are made for each prompt."""
    return body.best_of if body.best_of is not None else body.n or 1


def num_logprobs(body: CompletionBody) -> int | None:
    """Returns the number of likeliest tokens to score, None if no log-probabilities are wanted."""
    return (0 if body.logprobs else None) if isinstance(body.logprobs, bool) else body.logprobs


class Answer:
    """One answer while it grows."""

    def __init__(self, serving: Serving, body: CompletionBody, request: Request, prompt: str | tuple[int, ...]) -> None:
        """Starts an answer to a prompt, which is a part of it with `echo`."""
        tokenizer = serving.handle.tokenizer
        self.request = request
        self.num_tokens = self.num_cached = 0
        self.finish: FinishReason | None = None
        self.score = 0.0
        self._echo = ""
        if body.echo:
            self._echo = prompt if isinstance(prompt, str) else tokenizer.decode(prompt, skip_special_tokens=False)
        self._scores = Scores(TokenTexts(tokenizer)) if num_logprobs(body) is not None else None
        if self._scores is not None and body.echo:
            self._scores.add([TokenLogprob(request.input_ids[0], None)])

    def push(self, out: TokenOut) -> dict[str, Any]:
        """Adds the output of a step; returns the piece of a choice that it makes."""
        self.num_tokens += len(out.token_ids)
        self.num_cached = out.num_cached
        self.finish = out.finish
        self.score += sum(token.logprob or 0.0 for token in out.logprobs)
        text, self._echo = self._echo + out.text, ""
        if self._scores is not None:
            num_end = int(out.finish is not None and isinstance(out.finish.matched, int))
            num_shown = len(out.logprobs) - num_end
            self._scores.add(out.prompt_logprobs)
            self._scores.add(out.logprobs[:num_shown])
            self._scores.add(out.logprobs[num_shown:], is_shown=False)
        return {
            "text": text,
            "logprobs": None if self._scores is None else self._scores.take(),
            "finish_reason": None if out.finish is None else out.finish.type,
            **({} if out.finish is None else {"matched_stop": out.finish.matched}),
        }

    @property
    def mean(self) -> float:
        """The mean log-probability of the tokens, by which `best_of` chooses."""
        return self.score / max(1, self.num_tokens)


def usage(answers: list[Answer], num: int) -> dict[str, Any]:
    """Returns the `usage` of answers, of which each prompt has `num` neighbours."""
    firsts = answers[::num]
    prompt, cached = sum(len(each.request.input_ids) for each in firsts), sum(each.num_cached for each in firsts)
    return usage_json(prompt, sum(each.num_tokens for each in answers), cached)


def _demand(is_met: bool, field: str, limit: str) -> None:
    if not is_met:
        raise Problem(400, f"{field} must be {limit}", field, "invalid_value")
