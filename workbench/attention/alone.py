"""Sequences that a step computes from their first token to their last: each attends to its own rows, and nothing is read."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span


def are_whole(spans: Sequence[Span]) -> bool:
    """Returns whether a step computes all tokens of all its sequences."""
    return all(not span.num_cached for span in spans)


def attend_alone(spans: Sequence[Span], spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns causal attention [T, Hq, Dv] of q [T, Hq, D] over k [T, Hq, D], v [T, Hq, Dv]; each row sees its own sequence.

    Without a window and a cap.
    """
    assert spec.window is None
    assert spec.softcap is None
    out = q.new_empty(*q.shape[:2], v.shape[-1])
    size = max(q.shape[-1], v.shape[-1])
    q, k, v = (F.pad(x, (0, size - x.shape[-1])) for x in (q, k, v))  # torch's fast form takes one size for all three
    for span in spans:
        rows = slice(span.start, span.start + span.num_new)
        queries, keys, values = (x[rows].transpose(0, 1)[None] for x in (q, k, v))
        done = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=spec.scale)
        out[rows] = done[0].transpose(0, 1)[..., : out.shape[-1]]
    return out
