"""A resampler: learned queries look at all patches of a picture, and what each finds is one vector for the text."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.checkpoint.weights import Weights
from workbench.model.layer import Layer
from workbench.model.layers import LayerNorm
from workbench.model.linear import Linear

HEAD_SIZE = 128
EPS = 1e-6


class Resampler(Layer):
    """Features of patches [B, N, in] in, vectors [B, number of queries, H] out. Keys have places of sines and cosines; queries
    have places too where these are in the file."""

    def __init__(self, num_queries: int, size: int, in_size: int, places_queries: bool = False) -> None:
        super().__init__()
        self.num_queries, self.size, self.places_queries = num_queries, size, places_queries
        norm = partial(LayerNorm, eps=EPS)
        self.kv_proj = Linear(in_size, size) if in_size != size else None
        self.ln_q, self.ln_kv, self.ln_post = norm(size), norm(size), norm(size)
        self.attn = QueryAttention(size, size // HEAD_SIZE)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.query = weights.tensor("query", self.num_queries, self.size)
        self.proj = weights.tensor("proj", self.size, self.size)
        self.places = weights.tensor("pos_embed", self.num_queries, self.size) if self.places_queries else None
        self.num_bytes = self.query.nbytes + self.proj.nbytes + (0 if self.places is None else self.places.nbytes)

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        values = self.ln_kv(x if self.kv_proj is None else self.kv_proj(x))
        keys = values + waves(rows, columns, self.size).to(values)
        queries = self.ln_q(self.query) if self.places is None else self.ln_q(self.query) + self.places
        found = self.attn(queries.expand(len(x), -1, -1), keys, values)
        return self.ln_post(found) @ self.proj


class QueryAttention(Layer):
    """Attention of queries [B, Q, H] to keys and values [B, N, H]. A file holds the three first matrices as one."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.size, self.num_heads = size, num_heads
        self.out_proj = Linear(size, size, bias=True)

    def load(self, weights: Weights) -> None:
        super().load(weights)
        self.weight = weights.tensor("in_proj_weight", 3 * self.size, self.size)
        self.bias = weights.tensor("in_proj_bias", 3 * self.size)
        self.num_bytes = self.weight.nbytes + self.bias.nbytes

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = zip(inputs, self.weight.chunk(3), self.bias.chunk(3), strict=True)
        heads = (F.linear(*part).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def waves(rows: int, columns: int, size: int) -> Tensor:
    """Returns places of a grid [rows * columns, size]: sines and cosines of the column, then those of the row."""
    by_row, by_column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    steps = 1.0 / 10_000 ** (torch.arange(size // 4, dtype=torch.float32) / (size / 4))
    angles = [at.flatten()[:, None] * steps for at in (by_column, by_row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
