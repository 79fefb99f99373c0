"""Executes a step with a real model: plan -> flat tensors -> logits -> tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from workbench.attention.base import AttentionBackend, StepContext
from workbench.attention.kv import KVStore
from workbench.attention.step import Given, Span, StepTensors, as_tensor, last_slots
from workbench.engine.crossing import crossed_in
from workbench.engine.features import Features
from workbench.engine.plan import PlannedSeq, Sampled, SampleRow, SeqResult, StepPlan, StepResult, accepted
from workbench.kernels.compiled import kernels
from workbench.model.base import Model
from workbench.types import HiddenRows, Picture, TokenLogprob

ROWS_SCORED_AT_ONCE = 256


class TokenSampler(Protocol):
    def sample(self, logits: Tensor, rows: tuple[SampleRow, ...], *, detail: bool) -> tuple[Sampled, ...]: ...
    def score(
        self, logits: Tensor, ids: tuple[int, ...], top_logprobs_num: int, token_ids_logprob: tuple[int, ...]
    ) -> tuple[TokenLogprob, ...]: ...


class TorchRunner:
    def __init__(self, model: Model, kv: KVStore, attention: AttentionBackend, sampler: TokenSampler) -> None:
        self.model = model
        self.kv = kv
        self.attention = attention
        self.sampler = sampler
        self.device = kv.device
        self.vocab_size = model.vocab_size
        self.features = Features()

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        kernels.adopt()
        hidden = self.forward(self.tensors(plan))
        starts = _starts(plan)
        drawn = self._draw(hidden, plan, starts)
        return StepResult(
            tuple(self._result(hidden[start : start + seq.num_new], seq, drawn[i])
                  for i, (seq, start) in enumerate(zip(plan.seqs, starts, strict=True)))
        )  # fmt: skip

    def tensors(self, plan: StepPlan) -> StepTensors:
        """Returns the plan as tensors, with the vectors of its pictures."""
        step = step_tensors(plan, self.device, self.kv)
        if not any(seq.pictures or seq.input_embeds for seq in plan.seqs):
            return step

        self.features.held = plan.looked_at

        def see(picture: Picture) -> Tensor:
            return self.features.of(self.model, picture, self.device)

        return replace(step, given=_given(plan, self.device, see), crossed=crossed_in(plan, self.device, see))

    def _draw(self, hidden: Tensor, plan: StepPlan, starts: list[int]) -> list[tuple[Sampled, ...]]:
        """Returns the accepted draws of each sequence; all rows are sampled together."""
        rows = [row for seq in plan.seqs for row in seq.rows]
        if not rows:
            return [()] * len(plan.seqs)
        ends = [(start + seq.num_new, len(seq.rows)) for seq, start in zip(plan.seqs, starts, strict=True)]
        at = [position for end, num_rows in ends for position in range(end - num_rows, end)]
        picked = hidden if len(at) == len(hidden) else hidden[as_tensor(at, self.device)]
        sampled = iter(self.sampler.sample(self.model.logits(picked), tuple(rows), detail=plan.detail))
        return [accepted(seq, tuple(islice(sampled, len(seq.rows)))) for seq in plan.seqs]

    def _result(self, hidden: Tensor, seq: PlannedSeq, drawn: tuple[Sampled, ...]) -> SeqResult:
        """Returns the draws with what else was asked for of the sequence's own hidden states [num_new, H]."""
        scored = self._score(hidden[seq.score_from :][: len(seq.score_ids)], seq) if seq.score_ids else ()
        return SeqResult(drawn, scored, None if seq.hidden_from is None else _rows(hidden[seq.hidden_from :]))

    def forward(self, step: StepTensors) -> Tensor:
        """Returns the hidden states of all new tokens [T, H]. Changes: their K/V is in the store afterwards."""
        attention = self.attention.prepare(step)
        ctx = StepContext(step.positions, attention, step.given, step.axes, crossed=step.crossed, adapted=step.adapted)
        hidden: Tensor = self.model(step.token_ids, ctx)
        return hidden

    def _score(self, hidden: Tensor, seq: PlannedSeq) -> tuple[TokenLogprob, ...]:
        """Returns the log-probabilities of the forced tokens. Works in parts: the logits of a long prompt would not fit."""
        scores: list[TokenLogprob] = []
        for at in range(0, len(seq.score_ids), ROWS_SCORED_AT_ONCE):
            part = slice(at, at + ROWS_SCORED_AT_ONCE)
            logits = self.model.logits(hidden[part])
            scores += self.sampler.score(logits, seq.score_ids[part], seq.top_logprobs_num, seq.token_ids_logprob)
        return tuple(scores)


