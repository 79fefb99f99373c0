"""Token detail: what the model thought of each drawn token, and what the mask did to that. It takes passes over the logits,
so it is off until it is asked for; `cost_s` says what it took.

All is told of the logits as the model gave them. R rows, V vocabulary, K alternatives.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.events import TokenDetail
from workbench.kernels.ops import mask_rows_

NUM_ALTERNATIVES = 5
BLOCK = 64
"""The largest logit of each block of so many is found first: the K largest of a row lie in the K blocks with the largest."""
MARGIN = 11
"""Blocks and tokens looked at beyond K, so that of a few equals the lowest ids come first."""
LOWEST, HIGHEST = -1e30, 1e30
Alternatives = tuple[tuple[int, float], ...]


def details(
    logits: Tensor, drawn: Sequence[int], masks: Mapping[int, np.ndarray[Any, Any]], spent_s: float = 0.0
) -> list[TokenDetail | None]:
    """One per row of `logits` [R, V] float32, which this overwrites; None where no token was drawn (its id is negative).

    `masks` are the bit masks (int32 [words]) of constrained rows, by row; `spent_s` was spent on the detail before, and is
    counted to its cost.
    """
    started = time.perf_counter()
    rows = [i for i, token in enumerate(drawn) if token >= 0]
    if not rows:
        return [None] * len(drawn)
    x = logits if len(rows) == len(drawn) else logits[rows]
    best, mean = _look(x)
    tokens = torch.tensor([drawn[i] for i in rows], device=x.device)
    own = x.gather(1, tokens[:, None])
    higher = torch.gt(x, own, out=torch.empty_like(x)).sum(-1)  # as 0.0 and 1.0: sums of bool take four times as long
    probabilities = (own[:, 0] - best.lse).exp().tolist()
    entropies, ranks = (best.lse - mean).clamp_min(0.0).tolist(), (higher.long() + 1).tolist()
    facts = [*zip(probabilities, ranks, entropies, best.told(), strict=True)]
    left = _left(x, best, [masks.get(i) for i in rows])
    cost_s = (spent_s + time.perf_counter() - started) / len(rows)
    told: list[TokenDetail | None] = [None] * len(drawn)
    for k, i in enumerate(rows):
        told[i] = TokenDetail(drawn[i], *facts[k], *left.get(k, ((), 0.0, False)), cost_s)
    return told


class Best(NamedTuple):
    """The likeliest tokens of R rows: `ids` and `logits` [R, K], of a few equals the lowest id first; log-sum-exp [R] of all."""

    ids: np.ndarray[Any, Any]
    logits: np.ndarray[Any, Any]
    lse: Tensor

    def told(self) -> list[Alternatives]:
        shares = np.exp(self.logits.astype(np.float64) - self.lse.cpu().numpy()[:, None])
        rows = zip(self.ids.tolist(), shares.tolist(), strict=True)
        return [tuple((token, share) for token, share in zip(*row, strict=True) if share > 0) for row in rows]


def _look(x: Tensor) -> tuple[Best, Tensor]:
    """The likeliest tokens, and the mean of the logits [R] weighted by probability."""
    weights = torch.softmax(x, -1)
    mean = (weights * x).sum(-1)
    if not mean.isfinite().all():  # what is not finite counts as never, or as certain
        x.nan_to_num_(nan=LOWEST, posinf=HIGHEST, neginf=LOWEST)
        weights = torch.softmax(x, -1)
        mean = (weights * x).sum(-1)
    return _best(x, weights), mean


def _left(x: Tensor, model: Best, masks: list[np.ndarray[Any, Any] | None]) -> dict[int, tuple[Alternatives, float, bool]]:
    """Of each row with a mask: the likeliest tokens that it leaves, the probability that it removes, whether it forbids the
    model's first choice. Overwrites `x`."""
    rows = [k for k, mask in enumerate(masks) if mask is not None]
    if not rows:
        return {}
    y = x if len(rows) == len(x) else x[rows]
    mask_rows_(y, np.stack([mask for mask in masks if mask is not None]))
    best = _best(y, torch.softmax(y, -1))
    removed = (-torch.expm1(best.lse - model.lse[rows])).clamp(0.0, 1.0).tolist()
    is_overruled = (best.logits[:, 0] < model.logits[rows, 0]).tolist()
    return dict(zip(rows, zip(best.told(), removed, is_overruled, strict=True), strict=True))


def _best(x: Tensor, weights: Tensor) -> Best:
    """`weights` are the softmax of `x` [R, V]."""
    blocks = F.pad(x, (0, -x.shape[1] % BLOCK), value=-torch.inf) if x.shape[1] % BLOCK else x
    blocks = blocks.unflatten(1, (-1, BLOCK))
    chosen = blocks.amax(-1).topk(min(NUM_ALTERNATIVES + MARGIN, blocks.shape[1])).indices  # [R, N]
    logits = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    top = logits.topk(NUM_ALTERNATIVES + MARGIN)
    ids = (chosen.gather(1, top.indices // BLOCK) * BLOCK + top.indices % BLOCK).cpu().numpy()
    values = top.values.cpu().numpy()
    order = np.lexsort((ids, -values))[:, :NUM_ALTERNATIVES]
    ids, values = np.take_along_axis(ids, order, 1), np.take_along_axis(values, order, 1)
    first = torch.from_numpy(ids[:, :1]).to(x.device)
    lse = x.gather(1, first)[:, 0] - weights.gather(1, first)[:, 0].log()
    return Best(ids, values, lse)
