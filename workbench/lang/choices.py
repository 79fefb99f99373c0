"""The choices methods: functions from the options' token log-probabilities to one score per option; the largest wins.

A score is a number, or a tuple of numbers that is compared from the left. Another method for `gen(choices_method=...)` needs
the attribute `needs_unconditional = True` if it reads `OptionTokens.unconditional`.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.lang.nodes import OptionTokens, Score


def token_length_normalized(options: Sequence[OptionTokens]) -> list[Score]:
    """Returns the mean log-probability of each option's tokens.

    It prefers long options whose last tokens follow from the first ones.
    """
    return [_mean(option.logprobs) for option in options]


def greedy_token_selection(options: Sequence[OptionTokens]) -> list[Score]:
    """Returns each option's log-probabilities as a tuple: the first token decides, then the next one among equals.

    An option that has no more tokens continues with its own mean.
    """
    longest = max(len(option.logprobs) for option in options)
    return [option.logprobs + (_mean(option.logprobs),) * (longest - len(option.logprobs)) for option in options]


def unconditional_likelihood_normalized(options: Sequence[OptionTokens]) -> list[Score]:
    """Returns the mean of each token's log-probability minus its log-probability without the prompt."""
    return [
        _mean([after - alone for after, alone in zip(option.logprobs, option.unconditional, strict=True)]) for option in options
    ]


unconditional_likelihood_normalized.needs_unconditional = True  # type: ignore[attr-defined]


METHODS = (token_length_normalized, greedy_token_selection, unconditional_likelihood_normalized)


def best(scores: Sequence[Score]) -> int:
    """Returns the index of the largest score, the first of equal ones."""
    return max(range(len(scores)), key=lambda i: scores[i])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
