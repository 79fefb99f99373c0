"""Resolutions of tiles, and what is padding in them."""

from __future__ import annotations

import pytest

from workbench.pictures.tiles import best_resolution, shrunk, without_padding


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 100), (24, 24)), ((10, 60), (12, 36)), ((60, 10), (24, 12)), ((8, 8), (12, 24)), ((1, 1), (12, 24))],
)
def test_the_resolution_keeps_most_pixels_and_then_wastes_least(size: tuple[int, int], expected: tuple[int, int]):
    assert best_resolution(size, [[12, 24], [24, 12], [24, 24], [12, 36]]) == expected


def test_a_wide_picture_has_padding_above_and_below_and_a_high_one_at_its_sides():
    assert without_padding((10, 40), (8, 8)) == (slice(3, 5), slice(0, 8))
    assert without_padding((40, 10), (8, 8)) == (slice(0, 8), slice(3, 5))
    assert without_padding((8, 8), (8, 8)) == (slice(0, 8), slice(0, 8))


def test_many_tiles_are_shrunk_to_about_the_number_that_is_named():
    assert shrunk((30, 30), 10, "anyres_max_9") == (30, 30)
    assert shrunk((60, 60), 10, "anyres_max_9") == (30, 30)
    assert shrunk((60, 60), 10, None) == (60, 60)
