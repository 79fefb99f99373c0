"""The input of a forward pass. Size letters, used throughout the model side:

T new tokens in the step (flat over all sequences), R rows that sample, V vocabulary, H hidden, Hq and Hkv query and
K/V heads, G = Hq / Hkv, D head size, Dv head size of values, L layers, S tokens of context.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.crossed import Crossed
from workbench.types import Segment, slots_of_pages


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, start + num_new) of the flat batch, which belong to one sequence, and the pages of its K/V."""

    seq_id: int
    start: int
    num_new: int
    num_tokens: int
    """Context length including the new tokens."""
    segments: tuple[Segment, ...]

    @property
    def num_cached(self) -> int:
        return self.num_tokens - self.num_new


@dataclass(frozen=True, slots=True)
class Given:
    """Embeddings that requests gave in the place of tokens."""

    rows: Tensor  # [n] int64, their places in the flat batch
    vectors: Tensor  # [n, H]

    def put(self, x: Tensor) -> Tensor:
        """Returns the embeddings x [T, H] of a step with the given ones in their places."""
        return x.index_copy(0, self.rows, self.vectors.to(x.dtype))


@dataclass(frozen=True, slots=True)
class StepTensors:
    token_ids: Tensor  # [T] int64
    positions: Tensor  # [T] int64
    slots: Tensor  # [T] int64, where the new K/V goes
    spans: tuple[Span, ...]
    page_size: int
    given: Given | None = None
    mutual: tuple[tuple[int, int], ...] = ()
    """Runs of rows (first, end) that see each other in both directions, in models that see a picture as a whole. Each reaches to
    the picture's last token."""
    axes: Tensor | None = None  # [3, T] int64, rotary positions by time, height, width; None where all are `positions`
    adapted: Tensor | None = None  # [n] int64, rows that adapted weights compute; None where there are none
    crossed: Crossed | None = None
    """The pictures that rows look at by cross attention; None where none does."""


def slots_of(segments: tuple[Segment, ...], page_size: int, num_tokens: int) -> list[int]:
    """Returns the slot of every position below `num_tokens`."""
    return slots_of_pages([page for segment in segments for page in segment.pages], page_size)[:num_tokens]


def last_slots(span: Span, page_size: int) -> list[int]:
    """Returns the slots of the span's new tokens. Walks no pages before them where they lie in the last segment."""
    last = span.segments[-1].pages
    before = span.num_tokens - 1
    first = span.num_cached
    offset = sum(len(segment.pages) for segment in span.segments[:-1]) * page_size
    if first < offset:
        return slots_of(span.segments, page_size, span.num_tokens)[first:]
    return [last[(position - offset) // page_size] * page_size + position % page_size for position in range(first, before + 1)]


def as_tensor(values: list[int] | list[list[int]], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device=device)
