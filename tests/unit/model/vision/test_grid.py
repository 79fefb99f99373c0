"""Arithmetic on grids of patches equals loops over their places."""

from __future__ import annotations

import pytest
import torch

from workbench.model.vision.grid import frame_lengths, places, shuffled, turns, windows
from workbench.model.vision.vit import attend_within, cut_into_patches

GRIDS = [(1, 4, 6), (2, 2, 4)]


def test_places_go_through_the_patches_of_one_token_after_the_other():
    expected = [
        [2 * row + i, 2 * column + j]
        for frames, rows, columns in GRIDS
        for _ in range(frames)
        for row in range(rows // 2)
        for column in range(columns // 2)
        for i in range(2)
        for j in range(2)
    ]
    assert places(GRIDS, 2).tolist() == expected
    assert frame_lengths(GRIDS) == [24, 8, 8]


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_windows_have_each_token_once_and_none_is_larger_than_its_side(side: int):
    grids = [(1, 4, 3), (2, 5, 2)]
    order, lengths = windows(grids, side)
    assert sorted(order.tolist()) == list(range(12 + 20))
    assert sum(lengths) == 32
    assert min(lengths) > 0
    at = [(grid, frame, row, column) for grid, (frames, rows, columns) in enumerate(grids) for frame in range(frames)
          for row in range(rows) for column in range(columns)]  # fmt: skip
    done = 0
    for length in lengths:
        inside = [at[token] for token in order[done : done + length]]
        assert len({(grid, frame, row // side, column // side) for grid, frame, row, column in inside}) == 1
        done += length


def test_patches_of_one_token_stand_side_by_side():
    x = torch.arange(2 * 4 * 6 * 3).view(2, 24, 3)
    got = shuffled(x, 4, 6, 2)
    assert got.shape == (2, 6, 12)
    grid = x.view(2, 4, 6, 3)
    for row in range(2):
        for column in range(3):
            cell = grid[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
            assert torch.equal(got[:, 3 * row + column], cell)


def test_rows_turn_one_half_of_a_head_and_columns_the_other():
    cos, sin = turns(torch.tensor([[3, 0], [0, 5]]), 8, 100.0, interleaved=False, dtype=torch.float32)
    by_row, by_column = cos[:, 0, :2], cos[:, 0, 2:4]
    frequencies = torch.tensor([1.0, 100.0**-0.5])
    torch.testing.assert_close(by_row, torch.stack([(3 * frequencies).cos(), torch.ones(2)]))
    torch.testing.assert_close(by_column, torch.stack([torch.ones(2), (5 * frequencies).cos()]))
    assert torch.equal(cos[..., :4], cos[..., 4:])
    assert sin.shape == (2, 1, 8)


def test_patches_are_cut_row_by_row_and_a_rest_is_left_out():
    pixels = torch.arange(2 * 5 * 7).view(1, 2, 5, 7)
    patches = cut_into_patches(pixels, 2, 3)
    assert patches.shape == (1, 2, 2, 12)
    assert torch.equal(patches[0, 1, 0], pixels[0, :, 2:4, 0:3].flatten())


def test_each_row_sees_its_own_stretch():
    torch.manual_seed(0)
    q, k, v = (torch.randn(11, 2, 8) for _ in range(3))
    parts, start = [], 0
    for length in (3, 3, 4, 1):
        rows = slice(start, start + length)
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[rows]) * 8**-0.5
        parts.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[rows]))
        start += length
    torch.testing.assert_close(attend_within(q, k, v, [3, 3, 4, 1]), torch.cat(parts))
