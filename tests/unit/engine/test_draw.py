"""Draws: the filters keep the tokens that a plain loop keeps, frequencies are the distribution's, a batch changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.engine.draw import MARGIN, TOP_P_WIDTH, _mix, draw, leaders, uniform
from workbench.types import SamplingParams


def draw_one(logits: torch.Tensor, params: SamplingParams, u: float) -> int:
    return draw(logits[None].clone(), logits.max()[None], [params], [u])[0]


def kept_by_plain_loop(logits: np.ndarray, params: SamplingParams) -> dict[int, float]:
    """Returns the probability of each token, by sorting and adding up in float64."""
    x = logits.astype(np.float32).astype(np.float64) / max(params.temperature, 1e-6)
    weights = np.exp(x - x.max())
    ranked = sorted(np.flatnonzero(weights), key=lambda i: (-logits[i], i))
    if params.top_k > 0:
        ranked = ranked[: params.top_k]
    total = sum(weights[i] for i in ranked)
    kept, mass = [], 0.0
    for i in ranked:
        kept.append(i)
        mass += weights[i]
        if params.top_p < 1 and mass >= params.top_p * total:
            break
    kept = [i for i in kept if weights[i] >= params.min_p * weights[ranked[0]]]
    total = sum(weights[i] for i in kept)
    return {int(i): weights[i] / total for i in kept}


FILTERS = [
    SamplingParams(),
    SamplingParams(temperature=0.3),
    SamplingParams(temperature=5.0, min_p=0.05),
    SamplingParams(top_k=7),
    SamplingParams(top_p=0.6),
    SamplingParams(top_k=40, top_p=0.8, temperature=1.7),
    SamplingParams(top_k=40, top_p=0.9, min_p=0.1),
    SamplingParams(top_p=0.999, min_p=0.001),
    SamplingParams(top_p=0.97, temperature=4.0),
]


@pytest.mark.parametrize("params", FILTERS, ids=str)
@pytest.mark.parametrize("vocab_size", [5, 128, 3000])
@pytest.mark.parametrize("step", [0.0, 0.25], ids=["distinct", "many equal logits"])
def test_every_draw_is_the_token_that_a_plain_loop_finds(params: SamplingParams, vocab_size: int, step: float) -> None:
    noise = np.random.default_rng(vocab_size)
    logits = noise.normal(size=vocab_size).astype(np.float32) * 2
    if step:
        logits = np.round(logits / step) * np.float32(step)
    kept = kept_by_plain_loop(logits, params)
    ids = sorted(kept)
    ends = np.cumsum([kept[i] for i in ids])
    for u in noise.random(200):
        if np.abs(ends - u).min() > 1e-6:  # elsewhere rounding may decide
            assert draw_one(torch.tensor(logits), params, u) == ids[int(np.searchsorted(ends, u, side="right"))]
    assert draw_one(torch.tensor(logits), params, 0.0) == ids[0]
    assert draw_one(torch.tensor(logits), params, 1 - 2**-53) == ids[-1]


def test_a_nucleus_wider_than_the_first_look_is_whole() -> None:
    vocab_size = 20 * (TOP_P_WIDTH + MARGIN)
    logits = torch.zeros(vocab_size)  # all equal: top_p 0.5 keeps the lower half of the ids
    half = SamplingParams(top_p=0.5)
    assert draw_one(logits, half, 0.0) == 0
    assert draw_one(logits, half, 1 - 2**-53) == vocab_size // 2 - 1


def number_where_the_draw_changes(logits: torch.Tensor, params: SamplingParams) -> float:
    """Returns the least number whose token differs from that of 0, to the last bit."""
    low, high, first = 0.0, 1 - 2**-53, draw_one(logits, params, 0.0)
    while (middle := (low + high) / 2) not in (low, high):
        if draw_one(logits, params, middle) == first:
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize("params", FILTERS, ids=str)
@pytest.mark.parametrize("row", [0, 5])
def test_a_batch_changes_no_draw_not_even_by_rounding(params: SamplingParams, row: int) -> None:
    torch.manual_seed(row)
    logits = (torch.randn(9, 5000) * 3).bfloat16().float()
    others = [FILTERS[i % len(FILTERS)] for i in range(9)]
    edge = number_where_the_draw_changes(logits[row], params)
    for u in (edge, np.nextafter(edge, 0), 0.5):
        alone = draw_one(logits[row], params, u)
        for batch in ([params] * 9, [*others[:row], params, *others[row + 1 :]]):
            assert draw(logits.clone(), logits.amax(-1), batch, [u] * 9)[row] == alone


def test_frequencies_are_the_distributions_own() -> None:
    """Chi-square over 10 tokens and 20,000 draws; 27.9 is exceeded once in a thousand seeds. The seeds are fixed."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 0.5, 3.0, -2.0, 1.5, -torch.inf])
    num = 20_000
    drawn = draw(
        logits.repeat(num, 1),
        torch.full((num,), 3.0),
        [SamplingParams(temperature=1.3)] * num,
        [uniform(7, i) for i in range(num)],
    )
    expected = torch.softmax(logits / 1.3, -1) * num
    counts = torch.bincount(torch.tensor(drawn), minlength=10)
    assert counts[9] == 0
    chi_square = ((counts[:9] - expected[:9]) ** 2 / expected[:9]).sum()
    reference = torch.bincount(
        torch.multinomial(expected / num, num, replacement=True, generator=torch.Generator().manual_seed(0)), minlength=10
    )
    assert chi_square < 27.9
    assert ((reference[:9] - expected[:9]) ** 2 / expected[:9]).sum() < 27.9, "the measure itself accepts torch.multinomial"


