"""Attention of an encoder: each token sees its whole sequence, which is computed in one step. Nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.attention.base import Own
from workbench.attention.merge import ROWS_AT_ONCE, attend, cap_, fold, unfold
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors


class EncoderAttention:
    """The backend of models that read whole texts. It has no K/V store, and its steps need no slots."""

    def prepare(self, step: StepTensors) -> EncoderStep:
        assert all(not span.num_cached for span in step.spans), "an encoder's sequence is computed in one step"
        return EncoderStep(step.spans)


@dataclass(frozen=True, slots=True)
class EncoderStep:
    spans: tuple[Span, ...]

    def attend(self, spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None) -> Tensor:
        assert sinks is None, "no encoder has sinks"
        out = q.new_empty(*q.shape[:2], spec.v_head_size)
        for span in self.spans:
            rows = slice(span.start, span.start + span.num_new)
            part = q[rows], k[rows], v[rows]
            is_near = spec.window is not None and span.num_new > spec.window
            out[rows] = _by_distance(*part, spec) if is_near or spec.bias is not None else attend(*part, spec).out
        return out

    def attend_alone(self, spec: AttentionSpec, k: Tensor, v: Tensor, own: Callable[[], Own]) -> Tensor | None:
        return None


def _by_distance(q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec) -> Tensor:
    """Returns [n, Hq, Dv] of one sequence whose tokens see only neighbours, or have scores with a bias by position.

    A block of rows reads the columns that it sees.
    """
    length, group = len(q), spec.num_heads // spec.num_kv_heads
    reach = length if spec.window is None else spec.window - 1
    parts = []
    for start in range(0, length, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, length)
        first, last = max(0, start - reach), min(end + reach, length)
        keys, values = (x[first:last].transpose(0, 1) for x in (k, v))  # [Hkv, S, D], [Hkv, S, Dv]
        scores = torch.bmm(fold(q[None, start:end], spec.num_kv_heads), keys.transpose(1, 2))  # [Hkv, n * G, S]
        scores.mul_(cap_(scores, spec))
        row = torch.arange(start, end, device=q.device)[:, None]
        column = torch.arange(first, last, device=q.device)[None, :]
        if spec.bias is not None:
            bias = spec.bias(row, column)  # [Hq, n, S]
            scores = scores + fold(bias.permute(1, 0, 2)[None], spec.num_kv_heads)
        scores.masked_fill_(((row - column).abs() > reach).repeat_interleave(group, 0), float("-inf"))
        parts.append(unfold(torch.bmm(scores.softmax(-1).to(values.dtype), values), 1, spec.num_heads))
    return torch.cat(parts)
