"""Frequencies equal those of transformers; a part of a head, and neighbours, are turned as by a plain loop over pairs."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import transformers
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from workbench.errors import ModelCorrupt
from workbench.model import decoder
from workbench.model.rope import Rope
from workbench.model.rotary import Rotary, frequencies, rotate_part
from workbench.model.rows import neighbours_of

SHORT, LONG = [1.0, 1.1, 1.2, 1.3], [2.0, 3.0, 5.0, 8.0]
TRAINED = {"short_factor": SHORT, "long_factor": LONG, "original_max_position_embeddings": 64}
CASES: list[tuple[dict[str, Any], int]] = [
    ({"rope_type": "dynamic", "factor": 4.0}, 100),
    ({"rope_type": "dynamic", "factor": 4.0}, 512),
    ({"rope_type": "dynamic", "factor": 4.0}, 1500),
    ({"rope_type": "longrope", **TRAINED}, 64),
    ({"rope_type": "longrope", **TRAINED}, 65),
    ({"rope_type": "longrope", "factor": 4.0, **TRAINED}, 512),
    ({"rope_type": "longrope", "attention_factor": 1.5, **TRAINED}, 512),
]


@pytest.mark.parametrize("described, longest", CASES, ids=[f"{case['rope_type']}-{longest}" for case, longest in CASES])
def test_frequencies_for_the_longest_text_equal_those_of_transformers(described: dict[str, Any], longest: int):
    described = described | {"rope_theta": 500.0, "partial_rotary_factor": 0.5}
    config = transformers.LlamaConfig(head_dim=16, max_position_embeddings=512, rope_parameters=dict(described))
    expected, scale = ROPE_INIT_FUNCTIONS[described["rope_type"]](config, torch.device("cpu"), seq_len=longest)
    got, got_scale = frequencies(16, Rope.make(500.0, described), 512, longest)
    torch.testing.assert_close(got, expected)
    assert math.isclose(got_scale, scale)


def test_factors_for_another_number_of_frequencies_are_refused():
    rope = Rope.make(500.0, {"rope_type": "longrope", **TRAINED})
    with pytest.raises(ModelCorrupt, match="4 factors of longrope for 8 frequencies"):
        frequencies(16, rope, 512)


def turned(x: Tensor, pairs: list[tuple[int, int]], position: int, theta: float) -> Tensor:
    """Returns one head, pair i of whose numbers is turned by position / theta ^ (i / number of pairs)."""
    out = x.clone()
    for i, (one, two) in enumerate(pairs):
        angle = position * theta ** (-i / len(pairs))
        out[one] = x[one] * math.cos(angle) - x[two] * math.sin(angle)
        out[two] = x[two] * math.cos(angle) + x[one] * math.sin(angle)
    return out


HEADS = torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(0))
POSITIONS = torch.tensor([0, 1, 7, 100, 5000])


def turn_of(part: float) -> Any:
    rope = Rope.make(500.0, {"partial_rotary_factor": part})
    return Rotary(16, rope, 512, dtype=torch.float32, device=torch.device("cpu")).at(POSITIONS)


@pytest.mark.parametrize("size", [16, 8])
def test_the_first_numbers_of_each_head_are_turned_and_the_others_stay(size: int):
    pairs = [(i, i + size // 2) for i in range(size // 2)]
    expected = torch.stack([
        torch.stack([turned(head, pairs, int(position), 500.0) for head in heads])
        for heads, position in zip(HEADS, POSITIONS, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(rotate_part(HEADS, turn_of(size / 16)), expected, rtol=1e-3, atol=2e-3)
    assert rotate_part(HEADS, None) is HEADS


@pytest.mark.parametrize("size", [16, 8])
def test_products_of_neighbours_turned_are_those_of_rows_put_apart(size: int):
    """The order of a head's numbers is another, and the product of a query and a key is the same."""
    change = neighbours_of(3, size)
    rows = torch.arange(48)
    assert torch.equal(change.do(change.undo(rows)), rows)
    pairs = [(2 * i, 2 * i + 1) for i in range(size // 2)]
    apart = change.undo(HEADS.permute(1, 2, 0).flatten(0, 1)).unflatten(0, (3, 16)).permute(2, 0, 1)
    ours = rotate_part(apart.contiguous(), turn_of(size / 16))
    theirs = torch.stack([
        torch.stack([turned(head, pairs, int(position), 500.0) for head in heads])
        for heads, position in zip(HEADS, POSITIONS, strict=True)
    ])  # fmt: skip
    products = [torch.einsum("qhd,khd->hqk", one, one) for one in (ours, theirs)]
    torch.testing.assert_close(*products, rtol=1e-3, atol=1e-2)


def test_the_tables_of_layers_with_the_same_embedding_are_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(decoder, "Rotary", lambda size, rope, *_, **__: made.append(rope))
    one, other = Rope(rope_theta=500.0), Rope(rope_theta=900.0)
    model = SimpleNamespace(
        ropes=[one, None, one, other, one], rotary_size=16, num_positions=None, max_positions=64, embed_scale=1.0
    )
    decoder.Decoder.build_tables(cast("Any", model), torch.float32, torch.device("cpu"))
    assert made == list(model.rotaries) == [one, other]
