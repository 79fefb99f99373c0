"""Executes a step with a real model: plan -> flat tensors -> logits -> tokens."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from workbench.attention.base import AttentionBackend, StepContext
from workbench.attention.kv import KVStore
from workbench.attention.step import Span, StepTensors, as_tensor, last_slots
from workbench.engine.plan import PlannedSeq, Sampled, SampleRow, StepPlan, StepResult
from workbench.kernels.compiled import kernels
from workbench.model.base import CausalLM
from workbench.types import HiddenRows, TokenLogprob

ROWS_SCORED_AT_ONCE = 256


class TokenSampler(Protocol):
    def sample(self, logits: Tensor, rows: tuple[SampleRow, ...], *, detail: bool) -> tuple[Sampled, ...]: ...
    def score(
        self, logits: Tensor, ids: tuple[int, ...], top_logprobs_num: int, token_ids_logprob: tuple[int, ...]
    ) -> tuple[TokenLogprob, ...]: ...


class TorchRunner:
    def __init__(self, model: CausalLM, kv: KVStore, attention: AttentionBackend, sampler: TokenSampler) -> None:
        self.model = model
        self.kv = kv
        self.attention = attention
        self.sampler = sampler
        self.device = kv.device
        self.vocab_size = model.vocab_size

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        kernels.adopt()
        hidden = self.forward(step_tensors(plan, self.device, self.kv))
        starts = _starts(plan)
        scored = {
            seq.seq_id: self._score(hidden[start + seq.score_from :][: len(seq.score_ids)], seq)
            for seq, start in zip(plan.seqs, starts, strict=True)
            if seq.score_ids
        }
        shown = {
            seq.seq_id: _rows(hidden[start + seq.hidden_from : start + seq.num_new])
            for seq, start in zip(plan.seqs, starts, strict=True)
            if seq.hidden_from is not None
        }
        last = [(start + seq.num_new - 1, seq.sample) for seq, start in zip(plan.seqs, starts, strict=True) if seq.sample]
        if not last:
            return StepResult((), scored, shown)
        rows = [row for row, _ in last]
        picked = hidden if rows == list(range(len(hidden))) else hidden[as_tensor(rows, self.device)]
        sampled = self.sampler.sample(self.model.logits(picked), tuple(sample for _, sample in last), detail=plan.detail)
        return StepResult(sampled, scored, shown)

    def forward(self, step: StepTensors) -> Tensor:
        """Returns the hidden states of all new tokens [T, H]. Changes: their K/V is in the store afterwards."""
        hidden: Tensor = self.model(step.token_ids, StepContext(step.positions, self.attention.prepare(step)))
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
    )