def _rows(hidden: Tensor) -> HiddenRows:
    """Returns hidden states [N, H] in the form of a message."""
    return HiddenRows(hidden.float().cpu().numpy().tobytes(), hidden.shape[-1])


def _starts(plan: StepPlan) -> list[int]:
    starts, total = [], 0
    for seq in plan.seqs:
        starts.append(total)
        total += seq.num_new
    return starts


def step_tensors(plan: StepPlan, device: torch.device, kv: KVStore) -> StepTensors:
    """Returns the plan as tensors: all new tokens of all sequences in one flat batch [T], in plan order.

    Changes: the store's count of touched slots.
    """
    spans = tuple(
        Span(seq.seq_id, start, seq.num_new, seq.num_tokens, seq.segments)
        for seq, start in zip(plan.seqs, _starts(plan), strict=True)
    )
    slots = [slot for span in spans for slot in last_slots(span, plan.page_size)]
    kv.num_touched = max(kv.num_touched, max(slots) + 1)
    return StepTensors(
        token_ids=as_tensor([token for seq in plan.seqs for token in seq.token_ids], device),
        positions=as_tensor([position for span in spans for position in range(span.num_cached, span.num_tokens)], device),
        slots=as_tensor(slots, device),
        spans=spans,
        page_size=plan.page_size,
        axes=_axes(plan, device),
        mutual=_mutual(plan),
        adapted=_adapted(plan, device),
    )


def _given(plan: StepPlan, device: torch.device, see: Callable[[Picture], Tensor]) -> Given | None:
    """Returns the vectors that stand for new tokens of the step: embeddings, and of pictures those that `see` makes. None where
    all are tokens of the vocabulary."""
    rows: list[int] = []
    parts: list[Tensor] = []
    for seq, start in zip(plan.seqs, _starts(plan), strict=True):
        if seq.input_embeds is not None:
            whole = torch.frombuffer(bytearray(seq.input_embeds.data), dtype=torch.float32).view(-1, seq.input_embeds.width)
            parts.append(whole[seq.num_cached : seq.num_tokens].to(device))
            rows += range(start, start + len(parts[-1]))
        for picture in (one for one in seq.pictures if not one.is_crossed):
            places, numbers = picture.rows(seq.num_cached, seq.num_tokens)
            if places:
                parts.append(see(picture)[as_tensor(numbers, device)])
                rows += [start + place - seq.num_cached for place in places]
    return Given(as_tensor(rows, device), torch.cat(parts)) if rows else None


def _adapted(plan: StepPlan, device: torch.device) -> Tensor | None:
    """Returns the rows of sequences that adapted weights compute; None where there are none."""
    starts = zip(plan.seqs, _starts(plan), strict=True)
    rows = [row for seq, start in starts if seq.is_adapted for row in range(start, start + seq.num_new)]
    return as_tensor(rows, device) if rows else None


def _mutual(plan: StepPlan) -> tuple[tuple[int, int], ...]:
    """Returns the runs of rows that see each other in both directions: new tokens of a picture that is seen as a whole."""
    found: list[tuple[int, int]] = []
    for seq, start in zip(plan.seqs, _starts(plan), strict=True):
        moved = start - seq.num_cached
        for first, count in (run for picture in seq.pictures if picture.is_whole for run in picture.places):
            low, high = max(first, seq.num_cached), min(first + count, seq.num_tokens)
            found += [(low + moved, high + moved)] if high - low > 1 else []
    return tuple(found)


def _axes(plan: StepPlan, device: torch.device) -> Tensor | None:
    """Returns the rotary positions of all new tokens [3, T]; None where all are those of the tokens in their texts."""
    if all(seq.axes is None for seq in plan.seqs):
        return None
    parts = [_axes_of(seq) for seq in plan.seqs]
    return torch.cat(parts, 1).to(device)


def _axes_of(seq: PlannedSeq) -> Tensor:
    if seq.axes is None:
        return torch.arange(seq.num_cached, seq.num_tokens).expand(3, -1)
    prompt = torch.frombuffer(bytearray(seq.axes.data), dtype=torch.int32).view(3, -1)
    num_prompt = prompt.shape[1]
    behind = torch.arange(max(seq.num_cached, num_prompt), max(seq.num_tokens, num_prompt)) - num_prompt + seq.axes.next
    return torch.cat((prompt[:, seq.num_cached : seq.num_tokens].long(), behind.expand(3, -1)), 1)
