"""A request that this engine can never serve is refused with the field, the value and the limit, before it is queued."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.engine.limits import CoreConfig, check_request
from workbench.errors import InvalidRequest, PromptTooLong
from workbench.testing import make_request

CONFIG = CoreConfig(num_pages=16, page_size=4, context_length=50, vocab_size=100)


@pytest.mark.parametrize(
    "prompt, max_new_tokens, fields",
    [
        ([0], 0, {}),
        ([99], 49, {}),
        ([1] * 50, 0, {}),
        ([1, 2], 3, {"logprob_start_len": 1, "top_logprobs_num": 100, "token_ids_logprob": (0, 99), "timeout_s": 0.1}),
    ],
)
def test_a_request_at_its_limits_is_served(prompt: list[int], max_new_tokens: int, fields: dict[str, Any]) -> None:
    check_request(CONFIG, make_request("a", prompt, max_new_tokens, **fields))


@pytest.mark.parametrize(
    "prompt, max_new_tokens, error, words",
    [
        ([], 1, InvalidRequest, "the prompt is empty"),
        ([1, 100], 1, InvalidRequest, "input_ids is 100, it must be between 0 and 99"),
        ([-1], 1, InvalidRequest, "input_ids is -1, it must be between 0 and 99"),
        ([1] * 51, 0, PromptTooLong, "51 tokens', it must be at most 50 tokens"),
        ([1] * 40, 11, PromptTooLong, "max_new_tokens is 11, it must be at most 10 after a prompt of 40"),
    ],
)
def test_one_past_a_limit_is_refused(prompt: list[int], max_new_tokens: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_request(CONFIG, make_request("a", prompt, max_new_tokens))


@pytest.mark.parametrize(
    "params, fields, words",
    [
        ({"stop_token_ids": [100]}, {}, "stop_token_ids is 100"),
        ({"logit_bias": {"-1": 1.0}}, {}, "logit_bias is -1"),
        ({}, {"token_ids_logprob": (100,)}, "token_ids_logprob is 100"),
        ({}, {"top_logprobs_num": 101}, "top_logprobs_num is 101, it must be between 0 and 100"),
        ({}, {"logprob_start_len": 2}, "logprob_start_len is 2, it must be between -1 and 1"),
        ({}, {"timeout_s": 0.0}, "timeout_s is 0.0, it must be above 0 seconds"),
    ],
)
def test_fields_that_depend_on_the_model_or_the_prompt_are_checked(
    params: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_request(CONFIG, make_request("a", [1, 2], 3, params, **fields))


def test_a_pool_that_is_smaller_than_one_request_refuses_it_with_both_numbers() -> None:
    """Otherwise the request would wait for ever."""
    small = CoreConfig(num_pages=8, page_size=4, context_length=50, vocab_size=100)
    check_request(small, make_request("a", [1] * 30, 2))
    with pytest.raises(PromptTooLong, match=r"30 \+ 3 tokens', it must be at most the KV pool's 32 tokens"):
        check_request(small, make_request("a", [1] * 30, 3))


@pytest.mark.parametrize(
    "chunk, longest, budget", [(-1, 16384, 16384), (64, 16384, 64), (-1, 8, 50), (64, 8, 50)], ids=str
)  # fmt: skip
def test_a_prefill_step_holds_one_chunk_and_without_chunks_at_least_one_whole_context(
    chunk: int, longest: int, budget: int
) -> None:
    config = CoreConfig(num_pages=16, context_length=50, vocab_size=100, chunked_prefill_size=chunk, max_prefill_tokens=longest)
    assert config.prefill_budget == budget


@pytest.mark.parametrize("name", ["schedule_policy", "eviction_policy"])
def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is 'best'.* one of "):
        CoreConfig(num_pages=1, context_length=1, vocab_size=1, **{name: "best"})
