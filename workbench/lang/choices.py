"""The choices methods: pure functions from the options' token log-probabilities to one score each; the largest wins.

A score is a number, or a tuple of numbers that is compared from the left. Whoever writes another method for
`gen(choices_method=...)` sets `needs_unconditional = True` on it if it reads `OptionTokens.unconditional`.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.lang.nodes import OptionTokens, Score


def token_length_normalized(options: Sequence[OptionTokens]) -> list[Score]:
    """The mean log-probability of an option's tokens. A long option whose later tokens follow from its first ones wins easily."""
    return [_mean(option.logprobs) for option in options]


def greedy_token_selection(options: Sequence[OptionTokens]) -> list[Score]:
    """The first token decides; options that share it are told apart by their next tokens.

    A short option that begins a longer one goes on with its own mean where it has no more tokens.
    """
    longest = max(len(option.logprobs) for option in options)
    return [option.logprobs + (_mean(option.logprobs),) * (longest - len(option.logprobs)) for option in options]


def unconditional_likelihood_normalized(options: Sequence[OptionTokens]) -> list[Score]:
    """The mean of how much likelier the prompt makes each token: its log-probability less the one without the prompt."""
    return [
        _mean([after - alone for after, alone in zip(option.logprobs, option.unconditional, strict=True)]) for option in options
    ]


unconditional_likelihood_normalized.needs_unconditional = True  # type: ignore[attr-defined]


METHODS = (token_length_normalized, greedy_token_selection, unconditional_likelihood_normalized)


def best(scores: Sequence[Score]) -> int:
    """The index of the largest score, the first of equals."""
    return max(range(len(scores)), key=lambda i: scores[i])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
