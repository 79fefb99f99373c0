"""Vectors of texts: embeddings, or the scores of a classification head."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from workbench.attention.base import AttentionBackend, StepContext
from workbench.attention.kv import KVStore
from workbench.attention.step import Span, StepTensors, as_tensor, last_slots
from workbench.checkpoint.pooling import Pooling
from workbench.engine.encode_call import PlannedText
from workbench.kernels.compiled import kernels
from workbench.model.base import Model
from workbench.types import EncodeRequest

BATCH_TOKENS = 4096
"""Most tokens of one forward pass, unless one text alone has more."""


class Encoder:
    """Computes vectors with the model of an engine that makes no text.

    It is no part of the scheduler. A text has one forward pass and no output to wait for, so it needs no queue and no stream:
    a call of `EngineCalls` answers a list of texts between two steps (`EncodeCall`), cut into batches of `BATCH_TOKENS` without
    padding. Callers join what waits (`api.encoding`).
    """

    def __init__(self, model: Model, kv: KVStore, attention: AttentionBackend, pooling: Pooling, page_size: int = 1) -> None:
        self.model = model
        self._kv = kv
        self._attention = attention
        self._pooling = pooling
        self._page_size = page_size
        self._numbers = itertools.count(1)
        self.width = model.num_labels or model.hidden_size
        self.keeps_kv = not model.is_encoder
        self.reuses = self.keeps_kv and pooling.pool == "last"

    @torch.inference_mode()
    def encode(self, texts: Sequence[PlannedText]) -> bytes:
        """Returns the vectors of one batch, float32. Texts have tokens of the vocabulary, and fit the context."""
        kernels.adopt()
        return self._vectors(texts).float().cpu().numpy().tobytes()

    def batches(self, texts: Sequence[EncodeRequest]) -> Iterator[list[EncodeRequest]]:
        """Yields the texts in order, in batches for `encode`."""
        most = min(BATCH_TOKENS, self._kv.num_slots) if self.keeps_kv else BATCH_TOKENS
        return batches(texts, most, self._page_size if self.keeps_kv else 1)

    def _vectors(self, texts: Sequence[PlannedText]) -> Tensor:
        """Returns [N, width] of a batch."""
        step, ends = self._step(texts)
        ctx = StepContext(step.positions, self._attention.prepare(step), in_second=self._in_second(texts))
        hidden = self.model(step.token_ids, ctx)
        pooled = torch.stack([self._pool(hidden[start:end]) for start, end in itertools.pairwise([0, *ends])])
        return self._normalised(self.model.scores(pooled.to(hidden.dtype)) if self.model.num_labels else pooled)

    def vector_of(self, hidden: Tensor) -> Tensor:
        """Returns the vector [H] of a text from the hidden states [n, H] of its tokens."""
        return self._normalised(self._pool(hidden))

    def _normalised(self, vectors: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1) if self._pooling.normalise else vectors

    def _pool(self, hidden: Tensor) -> Tensor:  # [n, H] -> [H]
        match self._pooling.pool:
            case "mean":
                return hidden.float().mean(0)
            case "cls":
                return hidden[0].float()
            case "last":
                return hidden[-1].float()

    def _step(self, texts: Sequence[PlannedText]) -> tuple[StepTensors, list[int]]:
        """Returns the tensors of a batch, and the end of each text's rows in them."""
        new = [text.request.input_ids[text.num_cached :] for text in texts]
        ends = list(itertools.accumulate(map(len, new)))
        spans = tuple(
            Span(next(self._numbers), end - len(ids), len(ids), len(text.request.input_ids), text.segments)
            for text, ids, end in zip(texts, new, ends, strict=True)
        )
        slots = [slot for span in spans for slot in last_slots(span, self._page_size)] if self.keeps_kv else []
        self._kv.num_touched = max(self._kv.num_touched, max(slots, default=-1) + 1)
        device = self._kv.device
        positions = [position for span in spans for position in range(span.num_cached, span.num_tokens)]
        return StepTensors(
            token_ids=as_tensor(list(itertools.chain.from_iterable(new)), device),
            positions=as_tensor(positions, device),
            slots=as_tensor(slots, device),
            spans=spans,
            page_size=self._page_size,
        ), ends

    def _in_second(self, texts: Sequence[PlannedText]) -> Tensor | None:
        """Returns [T], 1 for the tokens of the second text of a pair; None where the batch has no pair."""
        if all(text.request.second_from is None for text in texts):
            return None
        flags: list[int] = []
        for text in texts:
            size, second = len(text.request.input_ids), text.request.second_from
            flags += [int(second is not None and position >= second) for position in range(text.num_cached, size)]
        return as_tensor(flags, self._kv.device)


def batches(texts: Sequence[EncodeRequest], most_tokens: int, page_size: int = 1) -> Iterator[list[EncodeRequest]]:
    """Yields the texts in order, in lists of at most so many tokens, in whole pages; a longer text is alone."""
    batch: list[EncodeRequest] = []
    num_tokens = 0
    for text in texts:
        size = -(-len(text.input_ids) // page_size) * page_size
        if batch and num_tokens + size > most_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch.append(text)
        num_tokens += size
    if batch:
        yield batch
