"""Token detail equals a plain softmax in float64 over the logits of the model, and a scan of the mask."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.engine.detail import NUM_ALTERNATIVES
from workbench.engine.plan import SampleRow
from workbench.engine.sampler import Sampler
from workbench.events import TokenDetail
from workbench.testing import AllowTokens, BrokenMatcher
from workbench.types import SamplingParams

GREEDY = SamplingParams(temperature=0)


def row(params: SamplingParams = GREEDY, **more: Any) -> SampleRow:
    return SampleRow(**{"params": params, "seed": 1, "position": 0, **more})


def plain(logits: Tensor, drawn: int, allowed: tuple[int, ...] | None) -> dict[str, Any]:
    """Returns the same facts, computed one row at a time."""
    values = logits.double().tolist()
    peak = max(values)
    weights = [math.exp(value - peak) for value in values]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    facts: dict[str, Any] = {
        "probability": shares[drawn],
        "rank": 1 + sum(value > values[drawn] for value in values),
        "entropy": -sum(share * math.log(share) for share in shares if share > 0),
        "before": [(i, shares[i]) for i in order[:NUM_ALTERNATIVES] if shares[i] > 0],
        "after": [],
        "removed": 0.0,
        "overruled": False,
    }
    if allowed is not None:
        left = sum(shares[i] for i in allowed)
        kept = [i for i in order if i in allowed][:NUM_ALTERNATIVES]
        facts["after"] = [(i, shares[i] / left) for i in kept if shares[i] / left > 0]
        facts["removed"] = sum(share for i, share in enumerate(shares) if i not in allowed)
        facts["overruled"] = values[kept[0]] < peak
    return facts


def check(detail: TokenDetail | None, wanted: dict[str, Any]) -> None:
    assert detail is not None
    for name in ("probability", "entropy", "removed"):
        assert getattr(detail, name) == pytest.approx(wanted[name], rel=1e-4, abs=2e-5), name
    assert (detail.rank, detail.overruled) == (wanted["rank"], wanted["overruled"])
    for name in ("before", "after"):
        told, other = getattr(detail, name), wanted[name]
        assert [token for token, _ in told] == [token for token, _ in other], name
        assert [share for _, share in told] == pytest.approx([share for _, share in other], rel=1e-4), name
    assert detail.cost_s > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab_size", [3, 64, 1000, 4096])
@pytest.mark.parametrize("which", ["free", "constrained", "mixed"])
def test_detail_equals_a_plain_softmax_and_a_scan_of_the_mask(vocab_size: int, which: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(vocab_size)
    logits = (torch.randn(9, vocab_size, generator=generator) * 4).to(dtype)
    few, most = (vocab_size - 1,), tuple(range(1, vocab_size))
    allowed = [None if which == "free" or (which == "mixed" and i % 2) else (few, most)[i % 3 > 0] for i in range(9)]
    drawn_at = SamplingParams(temperature=1.3)
    rows = [
        row(GREEDY if i % 4 else drawn_at, seed=i, matcher=None if ids is None else AllowTokens(*ids))
        for i, ids in enumerate(allowed)
    ]
    sampled = Sampler(vocab_size).sample(logits.clone(), rows, detail=True)
    for one, given, ids in zip(sampled, logits.float(), allowed, strict=True):
        assert one.detail is not None
        assert one.detail.drawn == one.token_id
        check(one.detail, plain(given, one.token_id, ids))
        assert one.num_allowed == (None if ids is None else len(ids))  # in every bit of a word


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(temperature=0.8), SamplingParams(top_k=5)])
def test_the_tokens_are_the_same_with_and_without_detail(params: SamplingParams) -> None:
    logits = torch.randn(6, 640, generator=torch.Generator().manual_seed(5)) * 3
    rows = [
        row(params, seed=i, matcher=AllowTokens(*range(i, 640, 7)) if i % 2 else None, return_logprob=i == 3) for i in range(6)
    ]
    off = Sampler(640).sample(logits.clone(), rows)
    on = Sampler(640).sample(logits.clone(), rows, detail=True)
    assert [(s.token_id, s.num_allowed, s.logprob) for s in on] == [(s.token_id, s.num_allowed, s.logprob) for s in off]
    assert all(s.detail is None for s in off)


def test_edits_other_than_the_mask_are_not_the_models_opinion() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    edits = SamplingParams(temperature=0, logit_bias={0: 100.0}, repetition_penalty=2.0)
    (one,) = Sampler(4).sample(logits.clone(), [row(edits, suppress=(2,), prompt_ids=(1,))], detail=True)
    assert one.token_id == 0
    check(one.detail, plain(logits[0], 0, None))


def test_equals_at_the_top_do_not_count_as_overruled_where_one_of_them_is_allowed() -> None:
    logits = -torch.arange(200.0)[None] / 1000
    logits[0, [3, 150]] = 5.0
    (one,) = Sampler(200).sample(logits.clone(), [row(matcher=AllowTokens(150, 7))], detail=True)
    assert one.token_id == 150
    check(one.detail, plain(logits[0], 150, (150, 7)))
    assert one.detail is not None
    assert not one.detail.overruled


def test_what_is_not_finite_counts_as_never_or_as_certain() -> None:
    logits = torch.tensor([[1.0, math.nan, 3.0, -math.inf], [0.0, math.inf, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    first, second, third = (s.detail for s in Sampler(4, detect_nan=True).sample(logits, [row(), row(), row()], detail=True))
    assert first is not None
    assert second is not None
    assert third is not None
    assert [token for token, _ in first.before] == [2, 0]
    assert first.probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert (second.drawn, second.probability, second.entropy) == (1, 1.0, 0.0)
    assert third.probability == pytest.approx(1 / sum(math.exp(-i) for i in range(4)))


def test_a_row_without_a_token_has_no_detail_and_the_others_have_theirs() -> None:
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(1))
    rows = [row(matcher=BrokenMatcher()), row(), row(matcher=AllowTokens())]
    first, second, third = Sampler(100).sample(logits.clone(), rows, detail=True)
    assert first.error
    assert first.detail is None
    assert third.error
    assert third.detail is None
    check(second.detail, plain(logits[1], second.token_id, None))


def test_a_mask_that_leaves_what_the_model_thinks_impossible_still_tells_shares() -> None:
    logits = torch.zeros(1, 300)
    logits[0, 5] = 200.0
    (one,) = Sampler(300).sample(logits.clone(), [row(matcher=AllowTokens(1, 2))], detail=True)
    assert one.detail is not None
    assert one.detail.after == ((1, pytest.approx(0.5)), (2, pytest.approx(0.5)))
    assert (one.detail.removed, one.detail.overruled) == (1.0, True)
