"""Requests that an engine can never serve are refused with the field, the value and the limit."""

from __future__ import annotations

import pytest

from workbench.engine.limits import CoreConfig, check_request
from workbench.errors import InvalidRequest, PromptTooLong
from workbench.testing import make_request

CONFIG = CoreConfig(num_pages=50, page_size=2, context_length=80, vocab_size=256)


def test_a_request_that_just_fits_is_accepted():
    check_request(CONFIG, make_request("a", [255] * 70, 10))


@pytest.mark.parametrize(
    "request_, error, named",
    [
        (make_request("a", []), InvalidRequest, "the prompt is empty"),
        (make_request("a", [1, 256]), InvalidRequest, "input_ids is 256, it must be between 0 and 255"),
        (make_request("a", [1], params={"stop_token_ids": [300]}), InvalidRequest, "stop_token_ids is 300"),
        (make_request("a", [1], params={"logit_bias": {"-1": 2.0}}), InvalidRequest, "logit_bias is -1"),
        (make_request("a", [1], token_ids_logprob=(256,)), InvalidRequest, "token_ids_logprob is 256"),
        (make_request("a", [1], top_logprobs_num=257), InvalidRequest, "top_logprobs_num is 257"),
        (make_request("a", [1], logprob_start_len=2), InvalidRequest, "logprob_start_len is 2"),
        (make_request("a", [1], timeout_s=0.0), InvalidRequest, "timeout_s is 0.0"),
        (make_request("a", [1] * 81, 0), PromptTooLong, "81 tokens.*at most 80"),
        (make_request("a", [1] * 70, 11), PromptTooLong, "max_new_tokens is 11.*at most 10 after a prompt of 70"),
    ],
)
def test_a_refusal_names_the_field_the_value_and_the_limit(request_, error, named):
    with pytest.raises(error, match=named):
        check_request(CONFIG, request_)


def test_a_request_longer_than_the_pool_is_refused_also_where_the_context_would_hold_it():
    small = CoreConfig(num_pages=10, page_size=2, context_length=80, vocab_size=256)
    with pytest.raises(PromptTooLong, match=r"15 \+ 6 tokens.*KV pool's 20 tokens"):
        check_request(small, make_request("a", [1] * 15, 6))


@pytest.mark.parametrize("setting", [{"schedule_policy": "fair"}, {"eviction_policy": "none"}])
def test_an_unknown_policy_is_refused_with_the_known_ones(setting):
    with pytest.raises(InvalidRequest, match="one of l"):
        CoreConfig(num_pages=1, context_length=1, vocab_size=1, **setting)


@pytest.mark.parametrize(
    "chunk, max_prefill, budget", [(-1, 16384, 16384), (512, 16384, 512), (-1, 10, 80), (512, 10, 80), (32, 10, 32)]
)
def test_the_prefill_budget_is_the_smaller_of_chunk_and_step_and_a_step_holds_the_context(chunk, max_prefill, budget):
    config = CoreConfig(num_pages=1, context_length=80, vocab_size=1, chunked_prefill_size=chunk, max_prefill_tokens=max_prefill)
    assert config.prefill_budget == budget
