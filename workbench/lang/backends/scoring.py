"""Scores options token by token after a prompt, which is computed once.

Prompt and option are tokenized together. An option's tokens begin at the first token that differs between the options or from
the prompt: if a tokenizer joins the end of the prompt and the start of an option into one token, that token is scored for every
option ("token healing"). So all scores cover the same range of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from workbench.common_prefix import num_common
from workbench.errors import Aborted
from workbench.lang.nodes import OptionTokens

if TYPE_CHECKING:
    from workbench.lang.backends.native import NativeBackend
    from workbench.native.options import GenerateBody, RequestOptions
    from workbench.native.results import Completion

FIRST_WINDOW = 2
"""Number of prompt tokens that are scored with the options, to find the first difference; doubled until one is common."""


class Scorer:
    """The requests of one select. `usage` counts them."""

    def __init__(
        self, backend: NativeBackend, rid: str, text: str, *, is_rendered: bool, media: Mapping[str, list[Any]]
    ) -> None:  # fmt: skip
        """Scores options behind `text`, in which the pictures of `media` (options of `generate`) have placeholders."""
        self._backend = backend
        self._media = media
        self._rid = rid
        self._text = text
        self._is_rendered = is_rendered
        self.usage = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "num_requests": 0}

    def options(self, choices: Sequence[str]) -> list[OptionTokens]:
        """Returns the tokens of each choice after the prompt, with their log-probabilities."""
        num_prompt, window = 0, FIRST_WINDOW
        if self._text:
            (prompt,) = self._score([self._text], {})
            num_prompt = prompt["meta_info"]["prompt_tokens"]
        while True:
            start = max(num_prompt - window, 0)
            texts = [self._text, *(self._text + choice for choice in choices)] if start < num_prompt else [
                self._text + choice for choice in choices]  # fmt: skip
            results = self._score(texts, {"return_logprob": True, "logprob_start_len": start})
            tails = [[(token, logprob) for logprob, token, *_ in r["meta_info"]["input_token_logprobs"]] for r in results]
            own = tails[0] if start < num_prompt else []
            num_same = min(num_common(_ids(own), _ids(tail)) for tail in tails[-len(choices) :])
            if num_same > 0 or start == 0:
                return [_option(tail[num_same:]) for tail in _agreed(tails[-len(choices) :])]
            window *= 2

    def with_unconditional(self, options: list[OptionTokens]) -> list[OptionTokens]:
        """Returns the same options with the log-probability of each token without the prompt.

        If the token before any text is unknown, the first token has no such log-probability, and 0 is used.
        """
        start = self._backend.start_ids
        bodies = [[*start, *option.token_ids] for option in options]
        results = self._send({"input_ids": bodies}, {"return_logprob": True, "logprob_start_len": 0}, len(bodies))
        found = []
        for option, result in zip(options, results, strict=True):
            logprobs = [entry[0] or 0.0 for entry in result["meta_info"]["input_token_logprobs"]][len(start) :]
            found.append(replace(option, unconditional=tuple(logprobs)))
        return found

    def _score(self, texts: list[str], more: RequestOptions) -> list[Completion]:
        bodies = [self._backend.prompt_body(text, is_rendered=self._is_rendered) for text in texts]
        media = {name: [values] * len(texts) for name, values in self._media.items()}
        more = cast("RequestOptions", {**more, **media})
        if "text" in bodies[0]:
            return self._send({"text": [body["text"] for body in bodies]}, more, len(bodies))
        return self._send({"input_ids": [body["input_ids"] for body in bodies]}, more, len(bodies))

    def _send(self, prompts: GenerateBody, more: RequestOptions, count: int) -> list[Completion]:
        """Returns the results of a batch. Raises Aborted where one of them was ended before it was scored."""
        rids = [f"{self._rid}-{self.usage['num_requests'] + i}" for i in range(count)]
        params = {"max_new_tokens": 0, "temperature": 0}
        body: GenerateBody = {**prompts, "sampling_params": params, "rid": rids, **more}
        results = self._backend.send(body, [self._rid, *rids])
        self.usage["num_requests"] += count
        for meta in (result["meta_info"] for result in results):
            reason: Mapping[str, Any] = meta.get("finish_reason") or {}
            if reason.get("type") == "abort":  # it has scores of a part of its option, or none
                raise Aborted(f"the choice was aborted: {reason.get('message')}")
            self.usage["prompt_tokens"] += meta.get("prompt_tokens") or 0
            self.usage["cached_tokens"] += meta.get("cached_tokens") or 0
            self.usage["completion_tokens"] += meta.get("completion_tokens") or 0
        return results


def _agreed(tails: list[list[tuple[int, float]]]) -> list[list[tuple[int, float]]]:
    """Returns the tails with one log-probability per token after the same tokens, that of the first request. So options with
    the same first tokens are exactly equal there."""
    known: dict[tuple[int, ...], float] = {}
    agreed = []
    for tail in tails:
        ids = tuple(token for token, _ in tail)
        agreed.append([(token, known.setdefault(ids[: i + 1], logprob)) for i, (token, logprob) in enumerate(tail)])
    return agreed


def _option(tail: list[tuple[int, float]]) -> OptionTokens:
    return OptionTokens(tuple(logprob or 0.0 for _, logprob in tail), (), tuple(token for token, _ in tail))


def _ids(tail: list[tuple[int, float]]) -> list[int]:
    return [token for token, _ in tail]
