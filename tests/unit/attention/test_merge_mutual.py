"""Rows that see each other in both directions: both backends equal attention with the mask written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.attention.registry import BACKENDS, create_backend, create_store
from workbench.attention.spec import AttentionSpec
from workbench.attention.step import Span, StepTensors
from workbench.kernels import ops
from workbench.types import Segment

HQ, HKV = 4, 2
SPANS = (Span(0, 0, 20, 20, (Segment(0, tuple(range(20))),)), Span(1, 20, 12, 30, (Segment(0, tuple(range(40, 70))),)),
         Span(2, 32, 1, 9, (Segment(0, tuple(range(80, 89))),)))  # fmt: skip
MUTUAL = ((2, 7), (8, 20), (20, 25))
"""Two runs of the first sequence; the last is what a cached prefix left of a picture that begins before its new rows."""


def written_out(spec: AttentionSpec, q: Tensor, stored: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Returns attention by a softmax over all columns with a mask made cell by cell."""
    parts = []
    for span, (k, v) in zip(SPANS, stored, strict=True):
        seen = torch.zeros(span.num_new, span.num_tokens, dtype=torch.bool)
        for row in range(span.num_new):
            for column in range(span.num_tokens):
                own, at = span.num_cached + row, span.start - span.num_cached
                together = any(first <= own + at < end and first <= column + at < end for first, end in MUTUAL)
                near = spec.window is None or column > own - spec.window
                seen[row, column] = near and (column <= own or together)
        keys, values = (x.repeat_interleave(HQ // HKV, 1) for x in (k, v))
        scores = torch.einsum("thd,shd->hts", q[span.start : span.start + span.num_new], keys) * spec.scale
        if spec.softcap is not None:
            scores = spec.softcap * torch.tanh(scores / spec.softcap)
        parts.append(torch.einsum("hts,shd->thd", scores.masked_fill(~seen, float("-inf")).softmax(-1), values))
    return torch.cat(parts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (4, 2.0)])
def test_rows_of_a_run_see_those_behind_them(backend: str, size: int, window: int | None, softcap: float | None):
    spec = AttentionSpec(
        layer=0,
        num_heads=HQ,
        num_kv_heads=HKV,
        head_size=size,
        v_head_size=size,
        scale=size**-0.5,
        window=window,
        softcap=softcap,
    )
    torch.manual_seed(0)
    store = create_store([spec], 100, torch.float32, torch.device("cpu"))
    store.write(0, torch.arange(100), torch.randn(100, HKV, size), torch.randn(100, HKV, size))
    q, k, v = (torch.randn(33, heads, size) for heads in (HQ, HKV, HKV))
    slots = torch.tensor([*range(20), *range(58, 70), 88])
    ids = torch.zeros(33, dtype=torch.int64)
    step = create_backend(backend, store).prepare(StepTensors(ids, ids, slots, SPANS, 1, mutual=MUTUAL))
    got = step.attend(spec, q, k, v)
    stored = [store.read(0, torch.tensor([page for segment in span.segments for page in segment.pages])) for span in SPANS]
    torch.testing.assert_close(got, written_out(spec, q, stored), rtol=1e-5, atol=1e-5)


def test_the_same_without_compiled_operations(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "compiled", lambda *_: None)
    test_rows_of_a_run_see_those_behind_them("torch", 64, None, None)
