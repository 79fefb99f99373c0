"""Vectors of texts: embeddings, or the scores of a classification head."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from workbench.attention.base import AttentionBackend, StepContext
from workbench.attention.kv import KVStore
from workbench.attention.step import Span, StepTensors, as_tensor
from workbench.checkpoint.pooling import Pooling
from workbench.kernels.compiled import kernels
from workbench.model.base import Model
from workbench.types import Segment

BATCH_TOKENS = 4096
"""Most tokens of one forward pass, unless one text alone has more."""


class Encoder:
    """Computes vectors with the model of an engine that makes no text.

    It is no part of the scheduler. A text has one forward pass, no output to wait for and nothing to reuse, so it needs no
    queue, no pages and no stream: a call of `EngineCalls` answers a list of texts between two steps (`EncodeCall`), cut into
    batches of `BATCH_TOKENS` without padding. Callers join what waits (`api.encoding`). A decoder writes its K/V to the first
    slots of the store, which no request uses here; an encoder has none.
    """

    def __init__(self, model: Model, kv: KVStore, attention: AttentionBackend, pooling: Pooling) -> None:
        self.model = model
        self._kv = kv
        self._attention = attention
        self._pooling = pooling
        self._numbers = itertools.count(1)
        self.width = model.num_labels or model.hidden_size

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Sequence[int]]) -> bytes:
        """Returns the vectors of one batch, float32. Prompts have tokens of the vocabulary, and fit the context."""
        kernels.adopt()
        return self._vectors(prompts).float().cpu().numpy().tobytes()

    def batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
        """Yields the prompts in order, in batches for `encode`."""
        return batches(prompts, BATCH_TOKENS if self.model.is_encoder else min(BATCH_TOKENS, self._kv.num_slots))

    def _vectors(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Returns [N, width] of a batch."""
        step = self._step(prompts)
        hidden = self.model(step.token_ids, StepContext(step.positions, self._attention.prepare(step)))
        pooled = torch.stack([self._pool(hidden[span.start : span.start + span.num_new]) for span in step.spans])
        vectors = self.model.scores(pooled.to(hidden.dtype)) if self.model.num_labels else pooled
        return torch.nn.functional.normalize(vectors, dim=-1) if self._pooling.normalise else vectors

    def _pool(self, hidden: Tensor) -> Tensor:  # [n, H] -> [H]
        match self._pooling.pool:
            case "mean":
                return hidden.float().mean(0)
            case "cls":
                return hidden[0].float()
            case "last":
                return hidden[-1].float()

    def _step(self, prompts: Sequence[Sequence[int]]) -> StepTensors:
        spans, start = [], 0
        for prompt in prompts:
            slots = Segment(0, tuple(range(start, start + len(prompt))))
            spans.append(Span(next(self._numbers), start, len(prompt), len(prompt), (slots,)))
            start += len(prompt)
        self._kv.num_touched = max(self._kv.num_touched, start)
        device = self._kv.device
        return StepTensors(
            token_ids=as_tensor([token for prompt in prompts for token in prompt], device),
            positions=as_tensor([position for prompt in prompts for position in range(len(prompt))], device),
            slots=as_tensor(list(range(start)), device),
            spans=tuple(spans),
            page_size=1,
        )


def batches(prompts: Sequence[Sequence[int]], most_tokens: int) -> Iterator[list[Sequence[int]]]:
    """Yields the prompts in order, in lists of at most so many tokens; a longer prompt is alone."""
    batch: list[Sequence[int]] = []
    num_tokens = 0
    for prompt in prompts:
        if batch and num_tokens + len(prompt) > most_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch.append(prompt)
        num_tokens += len(prompt)
    if batch:
        yield batch
