"""One token drawn from one row of logits, reproducibly: the same seed gives the same draws whatever else is in the batch.

A draw is a number from a counter-based generator, looked up in the distribution of its own row, cumulated in the order
of ids. Which tokens that distribution keeps is decided by rank: highest logit first, among equal logits lowest id first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.types import SamplingParams

MIN_TEMPERATURE = 1e-6
"""Lower temperatures are raised to this; here only exact ties still share probability."""
BLOCK = 128
"""Tokens summed at a time when the whole vocabulary is a candidate."""
MARGIN = 64
TOP_P_WIDTH = 128
"""Tokens looked at first for top_p, for all rows together; where their mass does not suffice the row is looked at alone."""

_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """Returns a number in [0, 1) fixed by `seed` and `position` alone (two rounds of the SplitMix64 finalizer)."""
    return (_mix(_mix(seed & _MASK) ^ (position & _MASK)) >> 11) * 2.0**-53


def _mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def draw(logits: Tensor, peak: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> list[int]:
    """Returns one token id per row. Overwrites `logits` [S, V] float32, with -inf for tokens that may not be drawn; `peak` [S]
    are its finite row maxima.

    Filters apply in this order, each to the distribution that the one before left, renormalised: temperature, top_k
    (exactly k tokens), top_p (the fewest tokens with at least that mass), min_p (relative to the likeliest token).
    """
    vocab_size = logits.shape[1]
    temperatures = torch.tensor([max(p.temperature, MIN_TEMPERATURE) for p in params], device=logits.device)
    x = logits.sub_(peak[:, None]).div_(temperatures[:, None])  # [S, V], the likeliest token at 0
    top_k = np.array([p.top_k if 0 < p.top_k < vocab_size else vocab_size for p in params])
    top_p, min_p = np.array([p.top_p for p in params]), np.array([p.min_p for p in params])
    u = np.array(uniforms)
    tokens = np.empty(len(params), dtype=np.int64)
    ranked = (top_k < vocab_size) | (top_p < 1)
    if len(rows := np.flatnonzero(~ranked)):
        tokens[rows] = _by_id(_rows(x, rows), min_p[rows], u[rows])
    if len(rows := np.flatnonzero(ranked)):
        tokens[rows] = _by_rank(_rows(x, rows), top_k[rows], top_p[rows], min_p[rows], u[rows])
    return tokens.tolist()


def leaders(x: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first `k` tokens of each row by rank: values [S, k] float64 and ids [S, k]."""
    vocab_size = x.shape[1]
    k = min(k, vocab_size)
    width = min(vocab_size, k + MARGIN)
    top = x.topk(width) if width < vocab_size else x.sort(descending=True, stable=True)
    values, ids = top.values.double().cpu().numpy(), top.indices.cpu().numpy()
    if width < vocab_size:
        order = np.lexsort((ids, -values))
        values, ids = np.take_along_axis(values, order, 1), np.take_along_axis(ids, order, 1)
        # topk picks any of several equal values: where they reach its end, only a full sort finds the lowest ids.
        cut = np.flatnonzero((values[:, k - 1] == values[:, -1]) & (values[:, -1] > -np.inf))
        if len(cut):
            full = x[torch.from_numpy(cut).to(x.device)].sort(descending=True, stable=True)
            values[cut, :k] = full.values[:, :k].cpu().numpy()
            ids[cut, :k] = full.indices[:, :k].cpu().numpy()
    return values[:, :k], ids[:, :k]


def _by_id(x: Tensor, min_p: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draws from the whole vocabulary, cumulated in the order of ids: by blocks, then inside one block."""
    if min_p.any():
        x = x.masked_fill(x < torch.from_numpy(min_p).to(x).log()[:, None], -torch.inf)
    weights = torch.softmax(x, -1)
    blocks = F.pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))  # [S, N, BLOCK]
    mass = blocks.sum(-1, dtype=torch.float64).cumsum(-1)  # [S, N]
    target = torch.from_numpy(uniforms).to(x.device) * mass[:, -1]
    block = _first_above(mass, target)
    rows = torch.arange(len(block), device=x.device)
    before = torch.where(block > 0, mass[rows, block - 1], 0.0)
    inside = before[:, None] + blocks[rows, block].double().cumsum(-1)  # [S, BLOCK]
    return (block * BLOCK + _first_above(inside, target)).cpu().numpy()


def _first_above(mass: Tensor, target: Tensor) -> Tensor:
    """Returns the index of the first cumulated mass [S, N] above `target` [S]: never that of a weight of 0."""
    below_end = torch.nextafter(mass[:, -1], torch.zeros_like(target))
    return torch.searchsorted(mass, torch.minimum(target, below_end)[:, None], right=True)[:, 0]


def _by_rank(x: Tensor, top_k: np.ndarray, top_p: np.ndarray, min_p: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draws where top_k or top_p limits the candidates."""
    vocab_size = x.shape[1]
    limited = top_k < vocab_size
    values, ids = leaders(x, int(np.where(limited, top_k, min(TOP_P_WIDTH, vocab_size)).max()))
    weights = np.exp(values)
    mass = weights.cumsum(1)  # [S, K]
    num_best = np.minimum(top_k, (weights > 0).sum(1))
    # The mass of a whole row, in units of its likeliest token's.
    whole = _at(mass, num_best - 1) if limited.all() else 1 / torch.softmax(x, -1).amax(-1).double().cpu().numpy()
    wanted = top_p * np.where(limited, _at(mass, num_best - 1), whole)
    num_kept = np.minimum(num_best, (mass < wanted[:, None]).sum(1) + 1)
    num_kept = np.minimum(num_kept, (weights >= min_p[:, None]).sum(1))
    weights[np.arange(weights.shape[1]) >= num_kept[:, None]] = 0
    order = ids.argsort(1)
    by_id = np.take_along_axis(weights, order, 1).cumsum(1)
    target = np.minimum(uniforms * by_id[:, -1], np.nextafter(by_id[:, -1], 0))
    tokens = _at(ids, _at(order, (by_id <= target[:, None]).sum(1)))
    for i in np.flatnonzero(~limited & (mass[:, -1] < wanted) & (values[:, -1] > -np.inf)):
        tokens[i] = _by_wide_rank(x[i].cpu().numpy(), wanted[i], (1 - top_p[i]) * whole[i] / vocab_size, min_p[i], uniforms[i])
    return tokens


def _by_wide_rank(x: np.ndarray, wanted: float, negligible: float, min_p: float, uniform: float) -> int:
    """Draws from one row [V] whose first tokens by rank have less than the mass `wanted`.

    All tokens lighter than `negligible` together weigh less than what top_p leaves out, so none of them is kept.
    """
    ids = np.flatnonzero(x >= max(np.log(negligible), np.finfo(x.dtype).min))
    values = x[ids].astype(np.float64)
    ranked = -np.sort(-values)
    weights = np.exp(ranked)
    num_kept = min(len(ids), int((weights.cumsum() < wanted).sum()) + 1, int((weights >= min_p).sum()))
    cut = ranked[num_kept - 1]
    kept = values > cut
    kept[np.flatnonzero(values == cut)[: num_kept - kept.sum()]] = True
    mass = np.exp(values[kept]).cumsum()
    target = min(uniform * mass[-1], np.nextafter(mass[-1], 0))
    return int(ids[kept][mass.searchsorted(target, side="right")])


def _at(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table, columns[:, None], 1)[:, 0]


def _rows(x: Tensor, rows: np.ndarray) -> Tensor:
    return x if len(rows) == len(x) else x[torch.from_numpy(rows).to(x.device)]
