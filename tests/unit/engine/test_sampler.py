"""The sampler edits each row by its request, in the documented order, and an error in one row affects no other."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.engine.plan import GRAMMAR_FAILED, NAN, NOTHING_ALLOWED, PROCESSOR_FAILED, Sampled, SampleRow
from workbench.engine.sampler import Sampler
from workbench.testing import AllowTokens, BrokenMatcher
from workbench.types import SamplingParams, TokenLogprob

V = 300
GREEDY = SamplingParams(temperature=0)


def row(params: SamplingParams = GREEDY, **more: Any) -> SampleRow:
    return SampleRow(**{"params": params, "seed": 1, "position": 0, **more})


def sample(logits: Tensor, *rows: SampleRow, detect_nan: bool = False) -> tuple[Sampled, ...]:
    return Sampler(logits.shape[1], detect_nan=detect_nan).sample(logits.clone(), rows)


def random_logits(num_rows: int, seed: int = 0) -> Tensor:
    return torch.randn(num_rows, V, generator=torch.Generator().manual_seed(seed)) * 3


# ---- greedy ----------------------------------------------------------------------------------------------------


def test_greedy_rows_take_the_best_and_of_equals_the_lowest_id() -> None:
    logits = random_logits(4)
    logits[1, [7, 40, 200]] = 100.0
    tokens = [
        s.token_id
        for s in sample(logits, row(), row(), row(SamplingParams(top_k=1)), row(SamplingParams(temperature=0, top_p=0.5)))
    ]
    assert tokens == [int(logits[0].argmax()), 7, int(logits[2].argmax()), int(logits[3].argmax())]


def test_a_row_alone_equals_that_row_in_any_batch() -> None:
    """Every kind of row beside every other, with log-probabilities."""
    rows = [
        row(),
        row(SamplingParams(temperature=0.9), seed=5),
        row(SamplingParams(top_p=0.7), seed=6, return_logprob=True, top_logprobs_num=3),
        row(SamplingParams(top_k=9, repetition_penalty=1.5), seed=7, prompt_ids=(1, 2), output_ids=(3, 3)),
        row(SamplingParams(temperature=0, frequency_penalty=2, logit_bias={4: 3.0}), output_ids=(4, 4), return_logprob=True),
        row(SamplingParams(min_p=0.2), seed=8, matcher=AllowTokens(*range(50))),
        row(suppress=(5, 6), token_ids_logprob=(9, 8), return_logprob=True),
        row(SamplingParams(custom_params={"token_id": 11}), processor=force),
    ]
    logits = random_logits(len(rows))
    together = sample(logits, *rows)
    for i, one in enumerate(rows):
        assert sample(logits[i : i + 1], one) == (together[i],)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    assert sample(logits[order], *(rows[i] for i in order)) == tuple(together[i] for i in order)


def test_the_same_seed_and_position_give_the_same_token_and_others_vary() -> None:
    flat = torch.zeros(1, V)
    tokens = {(s, p): sample(flat, row(SamplingParams(), seed=s, position=p))[0].token_id for s in range(10) for p in range(10)}
    again = {(s, p): sample(flat, row(SamplingParams(), seed=s, position=p))[0].token_id for s, p in tokens}
    assert tokens == again
    assert len(set(tokens.values())) > 60


# ---- edits -----------------------------------------------------------------------------------------------------


def edited(logits: Tensor, one: SampleRow) -> Tensor:
    """Returns the logits after the request's edits; a greedy choice changes no more."""
    seen = logits.clone()[None]
    Sampler(V).sample(seen, [one])
    return seen[0]


def test_penalties_follow_their_definitions() -> None:
    logits = random_logits(1)[0]
    prompt, output = (1, 2, 2, 3), (3, 4, 4, 4)
    params = SamplingParams(temperature=0, repetition_penalty=1.7, frequency_penalty=0.3, presence_penalty=-0.4)
    expected = logits.clone()
    for token in {*prompt, *output}:
        expected[token] = expected[token] / 1.7 if expected[token] > 0 else expected[token] * 1.7
    for token in set(output):
        expected[token] -= 0.3 * output.count(token) - 0.4
    assert torch.allclose(edited(logits, row(params, prompt_ids=prompt, output_ids=output)), expected)


def test_the_repetition_penalty_equals_transformers() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, ids = random_logits(1), (5, 9, 9, 200)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([ids]), logits.clone())[0]
    assert torch.equal(edited(logits[0], row(SamplingParams(temperature=0, repetition_penalty=1.3), prompt_ids=ids)), expected)


