"""The order of rows in files whose rotary embedding turns neighbouring numbers.

Ours turns number i of a head's first half with number i of its second half. A product of queries and keys does not depend on the
order of a head's numbers, so the rows are put in our order as they are read.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from workbench.checkpoint.names import Change
from workbench.model.config import ModelConfig


def neighbours(config: ModelConfig, size: int | None = None) -> dict[str, Change]:
    """Returns the changes of the projections of queries and keys. Of a head the first `size` numbers are turned; None is all."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return {f"layers.*.self_attn.{name}": neighbours_of(num, size or config.head_dim) for name, num in heads.items()}


def neighbours_of(num_heads: int, size: int) -> Change:
    """Returns the change of rows that belong to `num_heads` heads, the first `size` numbers of which are turned."""
    return Change(partial(_halves_apart, num_heads=num_heads, size=size), partial(_interleaved, num_heads=num_heads, size=size))


def _halves_apart(rows: Tensor, num_heads: int, size: int) -> Tensor:
    """Returns rows in our order: row i of a head's first half and of its second half are neighbours in the file."""
    heads = rows.unflatten(0, (num_heads, -1)).clone()  # [heads, D, ...]
    pairs = heads[:, :size].unflatten(1, (-1, 2))  # [heads, R / 2, (first half, second half), ...]
    heads[:, :size] = pairs.transpose(1, 2).flatten(1, 2).clone()
    return heads.reshape(rows.shape)


def _interleaved(rows: Tensor, num_heads: int, size: int) -> Tensor:
    """Returns rows in the order of the file: the inverse of `_halves_apart`."""
    heads = rows.unflatten(0, (num_heads, -1)).clone()
    halves = heads[:, :size].unflatten(1, (2, -1))  # [heads, (first half, second half), R / 2, ...]
    heads[:, :size] = halves.transpose(1, 2).flatten(1, 2).clone()
    return heads.reshape(rows.shape)


def head_norms(config: ModelConfig) -> dict[str, Change]:
    """Returns the changes of norms of queries and keys that have weights [heads, D] of their own for each head."""
    heads = {"q_norm": config.num_attention_heads, "k_norm": config.num_key_value_heads}
    return {f"layers.*.self_attn.{name}": _by_heads(neighbours_of(num, config.head_dim)) for name, num in heads.items()}


def _by_heads(change: Change) -> Change:
    """Returns the change for numbers that lie as [heads, D]."""
    return Change(
        lambda weight: change.undo(weight.flatten()).view_as(weight), lambda weight: change.do(weight.flatten()).view_as(weight),
        of_rows=False,
    )  # fmt: skip
