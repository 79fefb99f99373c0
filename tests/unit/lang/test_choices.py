"""The choices methods compute what their definitions say, on plain numbers."""

from __future__ import annotations

import pytest

import workbench as sgl
from workbench.lang.choices import best
from workbench.lang.nodes import OptionTokens


def options(*logprobs, unconditional=()):
    alone = unconditional or [()] * len(logprobs)
    return [OptionTokens(tuple(one), tuple(u), tuple(range(len(one)))) for one, u in zip(logprobs, alone, strict=True)]


def chosen(method, *logprobs, **more):
    return best(method(options(*logprobs, **more)))


def test_the_mean_decides_so_a_long_option_with_certain_tokens_wins():
    assert sgl.token_length_normalized(options([-1.0], [-3.0, -0.1, -0.1])) == pytest.approx([-1.0, -3.2 / 3])
    assert chosen(sgl.token_length_normalized, [-2.0], [-3.0, -0.1, -0.1]) == 1


def test_the_first_token_decides_and_a_long_certain_tail_does_not_help():
    assert chosen(sgl.greedy_token_selection, [-2.0], [-3.0, -0.1, -0.1]) == 0
    assert chosen(sgl.greedy_token_selection, [-5.0, -0.1], [-4.9, -9.0]) == 1


def test_options_that_share_tokens_are_told_apart_by_the_next():
    assert chosen(sgl.greedy_token_selection, [-1.0, -2.0, -0.1], [-1.0, -1.5, -9.0], [-1.1, -0.1]) == 1


def test_an_option_that_begins_another_goes_on_with_its_mean():
    # The mean of the short one is -1: the longer one wins with a next token above it and loses with one below.
    assert chosen(sgl.greedy_token_selection, [-0.5, -1.5], [-0.5, -1.5, -0.9]) == 1
    assert chosen(sgl.greedy_token_selection, [-0.5, -1.5], [-0.5, -1.5, -1.1]) == 0


def test_the_first_of_equals_is_chosen():
    for method in (sgl.token_length_normalized, sgl.greedy_token_selection):
        assert chosen(method, [-1.0], [-1.0]) == 0


def test_what_the_prompt_makes_likelier_wins_over_what_is_always_likely():
    assert chosen(sgl.token_length_normalized, [-1.0, -1.0], [-2.0, -2.0]) == 0
    alone = [(-1.0, -1.0), (-6.0, -6.0)]
    assert chosen(sgl.unconditional_likelihood_normalized, [-1.0, -1.0], [-2.0, -2.0], unconditional=alone) == 1
    scores = sgl.unconditional_likelihood_normalized(options([-1.0, -3.0], unconditional=[(-2.0, -1.0)]))
    assert scores == pytest.approx([-0.5])