def test_penalties_change_nothing_before_the_first_token() -> None:
    params = SamplingParams(temperature=0, frequency_penalty=2, presence_penalty=2, repetition_penalty=1.5)
    logits = random_logits(1)[0]
    assert torch.equal(edited(logits, row(params)), logits)


def test_logit_bias_is_added_and_infinite_bias_decides() -> None:
    logits = random_logits(3)
    worst = int(logits[0].argmin())
    assert sample(logits[:1], row(SamplingParams(temperature=0, logit_bias={worst: 100.0})))[0].token_id == worst
    certain = row(SamplingParams(logit_bias={3: math.inf}), seed=9)
    assert sample(logits[:1], certain)[0].token_id == 3
    best = int(logits[1].argmax())
    assert sample(logits[1:2], row(SamplingParams(temperature=0, logit_bias={best: -math.inf})))[0].token_id != best


def test_suppressed_ids_are_not_chosen() -> None:
    logits = random_logits(2)
    first, second = logits[0].topk(2).indices.tolist()
    assert [s.token_id for s in sample(logits, row(suppress=(first,)), row())] == [second, int(logits[1].argmax())]


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(temperature=3.0), SamplingParams(top_p=0.9), SamplingParams(top_k=20)])
def test_a_grammar_mask_leaves_only_what_it_allows(params: SamplingParams) -> None:
    logits = random_logits(40)
    rows = [row(params, seed=i, matcher=AllowTokens(i, 299, 64)) if i % 2 else row(params, seed=i) for i in range(40)]
    for i, sampled in enumerate(sample(logits, *rows)):
        if i % 2:
            assert sampled.token_id in {i, 299, 64}
            assert sampled.num_allowed == 3
        else:
            assert sampled.num_allowed is None


def test_the_last_edits_win() -> None:
    """Draws with a processor for token 5, a bias for 6, a grammar that allows 7 and 8, of which 8 is suppressed."""
    params = SamplingParams(temperature=0, custom_params={"token_id": 5}, logit_bias={6: 50.0})
    sampled = sample(random_logits(1), row(params, processor=keep_and_raise, matcher=AllowTokens(7, 8), suppress=(8,)))[0]
    assert (sampled.token_id, sampled.num_allowed) == (7, 2)


# ---- log-probabilities -----------------------------------------------------------------------------------------


def test_log_probabilities_are_the_models_own_whatever_the_request_edits() -> None:
    logits = random_logits(2)
    params = SamplingParams(temperature=0.4, top_k=5, logit_bias={9: 4.0}, custom_params={"token_id": 17})
    rows = [row(params, return_logprob=True, top_logprobs_num=4, token_ids_logprob=(9, 2), matcher=AllowTokens(9, 10))] * 2
    expected = torch.log_softmax(logits, -1)
    for i, sampled in enumerate(sample(logits, *rows)):
        assert sampled.logprob is not None
        assert sampled.logprob.token_id == sampled.token_id
        assert sampled.logprob.logprob == pytest.approx(expected[i, sampled.token_id].item(), abs=1e-6)
        best = expected[i].topk(4)
        assert [token for _, token in sampled.logprob.top] == best.indices.tolist()
        assert [value for value, _ in sampled.logprob.top] == pytest.approx(best.values.tolist(), abs=1e-6)
        assert sampled.logprob.chosen == tuple((pytest.approx(expected[i, t].item(), abs=1e-6), t) for t in (9, 2))