def test_uniforms_are_fixed_numbers_spread_evenly() -> None:
    assert uniform(0, 0) == uniform(0, 0)
    assert len({uniform(seed, position) for seed in range(100) for position in range(100)}) == 10_000
    numbers = np.array([uniform(seed, position) for seed in range(-50, 50) for position in range(100)])
    assert 0 <= numbers.min() < numbers.max() < 1
    assert np.histogram(numbers, bins=20, range=(0, 1))[0].min() > 400
    neighbours = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
    assert abs(neighbours) < 0.03
    assert uniform(2**70 + 1, 5) != uniform(2, 5)


def test_uniforms_never_change_between_versions_and_machines() -> None:
    assert _mix(0) == 0xE220A8397B1DCDAF, "the first number of SplitMix64 from state 0, as published"
    assert [uniform(42, i) for i in range(3)] == [0.34329192209867343, 0.9504380907279257, 0.4465878737451613]


@pytest.mark.parametrize("temperature", [1e-320, 1e-6, 1e6])
def test_extreme_temperatures(temperature: float) -> None:
    logits = torch.tensor([1.0, 5.0, 5.0, -3e38, 2.0])
    drawn = {draw_one(logits, SamplingParams(temperature=temperature), uniform(1, i)) for i in range(200)}
    assert drawn == ({1, 2} if temperature < 1 else {0, 1, 2, 4})


@settings(max_examples=200)
@given(st.data())
def test_leaders_are_the_first_of_a_stable_sort(data: st.DataObject) -> None:
    vocab_size = data.draw(st.sampled_from([3, 100, 1000]))
    levels = data.draw(st.sampled_from([2, 30, 10_000]))
    x = torch.tensor(
        np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, levels, (3, vocab_size)), dtype=torch.float32
    )
    x[x == 0] = -torch.inf
    k = data.draw(st.integers(1, 120))
    values, ids = leaders(x, k)
    expected = x.sort(descending=True, stable=True)
    assert np.array_equal(values, expected.values[:, :k].numpy())
    finite = values > -np.inf
    assert np.array_equal(ids[finite], expected.indices[:, :k].numpy()[finite])
