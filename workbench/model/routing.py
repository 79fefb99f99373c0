"""The choice of experts: from the logits of a router to the experts of each row and their weights. All in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from workbench.errors import ModelCorrupt


class Choice(NamedTuple):
    """The experts of T rows, best first, and the weights of their results."""

    experts: Tensor  # [T, k] int64
    weights: Tensor  # [T, k] float32


class Chooser(Protocol):
    @property
    def top_k(self) -> int:
        """The experts of a row."""

    def check(self, num_experts: int) -> None:
        """Raises ModelCorrupt where a row cannot take so many of these experts."""

    def __call__(self, logits: Tensor, correction: Tensor | None = None) -> Choice:
        """Returns the choice of each row, from logits [T, E] and a correction [E]."""


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Each row takes its best experts by a score that its logits give."""

    top_k: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    norm: float | None = None
    """Order p of the norm by which the weights of a row are divided; 1 makes their sum 1, None leaves them."""
    scale: float = 1.0
    """Factor on the weights."""
    softcap: float | None = None
    """The cap on the size of a logit."""
    num_groups: int = 1
    """Groups of neighbouring experts; a row takes experts of its best groups alone."""
    top_groups: int = 1
    best_of_group: int = 1
    """Number of a group's best scores whose sum is the group's score."""

    def check(self, num_experts: int) -> None:
        if self.num_groups == 1:
            _check_enough(self.top_k, num_experts)
            return
        (size, rest), taken = divmod(num_experts, self.num_groups), self.top_groups
        if rest or taken > self.num_groups or self.best_of_group > size:
            message = f"config.json has {num_experts} experts in {self.num_groups} groups, of which a token takes {taken}"
            raise ModelCorrupt(message, hint="groups are of one size, and there are enough of them")
        _check_enough(self.top_k, size * taken)

    def __call__(self, logits: Tensor, correction: Tensor | None = None) -> Choice:
        """Returns the choice of each row. A correction is added to the scores that choose, and not to the weights."""
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        scores = logits.softmax(-1) if self.score == "softmax" else logits.sigmoid()
        ranked = scores if correction is None else scores + correction
        if self.num_groups > 1:
            ranked = self._of_best_groups(ranked)
        experts = ranked.topk(self.top_k, -1).indices
        weights = scores.gather(-1, experts)
        if self.norm is not None:
            weights = weights / (weights.norm(self.norm, -1, keepdim=True) + 1e-20)
        return Choice(experts, weights * self.scale)

    def _of_best_groups(self, scores: Tensor) -> Tensor:
        groups = scores.unflatten(-1, (self.num_groups, -1))
        best = groups.topk(self.best_of_group, -1).values.sum(-1).topk(self.top_groups, -1).indices
        is_other = torch.ones(groups.shape[:-1], dtype=torch.bool, device=scores.device).scatter_(-1, best, False)
        return groups.masked_fill(is_other[..., None], float("-inf")).flatten(-2)


@dataclass(frozen=True)
class SparseMixer:
    """Each row takes its best expert, then the best of the others, as SparseMixer does outside training.

    Each weight is a softmax over the experts that are left and whose logits are close to the best one.
    """

    top_k: int = 2
    jitter: float = 0.01
    """Half the width of the band, as a share of the size of a logit, in which logits are close."""

    def check(self, num_experts: int) -> None:
        _check_enough(self.top_k, num_experts)

    def __call__(self, logits: Tensor, correction: Tensor | None = None) -> Choice:
        rest, chosen, weights = logits, list[Tensor](), list[Tensor]()
        for _ in range(self.top_k):
            best, expert = rest.max(-1, keepdim=True)
            is_far = (best - logits) / logits.abs().clamp(min=best) > 2 * self.jitter
            weights.append(rest.masked_fill(is_far, float("-inf")).softmax(-1).gather(-1, expert))
            chosen.append(expert)
            rest = rest.scatter(-1, expert, float("-inf"))
        return Choice(torch.cat(chosen, -1), torch.cat(weights, -1))


def _check_enough(top_k: int, num_experts: int) -> None:
    if not 0 < top_k <= num_experts:
        message = f"config.json has {top_k} experts for each token, and {num_experts} to choose from"
        raise ModelCorrupt(message, hint="is this the config.json of these weights?")
