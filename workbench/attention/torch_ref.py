"""The oracle: attention one sequence at a time, by gathering its K/V and writing the softmax out. Slow, any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.kv import KVStore
from workbench.attention.step import Span, StepTensors, as_tensor, slots_of


@dataclass(frozen=True, slots=True)
class RefPlan:
    new_slots: Tensor  # [T]
    contexts: list[tuple[Span, Tensor]]  # span, slots of its whole context [S]


class ReferenceAttention:
    def __init__(self, kv: KVStore) -> None:
        self.kv = kv

    def prepare(self, step: StepTensors) -> RefPlan:
        device = step.slots.device
        contexts = [(span, as_tensor(slots_of(span.segments, step.page_size, span.num_tokens), device)) for span in step.spans]
        return RefPlan(step.slots, contexts)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, plan: RefPlan, *, scale: float,
        window: int | None = None, softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        self.kv.write(layer, plan.new_slots, k, v)
        return self.read(layer, q, plan, scale=scale, window=window, softcap=softcap)

    def read(
        self, layer: int, q: Tensor, plan: RefPlan, *, scale: float, window: int | None = None, softcap: float | None = None
    ) -> Tensor:
        """Attention over K/V that are already written."""
        out = torch.empty_like(q)
        for span, slots in plan.contexts:
            rows = slice(span.start, span.start + span.num_new)
            keys, values = self.kv.k[layer][slots].float(), self.kv.v[layer][slots].float()  # [S, Hkv, D]
            group = q.shape[1] // keys.shape[1]
            keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)  # [S, Hq, D]
            scores = torch.einsum("thd,shd->hts", q[rows].float(), keys) * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            visible = _visible(span, window, q.device)
            weights = scores.masked_fill(~visible, float("-inf")).softmax(-1)
            out[rows] = torch.einsum("hts,shd->thd", weights, values).to(q.dtype)
        return out


def _visible(span: Span, window: int | None, device: torch.device) -> Tensor:
    """[num_new, S]: may the new token at this row see that position?"""
    position = torch.arange(span.num_cached, span.num_tokens, device=device)[:, None]
    key = torch.arange(span.num_tokens, device=device)[None, :]
    visible = key <= position
    return visible if window is None else visible & (key > position - window)