def test_rows_get_the_log_probabilities_they_ask_for() -> None:
    rows = [
        row(),
        row(return_logprob=True),
        row(return_logprob=True, top_logprobs_num=1),
        row(return_logprob=True, token_ids_logprob=(3,)),
    ]
    shapes = [s.logprob and (len(s.logprob.top), len(s.logprob.chosen)) for s in sample(random_logits(4), *rows)]
    assert shapes == [None, (0, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize("num", [0, 1, 63, 64, 200])
def test_scoring_equals_a_plain_log_softmax(num: int) -> None:
    logits = random_logits(num)
    ids = torch.randint(0, V, (num,)).tolist()
    expected = torch.log_softmax(logits.double(), -1)
    before = logits.clone()
    scores = Sampler(V).score(logits, ids, 2, (0, 7))
    assert torch.equal(logits, before)
    assert len(scores) == num
    for i, score in enumerate(scores):
        assert isinstance(score, TokenLogprob)
        assert score.token_id == ids[i]
        assert score.logprob == pytest.approx(expected[i, ids[i]].item(), abs=1e-5)
        assert [t for _, t in score.top] == expected[i].topk(2).indices.tolist()
        assert [v for v, _ in score.chosen] == pytest.approx(expected[i, [0, 7]].tolist(), abs=1e-5)


# ---- trouble in one row ------------------------------------------------------------------------------------------


def failures(sampled: tuple[Sampled, ...]) -> dict[int, tuple[int, str]]:
    return {i: (s.token_id, s.error) for i, s in enumerate(sampled) if s.error}


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(), SamplingParams(top_p=0.9), SamplingParams(top_k=4)])
@pytest.mark.parametrize("detect_nan", [True, False])
def test_nan_ends_only_its_row_or_with_detection_warns_and_draws_another_token(
    params: SamplingParams, detect_nan: bool, caplog: pytest.LogCaptureFixture
) -> None:
    logits = random_logits(3)
    clean = sample(logits, *[row(params, seed=i, return_logprob=i == 2) for i in range(3)])
    logits[1, 50] = math.nan
    sampled = sample(logits, *[row(params, seed=i, return_logprob=i == 2) for i in range(3)], detect_nan=detect_nan)
    assert (sampled[0], sampled[2]) == (clean[0], clean[2])
    if detect_nan:
        assert not failures(sampled)
        assert sampled[1].token_id not in {50, -1}
        assert f"NaN in the model's logits of 1 of {V} tokens, at output position 0: they are not drawn" in caplog.text
    else:
        ((row_number, (code, said)),) = failures(sampled).items()
        assert (row_number, code) == (1, NAN)
        assert "contain NaN at output position 0; with enable_nan_detection=True" in said
        assert not caplog.text


def test_the_draw_beside_nan_is_the_draw_without_these_tokens() -> None:
    logits = random_logits(1)
    without = logits.clone()
    logits[0, [3, 50]] = math.nan
    without[0, [3, 50]] = -math.inf
    for seed in range(50):
        asked = row(SamplingParams(), seed=seed, return_logprob=True, top_logprobs_num=3)
        assert sample(logits, asked, detect_nan=True)[0] == sample(without, asked)[0]


@pytest.mark.parametrize("detect_nan", [True, False])
def test_nan_of_a_token_that_the_grammar_forbids_harms_nobody(detect_nan: bool) -> None:
    logits = random_logits(1)
    logits[0, 50] = math.nan
    assert sample(logits, row(matcher=AllowTokens(3)), detect_nan=detect_nan)[0].token_id == 3


def test_an_empty_mask_is_reported_with_its_causes_and_never_sampled() -> None:
    logits = random_logits(4)
    rows = [
        row(SamplingParams(), matcher=AllowTokens()),
        row(SamplingParams()),
        row(matcher=AllowTokens(3), suppress=(3,), position=6),
        row(SamplingParams(logit_bias={5: -math.inf}, top_p=0.5), matcher=AllowTokens(5)),
    ]
    sampled = sample(logits, *rows)
    reported = failures(sampled)
    assert {i: code for i, (code, _) in reported.items()} == dict.fromkeys((0, 2, 3), NOTHING_ALLOWED)
    assert reported[2][1] == "no token is allowed at output position 6: grammar and min_new_tokens left none"
    assert "grammar and logit_bias" in reported[3][1]
    assert sampled[1].token_id >= 0


def test_where_all_is_nan_detection_draws_any_token_that_is_allowed() -> None:
    logits = torch.full((2, V), math.nan)
    logits[0] = -math.inf
    assert [s.token_id for s in sample(logits, row(), row(SamplingParams()))] == [NOTHING_ALLOWED, NAN]
    rows = [row(SamplingParams(), seed=seed, matcher=AllowTokens(3, 7)) for seed in range(40)]
    drawn = [s.token_id for s in sample(torch.full((40, V), math.nan), *rows, detect_nan=True)]
    assert {*drawn} == {3, 7}


@pytest.mark.parametrize("detect_nan", [True, False])
def test_nan_from_a_processor_is_treated_as_the_models_is(detect_nan: bool) -> None:
    def spoil(logits: torch.Tensor, _: list) -> torch.Tensor:
        return torch.full_like(logits, math.nan)

    sampled = sample(random_logits(2), row(SamplingParams(), processor=spoil), row(), detect_nan=detect_nan)
    assert (sampled[0].token_id >= 0) is detect_nan
    assert sampled[1].token_id >= 0


