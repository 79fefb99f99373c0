"""A sequence becomes its part of a step: its tokens, its rows, its log-probabilities."""

from __future__ import annotations

import pytest

from workbench.engine.constrained import ConstrainedOutput
from workbench.engine.output import Output, Tail
from workbench.engine.planning import Planner, Prefill
from workbench.engine.sequence import RIDE, Sequence
from workbench.grammar import TokenRejected
from workbench.testing import AllowTokens, make_core, make_request

PROMPT = tuple(range(10, 20))


def running(num_computed: int = 0, output_ids: tuple[int, ...] = (), matcher=None, max_new_tokens=8, params=None, **fields):
    """Returns a sequence in the batch with `num_computed` tokens of K/V."""
    request = make_request("a", PROMPT, max_new_tokens, params, **fields)
    output = Output(request, frozenset(), None) if matcher is None else ConstrainedOutput(request, frozenset(), None, matcher)
    seq = Sequence(1, request, 0.0, output)
    cache = make_core(page_size=4).cache
    lease = cache.lease(cache.match(PROMPT, "", 0), "a")
    assert cache.grow(lease, len(PROMPT) + max_new_tokens)
    seq.admit(lease, 0.0)
    seq.apply(Tail(output_ids, drawn=(None,) * len(output_ids)), num_computed)
    return seq


PLANNER = Planner(frozenset({99}))


def test_a_prompt_is_planned_whole_with_one_row_behind_it():
    planned = PLANNER.plan(running(), 10)
    assert (planned.token_ids, planned.num_cached) == (PROMPT, 0)
    (row,) = planned.rows
    assert row.position == 0


def test_a_chunk_that_is_not_the_last_samples_nothing():
    planned = PLANNER.plan(running(), 4)
    assert planned.token_ids == PROMPT[:4]
    assert planned.rows == ()


def test_the_next_chunk_goes_on_behind_what_is_computed():
    planned = PLANNER.plan(running(num_computed=4), 6)
    assert (planned.token_ids, planned.num_cached, len(planned.rows)) == (PROMPT[4:], 4, 1)


def test_a_decode_step_computes_the_token_drawn_last():
    seq = running(num_computed=10, output_ids=(7,))
    assert seq.is_decoding
    planned = PLANNER.plan(seq, 1)
    assert (planned.token_ids, planned.num_cached) == ((7,), 10)
    assert planned.rows[0].position == 1
    assert planned.is_decode


def test_forced_tokens_ride_along_with_one_row_behind_the_last():
    seq = running(num_computed=10, output_ids=(7, 8, 9))
    assert seq.is_decoding
    planned = PLANNER.plan(seq, 3)
    assert planned.token_ids == (7, 8, 9)
    assert len(planned.rows) == 1
    assert not planned.is_decode


def test_a_long_forced_stretch_is_a_prefill():
    assert running(10, (5,) * RIDE, max_new_tokens=100).is_decoding
    assert not running(10, (5,) * (RIDE + 1), max_new_tokens=100).is_decoding


def test_drafts_come_behind_the_pending_tokens_and_have_a_row_each():
    planned = PLANNER.plan(running(num_computed=10, output_ids=(7,)), 1, (1, 2, 3))
    assert planned.token_ids == (7, 1, 2, 3)
    assert [row.position for row in planned.rows] == [1, 2, 3, 4]
    assert planned.num_drafts == 3
    assert planned.is_decode


def test_a_row_behind_drafts_sees_them_where_penalties_need_history():
    planned = PLANNER.plan(running(10, (7,), params={"frequency_penalty": 1.0}), 1, (1, 2))
    assert [row.output_ids for row in planned.rows] == [(7,), (7, 1), (7, 1, 2)]


class Letters(AllowTokens):
    """A matcher that allows its tokens in their order, once."""

    def fork(self):
        return Letters(*self.token_ids)

    def accept(self, token_id: int) -> None:
        if not self.token_ids or token_id != self.token_ids[0]:
            raise TokenRejected("not here")
        self.token_ids = self.token_ids[1:]


def test_each_row_of_a_constrained_request_has_the_position_behind_its_draft():
    planned = PLANNER.plan(running(10, (7,), matcher=Letters(1, 2, 3)), 1, (1, 2))
    assert [row.matcher.token_ids for row in planned.rows] == [(1, 2, 3), (2, 3), (3,)]


def test_drafts_are_left_out_from_the_first_that_the_grammar_refuses():
    planned = PLANNER.plan(running(10, (7,), matcher=Letters(1, 2, 3)), 1, (1, 9, 3))
    assert planned.token_ids == (7, 1)
    assert len(planned.rows) == 2


@pytest.mark.parametrize("num_output, suppressed", [(1, (99, 5)), (2, (99, 5)), (3, ())])
def test_end_and_stop_ids_are_suppressed_until_the_least_length(num_output, suppressed):
    seq = running(10 + num_output - 1, (7,) * num_output, params={"min_new_tokens": 3, "stop_token_ids": [5]})
    assert PLANNER.plan(seq, 1).rows[0].suppress == suppressed


def test_a_request_for_no_tokens_has_no_row():
    assert PLANNER.plan(running(max_new_tokens=0), 10).rows == ()


def test_prompt_tokens_are_scored_by_the_logits_before_them():
    planned = PLANNER.plan(running(return_logprob=True, logprob_start_len=6), 10)
    assert (planned.score_from, planned.score_ids) == (5, PROMPT[6:])


def test_a_chunk_scores_what_its_logits_reach_and_the_next_chunk_the_rest():
    seq = running(return_logprob=True, logprob_start_len=2)
    planned = PLANNER.plan(seq, 4)
    assert (planned.score_from, planned.score_ids) == (1, PROMPT[2:5])
    seq.apply(Tail(), 4, num_scored=3)
    planned = PLANNER.plan(seq, 6)
    assert (planned.score_from, planned.score_ids) == (0, PROMPT[5:])


def test_the_prefill_part_of_a_step_takes_as_much_as_fits():
    step = Prefill(PLANNER, budget=14, is_for_one=False)
    step.take(running())
    assert (step.budget, step.has_room) == (4, True)
    step.take(running())
    assert (step.budget, step.has_room) == (0, False)
    assert [seq.num_new for seq in step.seqs] == [10, 4]


def test_a_prefill_for_one_is_full_with_one():
    step = Prefill(PLANNER, budget=100, is_for_one=True)
    assert step.has_room
    step.take(running())
    assert not step.has_room
