"""Finds which rows of a step see which pictures, in models that look at pictures by cross attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from workbench.attention.crossed import Crossed
from workbench.attention.step import as_tensor
from workbench.engine.plan import PlannedSeq, StepPlan
from workbench.types import Picture


def crossed_in(plan: StepPlan, device: torch.device, see: Callable[[Picture], Tensor]) -> Crossed | None:
    """Returns the rows that see pictures, with the keys and values that `see` makes of these; None where none does.

    Rows that see the same pictures, of whatever sequences, attend to them in one call.
    """
    rows: dict[tuple[str, ...], list[int]] = {}
    seen: dict[tuple[str, ...], tuple[Picture, ...]] = {}
    start = 0
    for seq in plan.seqs:
        for first, end, pictures in looks(seq) if seq.pictures else ():
            key = tuple(picture.digest for picture in pictures)
            rows.setdefault(key, []).extend(range(start + first, start + end))
            seen[key] = pictures
        start += seq.num_new
    if not rows:
        return None
    parts, done = [], 0
    for key, own in rows.items():
        parts.append((slice(done, done + len(own)), tuple(see(picture) for picture in seen[key])))
        done += len(own)
    return Crossed(as_tensor([row for own in rows.values() for row in own], device), tuple(parts))


def looks(seq: PlannedSeq) -> Iterator[tuple[int, int, tuple[Picture, ...]]]:
    """Yields runs of new tokens (first, end) with the pictures that they see.

    A token sees the last picture at or before it, and those that stand side by side with that one.
    """
    crossed = [picture for picture in seq.pictures if picture.is_crossed]
    seen: tuple[Picture, ...] = ()
    for i, picture in enumerate(crossed):
        is_beside = i > 0 and crossed[i - 1].end == picture.start
        seen = (*seen, picture) if is_beside else (picture,)
        first = max(picture.start, seq.num_cached)
        end = min(crossed[i + 1].start if i + 1 < len(crossed) else seq.num_tokens, seq.num_tokens)
        if first < end:
            yield first - seq.num_cached, end - seq.num_cached, seen
