"""Runs of neighbouring slots that are worth a call of their own, and the sequences that read them. Plain ints, once per step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from workbench.attention.step import Span, as_tensor
from workbench.types import Segment, slots_of_pages

MIN_SHARED_RUN = 64
"""Slots of a run that two or more sequences read, to be worth a call."""
MIN_OWN_RUN = 512
"""The same for a run that one sequence reads, where lists of slots are not read in place."""


@dataclass(frozen=True, slots=True)
class Run:
    """Slots [start, end), read in full by every new token of the sequences `members` (indices of spans)."""

    start: int
    end: int
    members: tuple[int, ...]


@dataclass(slots=True)
class Rest:
    """The part of one sequence's context that no run covers, in order: pieces of tree segments, then private pages."""

    key: tuple[tuple[int, int, bool], ...]
    """(node id, pages, covered) of its tree segments. While this stays the same, so does `shared`."""
    shared: list[tuple[int, ...]]
    private: tuple[int, ...]
    num_tokens: int

    def slots(self, page_size: int) -> list[int]:
        pages = [page for piece in self.shared for page in piece] + list(self.private)
        return slots_of_pages(pages, page_size)[: self.num_tokens]


@lru_cache(maxsize=8192)
def stretch_of(segment: Segment) -> tuple[int, int] | None:
    """Returns (start, end) of the segment's pages if they are neighbours in order, else None."""
    pages = segment.pages
    first, count = pages[0], len(pages)
    return (first, first + count) if pages == tuple(range(first, first + count)) else None


def find_runs(spans: tuple[Span, ...], page_size: int, *, only_shared: bool) -> tuple[list[Run], dict[int, Rest]]:
    """Returns the runs of a step, and the rest of each context by sequence id. Reads only.

    With `only_shared` a stretch that one sequence reads is none.
    """
    readers: dict[Segment, list[int]] = {}
    for i, span in enumerate(spans):
        end = 0
        for segment in span.segments:
            end += len(segment.pages) * page_size
            if segment.node_id and end <= span.num_cached:
                readers.setdefault(segment, []).append(i)
    runs: dict[tuple[int, tuple[int, ...]], Run] = {}
    covered: set[Segment] = set()
    for segment, members in readers.items():
        stretch = stretch_of(segment)
        least = MIN_SHARED_RUN if len(members) > 1 else MIN_OWN_RUN
        if stretch is not None and len(segment.pages) * page_size >= least and (len(members) > 1 or not only_shared):
            covered.add(segment)
            who = tuple(members)
            start, end = stretch[0] * page_size, stretch[1] * page_size
            before = runs.pop((start, who), None)
            runs[end, who] = Run(before.start if before else start, end, who)
    return list(runs.values()), {span.seq_id: _rest(span, covered, page_size) for span in spans}


def _rest(span: Span, covered: set[Segment], page_size: int) -> Rest:
    nodes = [segment for segment in span.segments if segment.node_id]
    private = span.segments[-1].pages if not span.segments[-1].node_id else ()
    num_covered = sum(len(segment.pages) for segment in nodes if segment in covered) * page_size
    return Rest(
        tuple((segment.node_id, len(segment.pages), segment in covered) for segment in nodes),
        [segment.pages for segment in nodes if segment not in covered],
        private,
        span.num_tokens - num_covered,
    )


def rows_of(run: Run, spans: tuple[Span, ...], device: torch.device) -> Tensor | slice:
    """Returns the rows of the flat batch that read the run: a slice where they are neighbours."""
    first, last = spans[run.members[0]], spans[run.members[-1]]
    if run.members[-1] - run.members[0] == len(run.members) - 1:
        return slice(first.start, last.start + last.num_new)
    return as_tensor([row for i in run.members for row in range(spans[i].start, spans[i].start + spans[i].num_new)], device)
