"""Token detail: the model's distribution at each drawn token, and the effect of the mask on it. It takes passes over the
logits, so it is off until it is requested; `cost_s` is the time that it took.

All facts are of the logits as the model gave them. R rows, V vocabulary, K alternatives.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.events import TokenDetail
from workbench.kernels.ops import Look, look, mask_rows_

NUM_ALTERNATIVES = 5
BLOCK = 64
"""In torch, the largest logit of each block of so many is found first: the K largest of a row lie in the K largest blocks."""
MARGIN = 11
"""Blocks and tokens looked at beyond K, so that of a few equals the lowest ids come first."""
LOWEST, HIGHEST = -1e30, 1e30
Alternatives = tuple[tuple[int, float], ...]


def details(
    logits: Tensor, drawn: Sequence[int], masks: Mapping[int, np.ndarray[Any, Any]], spent_s: float = 0.0
) -> list[TokenDetail | None]:
    """Returns one entry per row of `logits` [R, V]; None if no token was drawn (its id is negative).

    `masks` are the bit masks (int32 [words]) of constrained rows, by row; `spent_s` was spent on the detail before, and is
    counted to its cost.
    """
    started = time.perf_counter()
    rows = [i for i, token in enumerate(drawn) if token >= 0]
    if not rows:
        return [None] * len(drawn)
    model = _look(logits, rows, [drawn[i] for i in rows])
    left = _left(logits, [(k, i) for k, i in enumerate(rows) if i in masks], drawn, masks, model)
    shares = np.exp(model.own.astype(np.float64) - model.lse).tolist()
    facts = zip(shares, (model.num_higher.astype(int) + 1).tolist(), model.entropy.tolist(), _alternatives(model), strict=True)
    cost_s = (spent_s + time.perf_counter() - started) / len(rows)
    found: list[TokenDetail | None] = [None] * len(drawn)
    for k, (i, known) in enumerate(zip(rows, facts, strict=True)):
        found[i] = TokenDetail(drawn[i], *known, *left.get(k, ((), 0.0, False)), cost_s)
    return found


def _left(
    logits: Tensor, constrained: Sequence[tuple[int, int]], drawn: Sequence[int], masks: Mapping[int, np.ndarray[Any, Any]],
    model: Look,
) -> dict[int, tuple[Alternatives, float, bool]]:  # fmt: skip
    """Returns (likeliest tokens left by the mask, probability removed, whether the model's first choice is forbidden) for each
    constrained row, by its place in `model`."""
    if not constrained:
        return {}
    places = [k for k, _ in constrained]
    rows = [i for _, i in constrained]
    allowed = _look(logits, rows, [drawn[i] for i in rows], np.stack([masks[i] for i in rows]))
    removed = -np.expm1(np.minimum(allowed.lse.astype(np.float64) - model.lse[places], 0.0))
    is_overruled = allowed.logits[:, 0] < model.logits[places, 0]
    told = zip(_alternatives(allowed), removed.tolist(), is_overruled.tolist(), strict=True)
    return dict(zip(places, told, strict=True))


def _alternatives(known: Look) -> list[Alternatives]:
    shares = np.exp(known.logits.astype(np.float64) - known.lse[:, None])
    rows = zip(known.ids.tolist(), shares.tolist(), strict=True)
    return [tuple((token, share) for token, share in zip(*row, strict=True) if share > 0) for row in rows]


def _look(x: Tensor, rows: Sequence[int], tokens: Sequence[int], masks: np.ndarray[Any, Any] | None = None) -> Look:
    found = look(x, rows, tokens, masks, NUM_ALTERNATIVES)
    if found is not None and np.isfinite(found.lse).all():
        return found
    return _look_in_torch(x[rows].float(), torch.tensor(tokens, device=x.device), masks)


def _look_in_torch(x: Tensor, tokens: Tensor, masks: np.ndarray[Any, Any] | None) -> Look:
    """Computes the same in torch, on any device. NaN and -inf get probability 0, +inf gets 1. Overwrites `x` [R, V]."""
    x.nan_to_num_(nan=LOWEST, posinf=HIGHEST, neginf=LOWEST)
    own = x.gather(1, tokens[:, None])
    if masks is not None:
        mask_rows_(x, masks)
    ids, logits = _best(x)
    below = (x - torch.from_numpy(logits[:, :1]).to(x)).clamp_min_(LOWEST)
    weights = below.exp()
    total = weights.sum(-1)
    entropy = total.log() - (weights * below).sum(-1) / total
    lse = logits[:, 0] + total.log().cpu().numpy()
    higher = (x > own).sum(-1)
    return Look(ids, logits, lse, entropy.cpu().numpy(), higher.cpu().numpy(), own[:, 0].cpu().numpy())


def _best(x: Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns ids and logits [R, K] of the likeliest tokens."""
    blocks = F.pad(x, (0, -x.shape[1] % BLOCK), value=-torch.inf) if x.shape[1] % BLOCK else x
    blocks = blocks.unflatten(1, (-1, BLOCK))
    chosen = blocks.amax(-1).topk(min(NUM_ALTERNATIVES + MARGIN, blocks.shape[1])).indices  # [R, N]
    logits = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    top = logits.topk(NUM_ALTERNATIVES + MARGIN)
    ids = (chosen.gather(1, top.indices // BLOCK) * BLOCK + top.indices % BLOCK).cpu().numpy()
    values = top.values.cpu().numpy()
    order = np.lexsort((ids, -values))[:, :NUM_ALTERNATIVES]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(values, order, 1)
