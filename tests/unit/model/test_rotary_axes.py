"""Frequencies that turn by several axes of positions."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.rope import Rope, check_rope
from workbench.model.rotary import Rotary

CPU = torch.device("cpu")


def rotary(*sections: int) -> Rotary:
    return Rotary(16, Rope(rope_theta=100.0, mrope_section=sections), 64, dtype=torch.float32, device=CPU)


def test_each_section_turns_by_its_axis():
    turn, plain = rotary(2, 3, 3), rotary()
    axes = torch.tensor([[5, 900, 0], [6, 2, 1], [7, 3, 2]])
    cos, sin = turn.at(torch.arange(3), axes)
    for axis, part in enumerate((slice(0, 2), slice(2, 5), slice(5, 8))):
        for got, expected in zip((cos, sin), plain.at(axes[axis]), strict=True):
            assert torch.equal(got[..., part], expected[..., part])
            shifted = slice(part.start + 8, part.stop + 8)
            assert torch.equal(got[..., shifted], expected[..., shifted])


def test_text_turns_as_ever():
    for positions in (torch.arange(4), torch.arange(4).expand(3, -1)):
        axes = positions if positions.dim() == 2 else None
        for got, expected in zip(rotary(2, 3, 3).at(torch.arange(4), axes), rotary().at(torch.arange(4)), strict=True):
            assert torch.equal(got, expected)


def test_sections_of_another_size_are_refused():
    with pytest.raises(ModelCorrupt, match=r"mrope_section = \[2, 3\] for 8 frequencies"):
        rotary(2, 3)


def test_sections_are_refused_in_models_whose_positions_are_single():
    described = {"type": "mrope", "mrope_section": [2, 3, 3]}
    check_rope("rope_scaling", described, turns_by_axes=True)
    with pytest.raises(ModelUnsupported, match="mrope_section"):
        check_rope("rope_scaling", described)
