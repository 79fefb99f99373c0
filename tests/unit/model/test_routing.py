"""The choice of experts, beside a plain loop over rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.phimoe.modeling_phimoe import sparsemixer

from workbench.errors import ModelCorrupt
from workbench.model.routing import SparseMixer, TopK

LOGITS = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * 2
CORRECTION = torch.randn(12, generator=torch.Generator().manual_seed(1))


def by_hand(logits: Tensor, how: TopK, correction: Tensor | None) -> list[dict[int, float]]:
    """Returns the weight of each chosen expert, row by row."""
    found = []
    for row in logits:
        row = how.softcap * torch.tanh(row / how.softcap) if how.softcap else row
        scores = row.softmax(0) if how.score == "softmax" else row.sigmoid()
        ranked = scores if correction is None else scores + correction
        size = len(row) // how.num_groups
        groups = {
            group: sum(sorted(ranked[group * size : (group + 1) * size].tolist())[-how.best_of_group :])
            for group in range(how.num_groups)
        }
        allowed = sorted(groups, key=lambda group: groups[group])[-how.top_groups :]
        experts = sorted((i for i in range(len(row)) if i // size in allowed), key=lambda i: float(ranked[i]))[-how.top_k :]
        weights = {i: float(scores[i]) for i in experts}
        whole = sum(weight**how.norm for weight in weights.values()) ** (1 / how.norm) if how.norm else 1.0
        found.append({i: weight / whole * how.scale for i, weight in weights.items()})
    return found


@pytest.mark.parametrize(
    "how",
    [
        TopK(top_k=2),
        TopK(top_k=3, norm=1),
        TopK(top_k=3, norm=2),
        TopK(top_k=2, softcap=1.5),
        TopK(top_k=4, num_groups=4, top_groups=2),
        TopK(top_k=4, score="sigmoid", norm=1, scale=2.5, num_groups=3, top_groups=2, best_of_group=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("correction", [None, CORRECTION], ids=["plain", "corrected"])
def test_each_row_takes_its_best_experts(how: TopK, correction: Tensor | None):
    choice = how(LOGITS, correction)
    for experts, weights, want in zip(
        choice.experts.tolist(), choice.weights.tolist(), by_hand(LOGITS, how, correction), strict=True
    ):
        assert dict(zip(experts, weights, strict=True)) == pytest.approx(want, rel=1e-5)


def test_a_correction_chooses_and_does_not_weigh():
    lifted = torch.zeros(12)
    lifted[5] = 100
    choice = TopK(top_k=2, score="sigmoid")(LOGITS, lifted)
    assert (choice.experts[:, 0] == 5).all()
    torch.testing.assert_close(choice.weights[:, 0], LOGITS[:, 5].sigmoid())


def test_the_sparse_mixer_is_that_of_transformers():
    close = LOGITS.clone()
    close[::2, 1] = close[::2].max(-1).values * 0.995  # within the band
    weights, experts = sparsemixer(close, 0.01, training=False)
    choice = SparseMixer()(close)
    assert torch.equal(choice.experts, experts)
    torch.testing.assert_close(choice.weights, weights)
    assert (choice.weights < 0.99).any(), "no two logits were close"


def test_a_row_does_not_depend_on_the_others():
    whole = TopK(top_k=3, norm=1)(LOGITS)
    for i in range(len(LOGITS)):
        alone = TopK(top_k=3, norm=1)(LOGITS[i : i + 1])
        assert torch.equal(alone.experts[0], whole.experts[i])
        assert torch.equal(alone.weights[0], whole.weights[i])


@pytest.mark.parametrize(
    "how, says",
    [
        (TopK(top_k=13), "13 experts for each token, and 12 to choose from"),
        (TopK(top_k=0), "0 experts for each token"),
        (TopK(top_k=4, num_groups=5, top_groups=2), "12 experts in 5 groups"),
        (TopK(top_k=2, num_groups=4, top_groups=5), "of which a token takes 5"),
        (TopK(top_k=7, num_groups=4, top_groups=2), "7 experts for each token, and 6 to choose from"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(how: TopK, says: str):
    with pytest.raises(ModelCorrupt, match=says):
        how.check(12)
