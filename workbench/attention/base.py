"""The contract of attention: a backend does index work once per step, the step it returns does arithmetic once per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Given, StepTensors


class AttentionStep(Protocol):
    """Attention of one step, for all its layers."""

    def attend(self, spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensor:
        """Writes k [T, Hkv, D] and v [T, Hkv, Dv] to the layer's store, then returns attention [T, Hq, Dv] of q [T, Hq, D].

        Each row attends to its own sequence, as the spec says. `sinks` [Hq] are scores of a token without a value, which
        takes its share of each head's weights.
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
    in_second: Tensor | None = None  # [T] int64, 1 for tokens of the second text of a pair; None where there is no pair