def test_a_grammar_that_fails_ends_only_its_row() -> None:
    sampled = sample(random_logits(2), row(matcher=BrokenMatcher()), row(matcher=AllowTokens(4)))
    assert failures(sampled) == {0: (GRAMMAR_FAILED, "the grammar failed at output position 0: no such state")}
    assert sampled[1].token_id == 4


# ---- custom processors -------------------------------------------------------------------------------------------


def force(logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
    for i, params in enumerate(custom_param_list):
        logits[i, :] = -math.inf
        logits[i, params["token_id"]] = 0.0
    return logits


def keep_and_raise(logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
    for i, params in enumerate(custom_param_list):
        logits[i, params["token_id"]] += 20.0
    return logits


def test_rows_with_one_processor_go_through_it_together() -> None:
    calls: list[tuple[tuple[int, ...], list[dict[str, Any]]]] = []

    def record(logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
        calls.append((tuple(logits.shape), custom_param_list))
        return force(logits, custom_param_list)

    rows = [
        row(SamplingParams(custom_params={"token_id": 3}), processor=record),
        row(),
        row(SamplingParams(custom_params={"token_id": 4}), processor=record),
        row(SamplingParams(custom_params={"token_id": 5}), processor=force),
    ]
    logits = random_logits(4)
    assert [s.token_id for s in sample(logits, *rows)] == [3, int(logits[1].argmax()), 4, 5]
    assert calls == [((2, V), [{"token_id": 3}, {"token_id": 4}])]


def test_a_processor_cannot_change_the_requests_own_parameters() -> None:
    def spoil(logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
        custom_param_list[0]["token_id"] = 99
        return logits

    params = SamplingParams(custom_params={"token_id": 3})
    sample(random_logits(1), row(params, processor=spoil))
    assert params.custom_params == {"token_id": 3}


def test_an_exception_ends_only_the_request_whose_parameters_cause_it() -> None:
    rows = [
        row(SamplingParams(custom_params={"token_id": 3}), processor=force),
        row(SamplingParams(), processor=force),
        row(SamplingParams(temperature=0)),
        row(SamplingParams(custom_params={"token_id": 4}), processor=force),
    ]
    logits = random_logits(4)
    sampled = sample(logits, *rows)
    assert failures(sampled) == {1: (PROCESSOR_FAILED, "the custom logit processor function raised KeyError: 'token_id'")}
    assert [sampled[i].token_id for i in (0, 2, 3)] == [3, int(logits[2].argmax()), 4]


@pytest.mark.parametrize(
    "processor, message",
    [
        (lambda logits, params: None, "returned None"),
        (lambda logits, params: logits[:, :5], "shape [1, 5], it must be a tensor of shape [1, 300]"),
        (lambda logits, params: logits.mul_(0).new_zeros(0), "shape [0]"),
        (lambda logits, params: 1 / 0, "ZeroDivisionError"),
        (lambda logits, params: logits.to("meta"), "NotImplementedError"),
        (lambda logits, params: logits.to_sparse(), "NotImplementedError"),
        (lambda logits, params: sys.exit("bye"), "SystemExit: bye"),
    ],
)
def test_a_wrong_result_is_an_error_that_says_what_came(processor: Callable[..., Any], message: str) -> None:
    sampled = sample(random_logits(2), row(processor=processor), row())
    assert message in failures(sampled)[0][1]
    assert "\n" not in failures(sampled)[0][1]
    assert sampled[1].token_id >= 0


def test_another_dtype_and_gradients_from_a_processor_are_taken() -> None:
    def double(logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
        return (logits.double() * torch.ones((), dtype=torch.float64, requires_grad=True)).neg()

    logits = random_logits(1)
    assert sample(logits, row(processor=double))[0].token_id == int(logits[0].argmin())


def test_what_left_nothing_is_named_and_nothing_else():
    logits = torch.zeros(3, 8)
    why = [
        row(SamplingParams(logit_bias={5: 3.0}, stop_token_ids=(5,)), matcher=AllowTokens()),
        row(SamplingParams(logit_bias={5: 3.0}), matcher=AllowTokens()),
        row(SamplingParams(stop_token_ids=(3,)), matcher=AllowTokens(3), suppress=(3,)),
    ]
    told = [message.partition("position 0: ")[2] for _, message in failures(sample(logits, *why)).values()]
    assert told == ["grammar and stop_token_ids left none", "grammar left none", "grammar and min_new_tokens left none"]
