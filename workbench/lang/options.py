"""The keywords of generations, for type checkers and completion. `SamplingParams` documents each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class GenOptions(TypedDict, total=False):
    """The keywords of `gen` that its signature does not name."""

    max_new_tokens: int | None
    min_tokens: int | None
    min_new_tokens: int | None
    stop_token_ids: Sequence[int] | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    ignore_eos: bool | None
    skip_special_tokens: bool | None
    seed: int | None
    logit_bias: Mapping[int, float] | None
    max_whitespace: int | None
    return_logprob: bool | None
    logprob_start_len: int | None
    top_logprobs_num: int | None
    return_text_in_logprobs: bool | None


class LiteralOptions(GenOptions, total=False):
    """The keywords of `gen_int` and `gen_string`."""

    stop: str | Sequence[str] | None
    temperature: float | None
    n: int | None
    tools: Sequence[Mapping[str, Any]] | None


class RunOptions(GenOptions, total=False):
    """The defaults that `run` and `run_batch` take for a program's generations."""

    max_tokens: int | None
    stop: str | Sequence[str] | None
    temperature: float | None
    n: int | None
