"""The oracle: attention one sequence at a time, by gathering its K/V and writing the softmax out. Slow, any device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.base import Own
from workbench.attention.kv import KVStore
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors, as_tensor, slots_of


class ReferenceAttention:
    def __init__(self, kv: KVStore) -> None:
        self.kv = kv

    def prepare(self, step: StepTensors) -> ReferenceStep:
        device = step.slots.device
        contexts = [(span, as_tensor(slots_of(span.segments, step.page_size, span.num_tokens), device)) for span in step.spans]
        return ReferenceStep(self.kv, step.slots, contexts, step.mutual)


@dataclass(frozen=True, slots=True)
class ReferenceStep:
    kv: KVStore
    new_slots: Tensor  # [T]
    contexts: list[tuple[Span, Tensor]]
    """Each span with the slots of its whole context [S]."""
    mutual: tuple[tuple[int, int], ...] = ()

    def attend(self, spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensor:
        self.kv.write(spec.layer, self.new_slots, k, v)
        out = q.new_empty(*q.shape[:2], spec.v_head_size)
        for span, slots in self.contexts:
            rows = slice(span.start, span.start + span.num_new)
            visible = _visible(span, spec.window, q.device, self.mutual)
            bias = None if spec.bias is None else spec.bias(*_positions(span, q.device))
            out[rows] = _attend(q[rows], *self.kv.read(spec.layer, slots), visible, spec, sinks, bias)
        return out

    def attend_alone(self, spec: AttentionSpec, k: Tensor, v: Tensor, own: Callable[[], Own]) -> Tensor | None:
        return None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor, spec: AttentionSpec, sinks: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Returns [n, Hq, Dv] of q [n, Hq, D] over k [S, Hkv, D], v [S, Hkv, Dv], where `visible` [n, S]; sums in float32.

    `bias` [Hq, n, S] is added to the scores.
    """
    group = spec.num_heads // spec.num_kv_heads
    keys, values = k.float().repeat_interleave(group, 1), v.float().repeat_interleave(group, 1)  # [S, Hq, D], [S, Hq, Dv]
    scores = torch.einsum("thd,shd->hts", q.float(), keys) * spec.scale
    if spec.softcap is not None:
        scores = spec.softcap * torch.tanh(scores / spec.softcap)
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~visible, float("-inf"))
    if sinks is not None:
        scores = torch.cat((scores, sinks.float()[:, None, None].expand(-1, len(q), 1)), -1)
    weights = scores.softmax(-1)[..., : len(k)]
    return torch.einsum("hts,shd->thd", weights, values).to(q.dtype)


def _visible(span: Span, window: int | None, device: torch.device, mutual: tuple[tuple[int, int], ...]) -> Tensor:
    """Returns [num_new, S]: True where the new token of this row sees the position of that column."""
    position, key = _positions(span, device)
    visible = key <= position
    for first, end in mutual:
        if span.start <= first < span.start + span.num_new:
            moved = span.num_cached - span.start
            visible[first - span.start : end - span.start, first + moved : end + moved] = True
    return visible if window is None else visible & (key > position - window)


def _positions(span: Span, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the positions of the new tokens [num_new, 1] and of all [1, S]."""
    new, every = torch.arange(span.num_cached, span.num_tokens, device=device), torch.arange(span.num_tokens, device=device)
    return new[:, None], every[None]
