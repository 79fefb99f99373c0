"""The contract of attention: a backend does index work once per step, the step it returns does arithmetic once per layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from workbench.attention.crossed import Crossed
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Given, StepTensors


class Own(NamedTuple):
    """Queries and keys [T, Hq, D] and values [T, Hq, Dv] of the tokens of a step, one for each query head."""

    q: Tensor
    k: Tensor
    v: Tensor


class AttentionStep(Protocol):
    """Attention of one step, for all its layers."""

    def attend(self, spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensor:
        """Writes k [T, Hkv, D] and v [T, Hkv, Dv] to the layer's store, then returns attention [T, Hq, Dv] of q [T, Hq, D].

        Each row attends to its own sequence, as the spec says. `sinks` [Hq] are scores of a token without a value, which
        takes its share of each head's weights.
        """

    def attend_alone(self, spec: AttentionSpec, k: Tensor, v: Tensor, own: Callable[[], Own]) -> Tensor | None:
        """Does the same for sequences all of whose tokens are new, over the keys and values that `own` makes of the same tokens
        in another form; k and v are only written. Returns None, and has done nothing, where a sequence has older tokens, or the
        backend reads the store alone.
        """


class AttentionBackend(Protocol):
    def prepare(self, step: StepTensors) -> AttentionStep:
        """Makes the index tensors that all layers of this step share."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """The part of a step that a model's forward sees, beside the tokens."""

    positions: Tensor  # [T] int64
    attention: AttentionStep
    given: Given | None = None
    """Embeddings in the place of tokens; None where no request gave any."""
    axes: Tensor | None = None  # [3, T] int64, rotary positions by time, height, width; None where all are `positions`
    adapted: Tensor | None = None  # [n] int64, rows that adapted weights compute; None where there are none
    crossed: Crossed | None = None
    """The pictures that rows look at by cross attention; None where none does."""
    in_second: Tensor | None = None  # [T] int64, 1 for tokens of the second text of a pair; None where there is no pair
